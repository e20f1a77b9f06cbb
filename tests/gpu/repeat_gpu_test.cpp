#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <functional>

#include "gpu/gpu_test.h"
#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"
#include "kernels/qkv.h"

namespace wan::kernels {
namespace {

/// The kernels of a step at the size of a step, several times: equal inputs give equal bits.
class RepeatGpu : public GpuTest {
 protected:
  static constexpr std::int64_t tokens = 31668;  // 81 frames of 832*464: no multiple of a tile
  static constexpr std::int64_t heads = 40;
  static constexpr std::int64_t dim = heads * 128;

  static at::Tensor random(at::IntArrayRef shape) {
    return at::randn(shape, at::TensorOptions(at::kCUDA).dtype(at::kBFloat16));
  }

  static void expect_equal_bits(const std::function<at::Tensor()>& compute, int calls = 8) {
    const at::Tensor first = compute();
    ASSERT_TRUE(at::isfinite(first).all().item<bool>());
    for (int call = 0; call < calls; ++call) {
      const at::Tensor differs = compute().ne(first);
      ASSERT_EQ(differs.sum().item<std::int64_t>(), 0)
          << "call " << call << ", first at element " << differs.flatten().nonzero()[0].item<std::int64_t>();
    }
  }
};

TEST_F(RepeatGpu, SelfAttention) {
  const at::Tensor qkv = random({tokens, 3, heads, 128});
  expect_equal_bits([&] { return attention(qkv.select(1, 0), qkv.select(1, 1), qkv.select(1, 2)); });
}

/// Queries that lie in the L2 cache arrive soon after the kernel has asked for them. With one tile of keys,
/// it once asked for the next ones while it still read those before.
TEST_F(RepeatGpu, AttentionToATextAndItsPadding) {
  for (const std::int64_t queries : {std::int64_t{3016}, tokens}) {
    const at::Tensor q = random({queries, heads, 128});
    for (const std::int64_t keys : {7, 121, 200}) {
      const at::Tensor k = random({keys, heads, 128});
      const at::Tensor v = random({keys, heads, 128});
      SCOPED_TRACE(keys);
      const auto attend = [&] {
        q.add_(0);  // brings them to the cache
        return attention(q, k, v, AttentionBackend::automatic, 513 - keys);
      };
      expect_equal_bits(attend, queries < tokens ? 200 : 8);
    }
  }
}

TEST_F(RepeatGpu, Products) {
  const std::array<std::array<std::int64_t, 2>, 4> shapes{
      {{dim, 3 * dim}, {dim, dim}, {dim, 13824}, {13824, dim}}};
  for (const auto& [in, out] : shapes) {
    const at::Tensor x = random({tokens, in});
    const at::Tensor weight = random({out, in}) / std::sqrt(static_cast<double>(in));
    const at::Tensor bias = random({out});
    SCOPED_TRACE(out);
    expect_equal_bits([&] { return linear(x, weight, bias); });
    expect_equal_bits([&] { return linear_gelu(x, weight, bias); });
  }
}

TEST_F(RepeatGpu, NormAndRotation) {
  const at::Tensor qkv = random({tokens, 3 * dim});
  const at::Tensor norm = random({dim});
  const at::Tensor angles = at::rand({tokens, 64}, at::kCUDA);
  const RotaryTable table{.cos = angles.cos(), .sin = angles.sin()};
  expect_equal_bits([&] {
    const at::Tensor own = qkv.clone();
    norm_rotate_pack(own, {.q = norm, .k = norm, .eps = 1e-6}, table,
                     std::array{own.view({1, tokens, 3, heads, 128})});
    return own;
  });
  const at::Tensor x = at::randn({tokens, dim}, at::kCUDA);
  const at::Tensor scale = at::randn({dim}, at::kCUDA);
  expect_equal_bits([&] { return layer_norm_modulate(x, scale, scale, 1e-6, at::kBFloat16); });
}

}  // namespace
}  // namespace wan::kernels
