#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

namespace wan::dit {

/// The sub-layers of a block, in the order in which they are added to the residual stream.
enum class SubLayer : std::int8_t { self_attention, cross_attention, feed_forward };

/// Where the residual stream first held a value that is not finite.
struct OverflowPlace {
  int block = 0;
  SubLayer layer = SubLayer::self_attention;

  /// Smaller for the place that comes first in a forward.
  int order() const;
  /// "the feed-forward of block 7"
  std::string describe() const;
  bool operator==(const OverflowPlace&) const = default;
};

/// Marks of the places at which a forward in fp16 left the range of its numbers. In fp16, a value beyond
/// 65504 becomes infinite; in the same sub-layer the infinite value reaches the residual stream, where one
/// sum of each row, which the norm needs in any case, shows it. The marks lie on the device, so that nobody
/// waits for it within a step.
class OverflowMarks {
 public:
  OverflowMarks(std::int64_t blocks, const at::Device& device);

  /// The mark of a place: int32, one element (kernels::GatedResidual::overflow).
  at::Tensor of(int block, SubLayer layer) const;
  /// The first place that was marked since the last call. Waits for the device.
  std::optional<OverflowPlace> take();

 private:
  at::Tensor marks_;  ///< int32 [blocks, sub-layers]
};

}  // namespace wan::dit
