#include "batch/writer_pool.h"

#include <utility>

namespace wan::batch {

WriterPool::WriterPool(int threads) {
  for (int thread = 0; thread < threads; ++thread) threads_.emplace_back([this] { work(); });
}

WriterPool::~WriterPool() {
  {
    const std::scoped_lock lock(mutex_);
    is_given_up_ = true;
    is_closed_ = true;
  }
  has_waiting_.notify_all();
  threads_.clear();  // joins them
}

void WriterPool::add(std::unique_ptr<WriterJob> job) {
  if (threads_.empty()) {
    job->run([] { return false; });
    ended_.push_back(std::move(job));
    return;
  }
  {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  has_waiting_.notify_one();
}

void WriterPool::work() {
  const auto is_given_up = [this] {
    const std::scoped_lock lock(mutex_);
    return is_given_up_;
  };
  std::unique_lock lock(mutex_);
  while (true) {
    has_waiting_.wait(lock, [this] { return is_closed_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::unique_ptr<WriterJob> job = std::move(waiting_.front());
    waiting_.pop_front();
    ++running_;
    lock.unlock();
    job->run(is_given_up);
    lock.lock();
    --running_;
    ended_.push_back(std::move(job));
    has_ended_.notify_all();
  }
}

/// With the mutex held.
int WriterPool::unfinished() const { return running_ + static_cast<int>(waiting_.size()); }

bool WriterPool::has_room() const {
  const std::scoped_lock lock(mutex_);
  return unfinished() <= static_cast<int>(threads_.size());
}

int WriterPool::unsettled() const {
  const std::scoped_lock lock(mutex_);
  return unfinished() + static_cast<int>(ended_.size());
}

void WriterPool::settle() {
  std::deque<std::unique_ptr<WriterJob>> ended;
  {
    const std::scoped_lock lock(mutex_);
    ended.swap(ended_);
  }
  for (const std::unique_ptr<WriterJob>& job : ended) job->settle();
}

void WriterPool::wait(std::chrono::milliseconds longest) const {
  std::unique_lock lock(mutex_);
  has_ended_.wait_for(lock, longest, [this] { return !ended_.empty() || unfinished() == 0; });
}

void WriterPool::give_up() {
  const std::scoped_lock lock(mutex_);
  is_given_up_ = true;
}

}  // namespace wan::batch
