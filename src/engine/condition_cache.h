#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <list>

namespace wan::engine {

/// The conditioning tensors of the images that a group encoded last, in host memory. Items with equal images
/// encode theirs once. All ranks of a group make the same calls with the same images, so they find the same
/// entries.
class ConditionCache {
 public:
  /// The condition of an equal image and number of frames; undefined if it is not here. `image`: fp32 [3,
  /// height, width] on the host.
  at::Tensor find(const at::Tensor& image, int frame_num);
  /// Keeps a condition, and lets go of those that were used longest ago.
  void keep(const at::Tensor& image, int frame_num, const at::Tensor& condition);
  void clear();

 private:
  struct Entry {
    at::Tensor image;
    int frame_num = 0;
    at::Tensor condition;
    std::int64_t bytes() const;
  };

  std::list<Entry> entries_;  ///< used last: first
  std::int64_t bytes_ = 0;
};

}  // namespace wan::engine
