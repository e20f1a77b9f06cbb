#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace wan::batch {

/// Work for a thread of a WriterPool.
class WriterJob {
 public:
  virtual ~WriterJob() = default;
  /// Does the work, in a thread of the pool. If `is_given_up` says true, the job leaves as soon as it can, in
  /// order. It is also run if that was so before it began.
  virtual void run(const std::function<bool()>& is_given_up) noexcept = 0;
  /// Tells of the result, in the thread of the pool's owner. Called once, after run().
  virtual void settle() = 0;
};

/// Threads that run jobs in the order in which they come. All functions are for the owner's thread.
class WriterPool {
 public:
  /// Without threads, add() runs the job itself.
  explicit WriterPool(int threads);
  WriterPool(const WriterPool&) = delete;
  WriterPool& operator=(const WriterPool&) = delete;
  WriterPool(WriterPool&&) = delete;
  WriterPool& operator=(WriterPool&&) = delete;
  /// Gives the jobs up and waits until their run() has returned. Settles nothing.
  ~WriterPool();

  /// Never waits for a thread: the caller keeps the bound (has_room()).
  void add(std::unique_ptr<WriterJob> job);
  /// Whether another job may be prepared now: at most as many are running or waiting as there are threads.
  /// With the one that is being prepared, there is never more than one job that waits for a thread.
  bool has_room() const;
  /// Jobs that were added and are not settled.
  int unsettled() const;
  /// Settles the jobs that have ended, in the order of their ends.
  void settle();
  /// Waits until a job can be settled, at most for `longest`.
  void wait(std::chrono::milliseconds longest) const;
  /// Tells all jobs to leave, those too that are still to come.
  void give_up();

 private:
  void work();
  int unfinished() const;

  mutable std::mutex mutex_;  ///< guards the members below, apart from the threads
  mutable std::condition_variable has_waiting_;
  mutable std::condition_variable has_ended_;
  std::deque<std::unique_ptr<WriterJob>> waiting_;
  std::deque<std::unique_ptr<WriterJob>> ended_;
  int running_ = 0;
  bool is_given_up_ = false;
  bool is_closed_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace wan::batch
