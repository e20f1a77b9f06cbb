#include "comm/nccl_support.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "comm/cuda_support.h"
#include "comm/first_message.h"
#include "core/check.h"
#include "core/clock.h"

namespace wan::comm {

std::string nccl_error_text(ncclResult_t code, ncclComm_t comm) {
  const char* last = ncclGetLastError(comm);
  return fmt::format("{}{}{}", ncclGetErrorString(code), last != nullptr && *last != '\0' ? ": " : "",
                     last != nullptr ? last : "");
}

void check_nccl(ncclResult_t code, const char* call, ncclComm_t comm, std::string_view where) {
  if (code != ncclSuccess) fail("{} failed {}: {}", call, where, nccl_error_text(code, comm));
}

NcclCommHandle::NcclCommHandle(NcclCommHandle&& other) noexcept
    : comm_(std::exchange(other.comm_, nullptr)) {}

NcclCommHandle::~NcclCommHandle() {
  if (comm_ == nullptr) return;
  if (std::uncaught_exceptions() > 0) {
    abort();
  } else {
    ncclCommDestroy(comm_);
  }
}

void NcclCommHandle::abort() noexcept {
  if (comm_ != nullptr) ncclCommAbort(std::exchange(comm_, nullptr));
}

namespace {

struct Connection {
  ncclComm_t comm = nullptr;
  std::string error;
};

Connection connect_blocking(const ncclUniqueId& id, int ranks, int rank, int device,
                            const NcclOptions& options) {
  Connection made;
  const cudaError_t chosen = cudaSetDevice(device);
  if (chosen != cudaSuccess) {
    made.error = fmt::format("cudaSetDevice({}): {}", device, cudaGetErrorString(chosen));
    return made;
  }
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 1;
  if (options.max_ctas > 0) config.maxCTAs = options.max_ctas;
  if (options.copy_engines) config.CTAPolicy = NCCL_CTA_POLICY_ZERO;
  const ncclResult_t code = ncclCommInitRankConfig(&made.comm, ranks, id, rank, &config);
  if (code != ncclSuccess) made.error = nccl_error_text(code, nullptr);
  return made;
}

/// This rank's way into an NCCL group. A communicator that NCCL calls non-blocking could be polled for it,
/// but stays so for ever: NCCL then starts a thread for every single collective, and the caller has to wait
/// for that thread before it may record an event. Instead a thread of our own blocks, once.
class Connecting {
 public:
  Connecting(const ncclUniqueId& id, const GroupIdentity& identity, const NcclOptions& options)
      : where_(identity.describe_rank()), timeout_s_(options.init_timeout_s) {
    check_cuda(cudaGetDevice(&device_), "cudaGetDevice", "for " + where_);
    std::packaged_task<Connection()> task(
        [id, device = device_, ranks = identity.size(), rank = identity.rank, options] {
          return connect_blocking(id, ranks, rank, device, options);
        });
    result_ = task.get_future();
    thread_ = std::thread(std::move(task));
  }
  Connecting(const Connecting&) = delete;
  Connecting& operator=(const Connecting&) = delete;
  /// A thread that still waits for the others is left to itself, as the program is about to end. What it uses
  /// must not be torn down under it then: the process ends without the destructors of static objects.
  ~Connecting() {
    if (!thread_.joinable()) return;
    thread_.detach();
    on_exit(
        [](int status, void* /*nothing*/) {
          std::fflush(nullptr);
          std::_Exit(status);
        },
        nullptr);
  }

  /// Looks for `seconds` whether the thread has come to an end.
  void look(double seconds) {
    if (problem_ || !thread_.joinable()) return;
    if (result_.wait_for(std::chrono::duration<double>(seconds)) == std::future_status::ready) {
      thread_.join();
      const Connection made = result_.get();
      if (made.error.empty()) {
        comm_.emplace(made.comm);
      } else {
        problem_ =
            fmt::format("{}: ncclCommInitRankConfig on device {} failed: {}", where_, device_, made.error);
      }
    } else if (watch_.elapsed_s() > timeout_s_) {
      problem_ = fmt::format(
          "{}: ncclCommInitRankConfig on device {} timed out after {:g} s. All ranks of the group meet over "
          "MPI: NCCL finds no way between them, or hangs on one; NCCL_DEBUG=INFO shows which",
          where_, device_, timeout_s_);
    }
  }
  bool is_under_way() const { return thread_.joinable(); }
  const std::optional<std::string>& problem() const { return problem_; }
  NcclCommHandle take() { return std::move(*comm_); }

 private:
  std::string where_;
  double timeout_s_;
  int device_ = 0;
  Stopwatch watch_;
  std::future<Connection> result_;
  std::thread thread_;
  std::optional<std::string> problem_;
  std::optional<NcclCommHandle> comm_;
};

constexpr double look_s = 0.02;

}  // namespace

// Inside NCCL the others would wait for a rank that failed until the time is up, and then name themselves.
// So the ranks tell each other over MPI, on their main threads, how far they are.
NcclCommHandle connect(const ncclUniqueId& id, const GroupIdentity& identity, Communicator& meeting,
                       const NcclOptions& options) {
  Connecting connecting(id, identity, options);
  while (true) {
    connecting.look(look_s);
    std::array<std::int64_t, 2> ranks{connecting.is_under_way() ? 1 : 0, connecting.problem() ? 1 : 0};
    meeting.all_reduce(std::span<std::int64_t>(ranks), ReduceOp::sum).wait();
    if (ranks[1] > 0) break;
    if (ranks[0] == 0) return connecting.take();
  }
  const auto first = first_message(meeting, connecting.problem());
  fail("{}", first->text);
}

}  // namespace wan::comm
