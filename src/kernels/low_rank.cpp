#include "kernels/low_rank.h"

#include "core/check.h"
#include "kernels/cuda/low_rank.h"
#include "kernels/device.h"

namespace wan::kernels {
namespace {

void check_share(const LowRankShare& share, const at::Tensor& out, std::int64_t first, std::int64_t columns) {
  const std::int64_t end_row = (first + out.numel() + columns - 1) / columns;
  if (share.up.defined()) {
    WAN_CHECK(share.up.dim() == 2 && share.down.dim() == 2 && share.first_row <= first / columns &&
                  share.first_row + share.up.size(0) >= end_row && share.up.size(1) == share.down.size(0) &&
                  share.down.size(1) == columns,
              "a pair of [{}, {}] from row {} on and [{}, {}] for {} elements from {} on, {} columns",
              share.up.size(0), share.up.size(1), share.first_row, share.down.size(0), share.down.size(1),
              out.numel(), first, columns);
  }
  WAN_CHECK(!share.difference.defined() || share.difference.numel() == out.numel(),
            "a difference of {} values for {}", share.difference.numel(), out.numel());
  for (const at::Tensor& tensor : {share.up, share.down, share.difference}) {
    WAN_CHECK(!tensor.defined() || (tensor.scalar_type() == at::kFloat && tensor.is_contiguous() &&
                                    tensor.device() == out.device()),
              "the values of a LoRA must be fp32, dense and on {}", out.device().str());
  }
}

}  // namespace

bool has_add_low_rank(const at::Device& device, at::ScalarType type) {
  return with_cuda && device.is_cuda() && (type == at::kBFloat16 || type == at::kFloat);
}

void add_low_rank(const at::Tensor& out, const at::Tensor& base, std::int64_t first, std::int64_t columns,
                  std::span<const LowRankShare> shares) {
  WAN_CHECK(has_add_low_rank(out.device(), out.scalar_type()) &&
                has_add_low_rank(base.device(), base.scalar_type()) && base.device() == out.device(),
            "no kernel adds LoRAs in {} on {}", at::toString(out.scalar_type()), out.device().str());
  WAN_CHECK(out.dim() == 1 && out.is_contiguous() && base.dim() == 1 && base.is_contiguous() &&
                base.numel() == out.numel() && first >= 0 && columns > 0 &&
                std::ssize(shares) <= max_low_rank_shares,
            "{} and {} elements from {} on, {} columns, {} LoRAs", out.numel(), base.numel(), first, columns,
            shares.size());
  for (const LowRankShare& share : shares) check_share(share, out, first, columns);
  if constexpr (with_cuda) cuda::add_low_rank(out, base, first, columns, shares);
}

}  // namespace wan::kernels
