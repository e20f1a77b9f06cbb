#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "checkpoint/tensor_file.h"

namespace wan::lora {

/// Factors of LoRAs in the form in which they are used, as many as were made last: threads that read pieces
/// of one weight share its factors.
template <typename Factor>
class RecentFactors {
 public:
  explicit RecentFactors(std::size_t most) : most_(most) {}

  /// The factor of a tensor of a file. Calls make() if it is not there. A thread that asks for a factor while
  /// another one makes it waits for it. Exceptions of make() pass through.
  template <typename Make>
  Factor get(const checkpoint::TensorEntry& entry, const Make& make) {
    const std::shared_ptr<Slot> slot = find(entry);
    const std::scoped_lock lock(slot->mutex);
    if (!slot->factor) slot->factor = make();
    return *slot->factor;
  }

  /// Makes the factor if it is not there and no other thread makes it. Exceptions of make() pass through.
  template <typename Make>
  void prepare(const checkpoint::TensorEntry& entry, const Make& make) {
    const std::shared_ptr<Slot> slot = find(entry);
    const std::unique_lock lock(slot->mutex, std::try_to_lock);
    if (lock && !slot->factor) slot->factor = make();
  }

 private:
  struct Slot {
    const checkpoint::TensorEntry* entry = nullptr;
    std::mutex mutex;
    std::optional<Factor> factor;
  };

  std::shared_ptr<Slot> find(const checkpoint::TensorEntry& entry) {
    const std::scoped_lock lock(mutex_);
    const auto found = std::ranges::find_if(slots_, [&](const auto& slot) { return slot->entry == &entry; });
    if (found != slots_.end()) return *found;
    slots_.push_back(std::make_shared<Slot>());
    slots_.back()->entry = &entry;
    std::shared_ptr<Slot> added = slots_.back();
    if (slots_.size() > most_) slots_.pop_front();
    return added;
  }

  std::size_t most_;
  std::mutex mutex_;
  std::deque<std::shared_ptr<Slot>> slots_;
};

}  // namespace wan::lora
