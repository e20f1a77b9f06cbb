#pragma once

#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace wan::test {

/// A number that a child process counts up and its parent reads.
class SharedCount {
 public:
  SharedCount()
      : count_(static_cast<std::atomic<int>*>(::mmap(
            nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  SharedCount(const SharedCount&) = delete;
  SharedCount& operator=(const SharedCount&) = delete;
  ~SharedCount() { ::munmap(count_, sizeof(std::atomic<int>)); }
  std::atomic<int>& operator*() { return *count_; }
  /// Returns false if the child has ended.
  bool wait_for_more(int more, pid_t child = 0) {
    for (const int wanted = *count_ + more; *count_ < wanted;) {
      if (child != 0 && ::waitpid(child, nullptr, WNOHANG) != 0) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

 private:
  std::atomic<int>* count_;
};

}  // namespace wan::test
