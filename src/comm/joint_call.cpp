#include "comm/joint_call.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <thread>
#include <utility>

#include "comm/first_message.h"
#include "core/check.h"
#include "core/clock.h"

namespace wan::comm {
namespace {

constexpr double look_s = 0.02;

/// The call on this rank.
class CallOnThread {
 public:
  explicit CallOnThread(const JointCall& call) : call_(call) {
    std::packaged_task<void()> task(call.call);
    result_ = task.get_future();
    thread_ = std::thread(std::move(task));
  }
  CallOnThread(const CallOnThread&) = delete;
  CallOnThread& operator=(const CallOnThread&) = delete;
  ~CallOnThread() {
    if (!thread_.joinable()) return;
    thread_.detach();
    on_exit(
        [](int status, void* /*nothing*/) {
          std::fflush(nullptr);
          std::_Exit(status);
        },
        nullptr);
  }

  /// Looks for up to `seconds` whether the thread has ended.
  void look(double seconds) {
    if (!thread_.joinable()) return;
    if (result_.wait_for(std::chrono::duration<double>(seconds)) == std::future_status::ready) {
      thread_.join();
      try {
        result_.get();
      } catch (const std::exception& error) {
        problem_ = fmt::format("{} failed: {}", call_.what, error.what());
      }
    } else if (!problem_ && watch_.elapsed_s() > call_.timeout_s) {
      problem_ = fmt::format("{} timed out after {:g} s. {}", call_.what, call_.timeout_s, call_.advice);
    }
  }
  bool is_under_way() const { return thread_.joinable(); }
  const std::optional<std::string>& problem() const { return problem_; }

 private:
  const JointCall& call_;
  Stopwatch watch_;
  std::future<void> result_;
  std::thread thread_;
  std::optional<std::string> problem_;
};

}  // namespace

JointResult make_joint_call(Communicator& meeting, const JointCall& call) {
  CallOnThread own(call);
  std::optional<Stopwatch> since_failure;
  while (true) {
    own.look(look_s);
    if (own.problem() && !since_failure) since_failure.emplace();
    // A rank gives up if its time is over, or if the call failed and the others have had their time. If one
    // rank gives up, all do.
    const bool gives_up = own.problem() && (own.is_under_way() || since_failure->elapsed_s() >= call.grace_s);
    std::array<std::int64_t, 3> ranks{own.is_under_way() ? 1 : 0, own.problem() ? 1 : 0, gives_up ? 1 : 0};
    meeting.all_reduce(std::span<std::int64_t>(ranks), ReduceOp::sum).wait();
    const auto [under_way, failed, given_up] = ranks;
    if (under_way == 0) {
      const auto first = first_message(meeting, own.problem());
      return {.failed = static_cast<int>(failed), .error = first ? std::optional(first->text) : std::nullopt};
    }
    if (given_up > 0) break;
  }
  const auto first = first_message(meeting, own.problem());
  fail("{}", first->text);
}

}  // namespace wan::comm
