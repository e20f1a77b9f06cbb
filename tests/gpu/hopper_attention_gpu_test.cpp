#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "gpu/gpu_test.h"
#include "kernels/attention.h"

namespace wan::kernels {
namespace {

/// Our own kernel: the rules that it keeps beyond those of every backend.
class HopperAttentionGpu : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    const auto available = available_attention_backends(at::kCUDA, at::kBFloat16, 128);
    if (std::ranges::find(available, hopper_) == available.end()) GTEST_SKIP() << "no Hopper kernel here";
  }

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    std::int64_t last_repeats = 1) const {
    return attention(q, k, v, hopper_, last_repeats);
  }

  static at::Tensor exact(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return attention_reference(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble));
  }

  static at::Tensor random(at::IntArrayRef shape) {
    return at::randn(shape, at::TensorOptions(at::kCUDA).dtype(at::kBFloat16));
  }

 private:
  const AttentionBackend hopper_ = parse_attention_backend("hopper");
};

TEST_F(HopperAttentionGpu, AnyCountOfKeysAndQueries) {
  // Around the sizes of tiles: of 64 and 128 queries, and of 128 and 176 keys.
  for (const std::int64_t keys : {1, 7, 127, 128, 129, 512, 513, 1023, 1024, 1055, 1056, 1057, 2112, 3000}) {
    for (const std::int64_t queries : {1, 63, 65, 128, 255, 257}) {
      const at::Tensor q = random({queries, 3, 128});
      const at::Tensor k = random({keys, 3, 128});
      const at::Tensor v = random({keys, 3, 128});
      EXPECT_LT(relative_error(attend(q, k, v), exact(q, k, v)), 4e-3) << queries << " x " << keys;
    }
  }
}

TEST_F(HopperAttentionGpu, TheLastKeyCountsSeveralTimes) {
  for (const std::int64_t keys : {1, 2, 121, 127, 128, 129, 256, 400, 511, 1500}) {
    for (const std::int64_t repeats : {2, 41, 511}) {
      const at::Tensor q = random({300, 3, 128});
      const at::Tensor k = random({keys, 3, 128});
      const at::Tensor v = random({keys, 3, 128});
      const auto written_out = [&](const at::Tensor& rows) {
        return at::cat({rows, rows.narrow(0, keys - 1, 1).expand({repeats - 1, -1, -1})});
      };
      const at::Tensor expected = exact(q, written_out(k), written_out(v));
      EXPECT_LT(relative_error(attend(q, k, v, repeats), expected), 4e-3) << keys << " + " << repeats;
      EXPECT_TRUE(at::equal(attend(q, k, v, repeats).narrow(0, 77, 100),
                            attend(q.narrow(0, 77, 100), k, v, repeats)));
    }
  }
}

TEST_F(HopperAttentionGpu, HeadsMayComeFirstInMemory) {
  const at::Tensor q = random({5, 300, 128}).transpose(0, 1);
  const at::Tensor k = random({5, 1500, 128}).transpose(0, 1);
  const at::Tensor v = random({5, 1500, 128}).transpose(0, 1);
  EXPECT_LT(relative_error(attend(q, k, v), exact(q, k, v)), 4e-3);
}

TEST_F(HopperAttentionGpu, ARowHasTheSameBitsWhateverElseIsInTheCall) {
  for (const std::int64_t keys : {512, 3001}) {
    const at::Tensor qkv = random({3001, 3, 7, 128});  // [tokens, 3, heads, 128]
    const at::Tensor q = qkv.select(1, 0);
    const at::Tensor k = qkv.select(1, 1).narrow(0, 0, keys);
    const at::Tensor v = qkv.select(1, 2).narrow(0, 0, keys);
    const at::Tensor all = attend(q, k, v);
    EXPECT_TRUE(at::equal(all, attend(q, k, v)));
    EXPECT_TRUE(at::equal(all, attend(q.contiguous(), k.contiguous(), v.contiguous())));
    const at::Tensor few =
        attend(q.narrow(0, 333, 700).narrow(1, 4, 2), k.narrow(1, 4, 2), v.narrow(1, 4, 2));
    EXPECT_TRUE(at::equal(all.narrow(0, 333, 700).narrow(1, 4, 2), few));
    const at::Tensor one = attend(q.narrow(0, 3000, 1).narrow(1, 6, 1), k.narrow(1, 6, 1), v.narrow(1, 6, 1));
    EXPECT_TRUE(at::equal(all.narrow(0, 3000, 1).narrow(1, 6, 1), one));
  }
}

/// The kernel lets a row's scores exceed its running maximum a little before the maximum follows. Here scores
/// grow from key to key, slowly, fast and at once, in some rows only.
TEST_F(HopperAttentionGpu, ScoresThatGrowAlongTheKeys) {
  constexpr std::int64_t keys = 2000;
  for (const double growth : {0.01, 1.0, 30.0, 1000.0}) {
    at::Tensor k = random({keys, 2, 128});
    // The kernel takes the last tile of keys first, so growth towards the first key is growth in its order.
    const at::Tensor ramp = at::linspace(growth, 0, keys, k.options().dtype(at::kFloat));
    k.select(2, 0).copy_(ramp.unsqueeze(1).expand({keys, 2}));
    at::Tensor q = random({150, 2, 128});
    q.select(2, 0).fill_(8.0);
    q.slice(0, 0, 150, 3).select(2, 0).fill_(-8.0);
    const at::Tensor v = random({keys, 2, 128});
    EXPECT_LT(relative_error(attend(q, k, v), exact(q, k, v)), 4e-3) << growth;
  }
}

TEST_F(HopperAttentionGpu, WritesNothingBesideItsResult) {
  const at::Tensor q = random({131, 3, 128});
  const at::Tensor k = random({1200, 3, 128});
  const at::Tensor around = at::full({140, 3, 128}, 42.0, q.options());
  at::Tensor out = around.narrow(0, 4, 131);
  attention_out(out, q, k, k, parse_attention_backend("hopper"));
  EXPECT_TRUE(around.narrow(0, 0, 4).eq(42.0).all().item<bool>());
  EXPECT_TRUE(around.narrow(0, 135, 5).eq(42.0).all().item<bool>());
  EXPECT_LT(relative_error(out, exact(q, k, k)), 4e-3);
}

/// As on a rank that has one head less than others, and an empty place in its exchange.
TEST_F(HopperAttentionGpu, ThePlacesOfItsHeadsMayBeFollowedByAnEmptyOne) {
  const at::Tensor qkv = random({2100, 3, 5, 128}).narrow(2, 0, 4);  // [tokens, 3, heads, 128]
  const at::Tensor q = qkv.select(1, 0);
  const at::Tensor k = qkv.select(1, 1);
  const at::Tensor v = qkv.select(1, 2);
  for (const char* name : {"hopper", "flashinfer", "cudnn"}) {
    const at::Tensor around = at::full({2100, 5, 128}, 42.0, q.options());
    at::Tensor out = around.narrow(1, 0, 4);
    attention_out(out, q, k, v, parse_attention_backend(name));
    EXPECT_TRUE(around.narrow(1, 4, 1).eq(42.0).all().item<bool>()) << name;
    EXPECT_LT(relative_error(out, exact(q, k, v)), 4e-3) << name;
  }
}

}  // namespace
}  // namespace wan::kernels
