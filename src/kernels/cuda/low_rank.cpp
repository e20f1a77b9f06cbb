#include "kernels/cuda/low_rank.h"

#include <ATen/core/Tensor.h>

#include "kernels/cuda/arguments.h"

namespace wan::kernels::cuda {
namespace {

const float* values_of(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

}  // namespace

void add_low_rank(const at::Tensor& out, const at::Tensor& base, std::int64_t first, std::int64_t columns,
                  std::span<const LowRankShare> shares) {
  const char* const kernel = "add_low_rank";
  if (out.numel() == 0) return;
  LowRankRange range{.base = base.const_data_ptr(),
                     .base_type = element_of(base, kernel),
                     .out = out.mutable_data_ptr(),
                     .out_type = element_of(out, kernel),
                     .first = first,
                     .count = out.numel(),
                     .columns = columns,
                     .share_count = static_cast<int>(shares.size())};
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const LowRankShare& share = shares[i];
    range.shares[i] = {.up = values_of(share.up),
                       .down = values_of(share.down),
                       .first_row = share.first_row,
                       .rank = share.up.defined() ? static_cast<int>(share.up.size(1)) : 0,
                       .factor = share.factor,
                       .strength = share.strength,
                       .difference = values_of(share.difference)};
  }
  const DeviceStream device(out);
  check_launch(launch_add_low_rank(range, device.stream()), kernel);
}

}  // namespace wan::kernels::cuda
