#include "gpu/monitor.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace wan::gpu {

class Monitor::Thread {
 public:
  Thread(ManagementLibrary library, double period_s, std::function<double()> now_s)
      : library_(std::move(library)),
        period_(std::chrono::duration<double>(period_s)),
        now_s_(std::move(now_s)),
        thread_([this] { run(); }) {}
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() {
    {
      const std::scoped_lock lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  std::vector<Sample> take() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(samples_, {});
  }
  std::uint64_t peak_used_bytes() const { return peak_used_bytes_.load(); }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      lock.unlock();
      const Sample sample = library_.sample(now_s_());
      lock.lock();
      samples_.push_back(sample);
      peak_used_bytes_ = std::max(peak_used_bytes_.load(),
                                  static_cast<std::uint64_t>(std::max<std::int64_t>(sample.used_bytes, 0)));
      wake_.wait_for(lock, period_, [this] { return stop_; });
    }
  }

  ManagementLibrary library_;
  std::chrono::duration<double> period_;
  std::function<double()> now_s_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::vector<Sample> samples_;
  std::atomic<std::uint64_t> peak_used_bytes_ = 0;
  std::thread thread_;  ///< last member: the thread uses all members above
};

Monitor::Monitor(const std::string& bus_id, double period_s, std::function<double()> now_s) {
  if (auto library = ManagementLibrary::open(bus_id))
    thread_ = std::make_unique<Thread>(std::move(*library), period_s, std::move(now_s));
}

Monitor::~Monitor() = default;

std::vector<Sample> Monitor::take() { return thread_ ? thread_->take() : std::vector<Sample>(); }

std::uint64_t Monitor::peak_used_bytes() const { return thread_ ? thread_->peak_used_bytes() : 0; }

}  // namespace wan::gpu
