#include <ATen/ATen.h>
#include <c10/cuda/CUDACachingAllocator.h>

#include <algorithm>
#include <cstdio>
#include <ostream>
#include <string>

#include "gpu/gpu_test.h"
#include "kernels/attention.h"
#include "wan/error.h"

namespace wan::kernels {
namespace {

struct AttentionCase {
  std::int64_t queries, keys, heads, head_dim;
};
void PrintTo(const AttentionCase& c, std::ostream* out) {
  *out << c.queries << " queries, " << c.keys << " keys, " << c.heads << " heads of " << c.head_dim;
}
class AttentionGpu : public GpuTest, public testing::WithParamInterface<AttentionCase> {
 protected:
  /// Compares every backend that takes these inputs with fp64.
  static void expect_all_close(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    const at::Tensor exact = attention_reference(q.to(at::kDouble), k.to(at::kDouble),
                                                 v.to(at::kDouble));  // [queries, heads, head_dim]
    for (const AttentionBackend backend :
         available_attention_backends(q.device(), q.scalar_type(), q.size(2))) {
      const at::Tensor out = attention(q, k, v, backend);
      EXPECT_EQ(out.sizes(), q.sizes());
      EXPECT_EQ(out.scalar_type(), q.scalar_type());
      const double error = relative_error(out, exact);
      // The reference in 16 bits also rounds the scores, which a fused kernel keeps in fp32.
      const bool is_reference = backend == parse_attention_backend("reference");
      const double of_bf16 = is_reference ? 1e-2 : 4e-3;
      const double allowed = q.scalar_type() == at::kFloat      ? 3e-6
                             : q.scalar_type() == at::kBFloat16 ? of_bf16
                                                                : of_bf16 / 4;
      std::printf("  %-10s %-8s [%lld, %lld, %lld] x %lld keys: error %.2e\n",
                  std::string(to_string(backend)).c_str(), at::toString(q.scalar_type()),
                  static_cast<long long>(q.size(0)), static_cast<long long>(q.size(1)),
                  static_cast<long long>(q.size(2)), static_cast<long long>(k.size(0)), error);
      EXPECT_LT(error, allowed) << to_string(backend);
    }
  }
};

TEST_P(AttentionGpu, EveryBackendMatchesFp64) {
  const auto [queries, keys, heads, head_dim] = GetParam();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::TensorOptions options = at::TensorOptions(at::kCUDA).dtype(type);
    expect_all_close(at::randn({queries, heads, head_dim}, options),
                     at::randn({keys, heads, head_dim}, options),
                     at::randn({keys, heads, head_dim}, options));
  }
}

TEST_P(AttentionGpu, EveryBackendTakesStridedInputsAmidNan) {
  const auto [queries, keys, heads, head_dim] = GetParam();
  const std::int64_t tokens = std::max(queries, keys);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    // The layout of the exchange: q, k and v of a token side by side, with padding tokens after the real
    // ones.
    const at::Tensor qkv =
        at::full({tokens + 3, 3, heads, head_dim}, NAN, at::TensorOptions(at::kCUDA).dtype(type));
    qkv.narrow(0, 0, tokens).normal_();
    expect_all_close(qkv.select(1, 0).narrow(0, 0, queries), qkv.select(1, 1).narrow(0, 0, keys),
                     qkv.select(1, 2).narrow(0, 0, keys));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionGpu,
                         testing::Values(AttentionCase{1, 65, 1, 128}, AttentionCase{70, 70, 4, 24},
                                         AttentionCase{33, 513, 3, 32}, AttentionCase{777, 1001, 5, 128},
                                         AttentionCase{2048, 2048, 40, 128},
                                         AttentionCase{1000, 512, 40, 128}, AttentionCase{70, 33, 4, 12},
                                         AttentionCase{65, 65, 3, 20}, AttentionCase{40, 40, 2, 384}));

class AttentionChoiceGpu : public GpuTest {};

TEST_F(AttentionChoiceGpu, AutomaticIsOurOwnKernelInBf16AndMathInFp32) {
  EXPECT_EQ(attention_backend_for(at::kCUDA, at::kFloat, 128, 32760), parse_attention_backend("math"));
  const auto available = available_attention_backends(at::kCUDA, at::kBFloat16, 128);
  const bool has_hopper = std::ranges::find(available, parse_attention_backend("hopper")) != available.end();
  const AttentionBackend expected = parse_attention_backend(has_hopper ? "hopper" : "cudnn");
  EXPECT_EQ(attention_backend_for(at::kCUDA, at::kBFloat16, 128, 512), expected);
  EXPECT_EQ(attention_backend_for(at::kCUDA, at::kBFloat16, 128, 32760), expected);
  const at::Tensor q = at::randn({130, 2, 128}, at::kCUDA).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(attention(q, q, q), attention(q, q, q, expected)));
}

TEST_F(AttentionChoiceGpu, AutomaticIsCudnnInFp16) {
  EXPECT_EQ(attention_backend_for(at::kCUDA, at::kHalf, 128, 32760), parse_attention_backend("cudnn"));
}

TEST_F(AttentionChoiceGpu, HeadsThatNoFastKernelTakesGoToTheReference) {
  EXPECT_EQ(attention_backend_for(at::kCUDA, at::kBFloat16, 12, 4096), parse_attention_backend("reference"));
  const at::Tensor qkv =
      at::randn({50, 3, 3, 12}, at::kCUDA).to(at::kBFloat16);  // [tokens, 3, heads, head_dim]
  const at::Tensor out = attention(qkv.select(1, 0), qkv.select(1, 1), qkv.select(1, 2));
  EXPECT_LT(relative_error(
                out, attention(qkv.select(1, 0).cpu().to(at::kFloat), qkv.select(1, 1).cpu().to(at::kFloat),
                               qkv.select(1, 2).cpu().to(at::kFloat))),
            1e-2);
}

TEST_F(AttentionChoiceGpu, NamesWhatIsAvailableInstead) {
  const at::Tensor q = at::randn({8, 2, 64}, at::kCUDA).to(at::kBFloat16);
  try {
    attention(q, q, q, parse_attention_backend("flashinfer"));
    FAIL() << "FlashInfer took head_dim 64";
  } catch (const UsageError& error) {
    for (const char* other : {"cudnn", "math", "reference"}) {
      EXPECT_NE(std::string(error.what()).find(other), std::string::npos) << error.what();
    }
  }
}

TEST_F(AttentionChoiceGpu, MathInFp32HoldsNoScores) {
  namespace allocator = c10::cuda::CUDACachingAllocator;
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const at::Tensor q = at::randn({16384, 8, 128}, at::kCUDA);
  const std::int64_t before_bytes =
      allocator::getDeviceStats(q.device().index()).allocated_bytes[all].current;
  allocator::resetPeakStats(q.device().index());
  const at::Tensor out = attention(q, q, q);
  const std::int64_t peak_bytes = allocator::getDeviceStats(q.device().index()).allocated_bytes[all].peak;
  EXPECT_LT(peak_bytes - before_bytes, std::int64_t{1} << 30) << "the scores would take 8 GiB";
  const at::Tensor few = q.narrow(0, 100, 64);
  const at::Tensor exact = attention_reference(few.to(at::kDouble), q.to(at::kDouble), q.to(at::kDouble));
  EXPECT_LT(relative_error(out.narrow(0, 100, 64), exact), 3e-6);
}

}  // namespace
}  // namespace wan::kernels
