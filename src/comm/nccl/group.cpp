#include "comm/nccl/group.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "core/check.h"

namespace wan::comm {
namespace {

constexpr std::size_t first_scratch_bytes = std::size_t{64} << 10;

CallMark mark_of(const CallRecord& call) { return {.operation = call.operation, .number = call.number}; }

bool has_come(const PooledEvent& event) {
  const cudaError_t code = cudaEventQuery(event.get());
  if (code != cudaErrorNotReady) check_cuda(code, "cudaEventQuery", "in the watchdog");
  return code == cudaSuccess;
}

/// An NCCL call in progress. If it is destroyed before wait(), it abandons its group.
class NcclPending final : public Ticket::Pending {
 public:
  NcclPending(std::shared_ptr<NcclGroup> group, const CallRecord& call, PooledEvent done)
      : group_(std::move(group)), call_(call), done_(std::move(done)) {}
  NcclPending(const NcclPending&) = delete;
  NcclPending& operator=(const NcclPending&) = delete;
  ~NcclPending() override {
    if (!waited_) group_->abandon();
  }

  void wait() override {
    const cudaError_t code = cudaStreamWaitEvent(group_->compute_stream(), done_.get(), 0);
    if (code != cudaSuccess) check_cuda(code, "cudaStreamWaitEvent", "in " + describe());
    waited_ = true;
  }
  std::string describe() const override {
    return fmt::format("{} on {}", call_.describe(), group_->identity().describe_rank());
  }

