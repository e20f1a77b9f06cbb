#include "comm/mpi/pending.h"

#include <algorithm>

#include "comm/communication_error.h"
#include "core/awake_clock.h"
#include "core/check.h"
#include "core/clock.h"

namespace wan::comm {

MpiPending::MpiPending(std::shared_ptr<MpiGroup> group, Operation operation, std::size_t bytes)
    : group_(std::move(group)),
      call_{.operation = operation, .number = group_->next_number(), .bytes = bytes} {}

MpiPending::~MpiPending() {
  if (complete_) return;
  // Cancels receives that have not begun, because the caller's buffer may be gone when the message comes.
  // Collectives and sends cannot be cancelled.
  for (std::size_t i = 0; i < messages_.size(); ++i)
    if (messages_[i].receive && requests_[i] != MPI_REQUEST_NULL) MPI_Cancel(&requests_[i]);
  group_->abandon(std::move(scratch_));
}

MPI_Request* MpiPending::add_message(const Message& message) {
  messages_.push_back(message);
  return add_request();
}

std::span<std::byte> MpiPending::set_scratch(std::size_t bytes, Finish finish) {
  scratch_.resize(bytes);
  finish_ = std::move(finish);
  return scratch_;
}

std::string MpiPending::describe() const {
  return fmt::format("{} on {}", call_.describe(), group_->describe_rank());
}

void MpiPending::check_started(int code, const char* mpi_call) const {
  if (code != MPI_SUCCESS) check_mpi(code, mpi_call, fmt::format("in {}", describe()));
}

void MpiPending::wait() {
  AwakeClock clock;  // does not count the time in which this rank was suspended
  std::vector<MPI_Status> statuses(requests_.size());
  while (!test(statuses)) {
    const double waited_s = clock.elapsed_s();
    if (waited_s > group_->options().timeout_s) time_out(waited_s);
    pause_between_polls(waited_s);
  }
  finish_receiving(statuses);
}

void MpiPending::wait_without_limit(const std::function<void()>& meanwhile) {
  constexpr double first_call_s = 0.05;
  const Stopwatch stopwatch;
  std::vector<MPI_Status> statuses(requests_.size());
  while (!test(statuses)) {
    const double waited_s = stopwatch.elapsed_s();
    if (meanwhile && waited_s > first_call_s) meanwhile();
    pause_between_polls(waited_s);
  }
  finish_receiving(statuses);
}

void MpiPending::finish_receiving(const std::vector<MPI_Status>& statuses) {
  check_received(statuses);
  complete_ = true;
  if (finish_) finish_(scratch_);
}

bool MpiPending::test(std::vector<MPI_Status>& statuses) {
  int done = 0;
  int code = MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses.data());
  if (code == MPI_SUCCESS) return done != 0;
  if (code == MPI_ERR_IN_STATUS) {
    const auto bad = std::ranges::find_if(statuses, [](const MPI_Status& status) {
      return status.MPI_ERROR != MPI_SUCCESS && status.MPI_ERROR != MPI_ERR_PENDING;
    });
    if (bad != statuses.end()) code = bad->MPI_ERROR;
    const auto index = static_cast<std::size_t>(bad - statuses.begin());
    if (index < messages_.size()) {
      fail<CommunicationError>("MPI_Testall failed in {}, at the message of {} bytes {} rank {}: {}",
                               describe(), messages_[index].bytes, messages_[index].receive ? "from" : "to",
                               messages_[index].peer, error_text(code));
    }
  }
  check_mpi(code, "MPI_Testall", fmt::format("in {}", describe()));
  return false;
}

void MpiPending::check_received(const std::vector<MPI_Status>& statuses) const {
  for (std::size_t i = 0; i < messages_.size(); ++i) {
    const Message& message = messages_[i];
    if (!message.receive) continue;
    MPI_Count received_bytes = 0;
    check_mpi(MPI_Get_elements_x(&statuses[i], MPI_BYTE, &received_bytes), "MPI_Get_elements_x", describe());
    if (received_bytes != static_cast<MPI_Count>(message.bytes)) {
      fail("{}: rank {} sent {} bytes where {} were expected; the ranks disagree about sizes", describe(),
           message.peer, received_bytes, message.bytes);
    }
  }
}

void MpiPending::time_out(double waited_s) {
  // Ranks that entered the call at about the same time give up at about the same time. Ranks without a report
  // are then the missing ones.
  const double listen_s = std::clamp(group_->options().timeout_s / 4, 0.2, 2.0);
  const std::string states = group_->exchange_reports(call_, listen_s);
  fail(
      "{} timed out after {:.1f} s (limit {:g} s) on {}.{} The other ranks: {}. A silent rank has died, "
      "hangs, is slow, or waits elsewhere: look for its own message first; if it was only slow, raise the "
      "collective timeout",
      call_.describe(), waited_s, group_->options().timeout_s, group_->describe_rank(), unfinished_messages(),
      states);
}

std::string MpiPending::unfinished_messages() const {
  std::string text;
  for (std::size_t i = 0; i < messages_.size(); ++i) {
    int done = 0;
    if (MPI_Request_get_status(requests_[i], &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done != 0) continue;
    text += fmt::format("{} {} bytes {} rank {}", text.empty() ? " Not finished:" : ",", messages_[i].bytes,
                        messages_[i].receive ? "from" : "to", messages_[i].peer);
  }
  return text.empty() ? text : text + ".";
}

}  // namespace wan::comm
