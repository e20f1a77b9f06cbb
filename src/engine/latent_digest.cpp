#include "engine/latent_digest.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

namespace wan::engine {
namespace {

/// Odd numbers without a pattern in their bits: 2^64 over the golden ratio, and the two of splitmix64.
constexpr std::array<std::uint64_t, 3> factors{0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb};

at::Scalar factor(std::size_t which) { return static_cast<std::int64_t>(factors.at(which)); }

}  // namespace

at::Tensor digest_share(const at::Tensor& tokens, std::int64_t first_token) {
  const at::TensorOptions options = tokens.options().dtype(at::kLong);
  at::Tensor sum = at::zeros({}, options);
  constexpr std::int64_t most_values = 1 << 20;  // that are mixed at once, for the sake of memory
  const std::int64_t features = tokens.size(1);
  const std::int64_t most_rows = std::max<std::int64_t>(1, most_values / features);
  for (std::int64_t row = 0; row < tokens.size(0); row += most_rows) {
    const at::Tensor some = tokens.narrow(0, row, std::min(most_rows, tokens.size(0) - row));
    const std::int64_t first = (first_token + row) * features;
    at::Tensor mixed = at::arange(first + 1, first + 1 + some.numel(), options);
    mixed.mul_(factor(0)).add_(some.contiguous().flatten().view(at::kInt));
    // The shifts keep the sign: they only have to be the same on every device.
    mixed.bitwise_xor_(at::bitwise_right_shift(mixed, 30)).mul_(factor(1));
    mixed.bitwise_xor_(at::bitwise_right_shift(mixed, 27)).mul_(factor(2));
    mixed.bitwise_xor_(at::bitwise_right_shift(mixed, 31));
    sum.add_(mixed.sum());
  }
  return sum;
}

at::Tensor own_digest_share(const parallel::PassCommunicators& passes, const dit::SequenceShape& shape,
                            const at::Tensor& x) {
  if (passes.position.cfg > 0 || passes.position.copy > 0) return {};
  const std::int64_t own =
      std::clamp<std::int64_t>(shape.tokens - shape.first_token(), 0, shape.local_tokens);
  return digest_share(x.narrow(0, 0, own), shape.first_token());
}

std::int64_t latent_digest(std::span<const std::int64_t> shares) {
  std::uint64_t sum = 0;
  for (const std::int64_t share : shares) sum += static_cast<std::uint64_t>(share);
  const auto digest = static_cast<std::int64_t>(sum);
  return digest == -1 ? -2 : digest;
}

}  // namespace wan::engine