 private:
  std::shared_ptr<NcclGroup> group_;
  CallRecord call_;
  PooledEvent done_;
  bool waited_ = false;
};

}  // namespace

NcclGroup::NcclGroup(NcclCommHandle comm, GroupIdentity identity, NcclOptions options,
                     std::unique_ptr<Communicator> meeting)
    : options_(std::move(options)),
      identity_(std::move(identity)),
      meeting_(std::move(meeting)),
      comm_(std::move(comm)),
      progress_(options_.watchdog->board().open(identity_.name, identity_.key)) {
  check_cuda(cudaGetDevice(&device_), "cudaGetDevice", "for " + identity_.describe_rank());
  scratch_.emplace_back(first_scratch_bytes);
  check_cuda(cudaMemset(scratch_.back().data(), 0, first_scratch_bytes), "cudaMemset",
             "for " + identity_.describe_rank());
  // The comm stream does not wait for the default stream, on which the memset runs.
  check_cuda(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize", "for " + identity_.describe_rank());
  options_.watchdog->add(*this);
}

NcclGroup::~NcclGroup() {
  const bool orderly = !abandoned_ && std::uncaught_exceptions() == 0;
  // The watchdog still observes the group, so a call that hangs ends the job here, too. An error is reported
  // by the next use of the device.
  if (orderly) cudaStreamSynchronize(stream_.get());
  options_.watchdog->remove(*this);
  if (!orderly) comm_.abort();
}

void* NcclGroup::scratch(std::size_t bytes) {
  // Buffers that are too small are kept: calls in progress may use them, and freeing device memory waits for
  // the device.
  if (scratch_.back().bytes() < bytes) scratch_.emplace_back(std::max(bytes, 2 * scratch_.back().bytes()));
  return scratch_.back().data();
}

CallRecord NcclGroup::begin(Operation operation, std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (abandoned_) {
    fail("{}: a collective failed or was left unfinished by an error; the group can no longer be used",
         identity_.describe_rank());
  }
  const CallRecord call{.operation = operation, .number = next_number_++, .bytes = bytes};
  in_flight_.push_back({.call = call, .ready = nullptr, .done = nullptr});
  progress_.started(mark_of(call));
  return call;
}

void NcclGroup::note_ready(PooledEvent ready) {
  const std::scoped_lock lock(mutex_);
  in_flight_.back().ready = std::move(ready);
}

void NcclGroup::note_done(PooledEvent done) {
  const std::scoped_lock lock(mutex_);
  in_flight_.back().done = std::move(done);
}

void NcclGroup::abandon() noexcept {
  const std::scoped_lock lock(mutex_);
  abandoned_ = true;
  in_flight_.clear();
}

void NcclGroup::abandon_to_thread() noexcept {
  abandon();
  options_.watchdog->remove(*this);
  comm_.release();
}

std::optional<NcclGroup::InFlight> NcclGroup::oldest() {
  const std::scoped_lock lock(mutex_);
  return in_flight_.empty() ? std::nullopt : std::optional(in_flight_.front());
}

bool NcclGroup::is_abandoned() {
  const std::scoped_lock lock(mutex_);
  return abandoned_;
}

void NcclGroup::retire_finished() {
  // No lock is held during CUDA queries, so the issuing thread never waits for them.
  for (std::optional<InFlight> front = oldest(); front && front->done; front = oldest()) {
    if (!has_come(front->done)) return;
    progress_.reached(mark_of(front->call));
    progress_.finished(mark_of(front->call));
    running_.reset();
    const std::scoped_lock lock(mutex_);
    if (!in_flight_.empty()) in_flight_.pop_front();  // empty if the group was abandoned meanwhile
  }
}

std::optional<WatchedGroup::Running> NcclGroup::oldest_running() {
  const std::optional<InFlight> front = oldest();
  if (!front) return std::nullopt;
  // The time counts from the moment at which the call can run, because the host may be far ahead of the
  // device.
  if (!running_ && front->ready && has_come(front->ready)) {
    running_.emplace();
    progress_.reached(mark_of(front->call));
  }
  if (!running_) return std::nullopt;
  return Running{.call = front->call, .elapsed_s = running_->elapsed_s()};
}

WatchedGroup::Observation NcclGroup::observe() {
  Observation seen;
  if (is_abandoned()) return seen;
  try {
    // A new thread has device 0 and would make a context there. Its queries must not disturb a graph capture.
    check_cuda(cudaSetDevice(device_), "cudaSetDevice", "in the watchdog");
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    check_cuda(cudaThreadExchangeStreamCaptureMode(&mode), "cudaThreadExchangeStreamCaptureMode",
               "in the watchdog");
    retire_finished();
    seen.running = oldest_running();
    ncclResult_t state = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(comm_.get(), &state), "ncclCommGetAsyncError", comm_.get(),
               "in the watchdog");
    if (state != ncclSuccess && state != ncclInProgress)
      seen.error = "NCCL reports " + nccl_error_text(state, comm_.get());
  } catch (const std::exception& error) {
    seen.error = error.what();
  }
  return seen;
}

NcclCall::NcclCall(std::shared_ptr<NcclGroup> group, Operation operation, std::size_t bytes)
    : group_(std::move(group)), call_(group_->begin(operation, bytes)) {
  try {
    follow_compute_stream();
  } catch (...) {
    group_->abandon();
    throw;
  }
}

void NcclCall::follow_compute_stream() {
  PooledEvent ready = group_->take_event();
  check(cudaEventRecord(ready.get(), group_->compute_stream()), "cudaEventRecord");
  check(cudaStreamWaitEvent(group_->stream(), ready.get(), 0), "cudaStreamWaitEvent");
  group_->note_ready(std::move(ready));
}

NcclCall::~NcclCall() {
  if (!finished_) group_->abandon();
}

std::string NcclCall::where() const {
  return fmt::format("in {} on {}", call_.describe(), group_->identity().describe_rank());
}

void NcclCall::check(ncclResult_t code, const char* nccl_call) const {
  if (code != ncclSuccess) check_nccl(code, nccl_call, group_->comm(), where());
}

void NcclCall::check(cudaError_t code, const char* cuda_call) const {
  if (code != cudaSuccess) check_cuda(code, cuda_call, where());
}

Ticket NcclCall::finish() {
  PooledEvent done = group_->take_event();
  check(cudaEventRecord(done.get(), group_->stream()), "cudaEventRecord");
  group_->note_done(done);
  finished_ = true;
  return Ticket(std::make_unique<NcclPending>(group_, call_, std::move(done)));
}

}  // namespace wan::comm
