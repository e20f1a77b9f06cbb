#include "engine/condition_cache.h"

#include <ATen/ATen.h>

namespace wan::engine {
namespace {

/// An image of 480p takes 15 MB with its condition, one of 720p 35 MB.
constexpr std::int64_t limit_bytes = std::int64_t{128} << 20;

}  // namespace

std::int64_t ConditionCache::Entry::bytes() const {
  return static_cast<std::int64_t>(image.nbytes() + condition.nbytes());
}

at::Tensor ConditionCache::find(const at::Tensor& image, int frame_num) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->frame_num != frame_num || !entry->image.equal(image)) continue;
    entries_.splice(entries_.begin(), entries_, entry);
    return entries_.front().condition;
  }
  return {};
}

void ConditionCache::keep(const at::Tensor& image, int frame_num, const at::Tensor& condition) {
  Entry entry{.image = image, .frame_num = frame_num, .condition = condition.cpu()};
  bytes_ += entry.bytes();
  entries_.push_front(std::move(entry));
  while (bytes_ > limit_bytes) {
    bytes_ -= entries_.back().bytes();
    entries_.pop_back();
  }
}

void ConditionCache::clear() {
  entries_.clear();
  bytes_ = 0;
}

}  // namespace wan::engine
