#include "comm/mpi/group.h"

#include <array>
#include <cstring>
#include <memory>
#include <numeric>

#include "core/check.h"
#include "core/clock.h"

namespace wan::comm {
namespace {

/// The report of a rank that gives up, sent to the others as MPI_INT64_T.
using Report = std::array<std::int64_t, 2>;  // operation, number

std::vector<int> world_ranks_of(MPI_Comm comm, int size) {
  std::vector<int> ranks(static_cast<std::size_t>(size));
  std::vector<int> members(ranks.size());
  std::iota(members.begin(), members.end(), 0);
  MPI_Group group = MPI_GROUP_NULL;
  MPI_Group world = MPI_GROUP_NULL;
  check_mpi(MPI_Comm_group(comm, &group), "MPI_Comm_group", "for a new group");
  check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group", "for the world");
  const int code = MPI_Group_translate_ranks(group, size, members.data(), world, ranks.data());
  MPI_Group_free(&group);
  MPI_Group_free(&world);
  check_mpi(code, "MPI_Group_translate_ranks", "for a new group");
  return ranks;
}

}  // namespace

MpiGroup::MpiGroup(CommHandle comm, std::string name, const MpiOptions& options)
    : comm_(std::move(comm)), name_(std::move(name)), options_(options) {
  WAN_CHECK(options.timeout_s > 0, "a timeout of {} s", options.timeout_s);
  WAN_CHECK(options.largest_count >= 1 && options.largest_count <= MpiOptions{}.largest_count,
            "a largest count of {}", options.largest_count);
  const std::string where = fmt::format("for group '{}'", name_);
  check_mpi(MPI_Comm_set_errhandler(comm_.get(), MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler", where);
  check_mpi(MPI_Comm_set_name(comm_.get(), name_.substr(0, MPI_MAX_OBJECT_NAME - 1).c_str()),
            "MPI_Comm_set_name", where);
  check_mpi(MPI_Comm_rank(comm_.get(), &rank_), "MPI_Comm_rank", where);
  check_mpi(MPI_Comm_size(comm_.get(), &size_), "MPI_Comm_size", where);
  int* tag_limit = nullptr;
  int found = 0;
  // MPI attaches this attribute to MPI_COMM_WORLD only.
  check_mpi(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, static_cast<void*>(&tag_limit), &found),
            "MPI_Comm_get_attr", where);
  WAN_CHECK(found != 0 && tag_limit != nullptr, "MPI names no largest tag");
  report_tag_ = *tag_limit;
  world_ranks_ = world_ranks_of(comm_.get(), size_);
}

MpiGroup::~MpiGroup() {
  if (abandoned_) comm_.release();
}

std::string MpiGroup::describe_rank() const {
  return fmt::format("rank {} of {} in group '{}' (world rank {})", rank_, size_, name_,
                     world_ranks_[static_cast<std::size_t>(rank_)]);
}

std::uint64_t MpiGroup::next_number() {
  if (abandoned_) {
    fail("{}: a collective failed or was left unfinished by an error; the group can no longer be used",
         describe_rank());
  }
  return next_number_++;
}

int MpiGroup::tag_of(std::uint64_t number) const {
  return static_cast<int>(number % static_cast<std::uint64_t>(report_tag_));
}

void MpiGroup::abandon(std::vector<std::byte> buffer) noexcept {
  abandoned_ = true;
  if (!buffer.empty())
    static_cast<void>(std::make_unique<std::vector<std::byte>>(std::move(buffer)).release());
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): leaked on purpose, see the declaration
}

std::string MpiGroup::exchange_reports(const CallRecord& call, double listen_s) {
  const Report report{static_cast<std::int64_t>(call.operation), static_cast<std::int64_t>(call.number)};
  std::vector<std::byte> kept(sizeof(Report));
  std::memcpy(kept.data(), report.data(), sizeof(Report));
  // NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): nobody waits for a peer that may be dead
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    MPI_Request request = MPI_REQUEST_NULL;
    const int code = MPI_Isend(kept.data(), static_cast<int>(report.size()), MPI_INT64_T, peer, report_tag_,
                               comm_.get(), &request);
    // The loop below reports a peer that cannot be reached as missing.
    if (code == MPI_SUCCESS && request != MPI_REQUEST_NULL) MPI_Request_free(&request);
  }
  abandon(std::move(kept));

  const std::vector<std::string> states = receive_reports(listen_s);
  std::string text;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    const auto index = static_cast<std::size_t>(peer);
    text += fmt::format("{}rank {} (world rank {}) {}", text.empty() ? "" : ", ", peer, world_ranks_[index],
                        states[index].empty() ? "is silent" : states[index]);
  }
  return text;
}

std::vector<std::string> MpiGroup::receive_reports(double listen_s) {
  std::vector<std::string> states(static_cast<std::size_t>(size_));
  int missing = size_ - 1;
  const Stopwatch stopwatch;
  while (missing > 0 && stopwatch.elapsed_s() < listen_s) {
    int there = 0;
    MPI_Status status{};
    if (MPI_Iprobe(MPI_ANY_SOURCE, report_tag_, comm_.get(), &there, &status) != MPI_SUCCESS) break;
    if (there == 0) {
      pause_between_polls(stopwatch.elapsed_s());
      continue;
    }
    Report report{};
    if (MPI_Recv(report.data(), static_cast<int>(report.size()), MPI_INT64_T, status.MPI_SOURCE, report_tag_,
                 comm_.get(), MPI_STATUS_IGNORE) != MPI_SUCCESS)
      break;
    states[static_cast<std::size_t>(status.MPI_SOURCE)] =
        fmt::format("gave up in {} number {}", to_string(static_cast<Operation>(report[0])), report[1]);
    --missing;
  }
  return states;
}

}  // namespace wan::comm
