#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <string>

#include "gpu/gpu_test.h"
#include "kernels/attention.h"

namespace wan::kernels {
namespace {

constexpr int calls = 200;

class AttentionUnderLoadGpu : public GpuTest {
 protected:
  /// Matrix products on their own stream, which take multiprocessors and memory bandwidth away from the
  /// attention.
  class Load {
   public:
    Load() {
      const at::TensorOptions options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
      a_ = at::randn({4096, 4096}, options);
      out_ = at::zeros({4096, 4096}, options);
      c10::cuda::device_synchronize();  // made on the other stream
    }
    void add() {
      const c10::cuda::CUDAStreamGuard on(stream_);
      at::mm_out(out_, a_, a_);
    }

   private:
    c10::cuda::CUDAStream stream_ = c10::cuda::getStreamFromPool();
    at::Tensor a_, out_;  ///< [4096, 4096]
  };

  static void expect_equal_bits(AttentionBackend backend, std::int64_t queries, std::int64_t keys) {
    const at::TensorOptions options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
    const at::Tensor q = at::randn({queries, 20, 128}, options);
    const at::Tensor k = at::randn({keys, 20, 128}, options);
    const at::Tensor v = at::randn({keys, 20, 128}, options);
    const at::Tensor first = attention(q, k, v, backend);
    ASSERT_TRUE(at::isfinite(first).all().item<bool>());
    at::Tensor differing = at::zeros({}, at::TensorOptions(at::kCUDA).dtype(at::kLong));
    Load load;
    for (int call = 0; call < calls; ++call) {
      if (call % 3 != 0) load.add();  // sometimes with load, sometimes without
      differing += attention(q, k, v, backend).ne(first).any().to(at::kLong);
    }
    c10::cuda::device_synchronize();
    EXPECT_EQ(differing.item<std::int64_t>(), 0)
        << "calls of " << calls << " gave other bits, " << to_string(backend);
  }
};

TEST_F(AttentionUnderLoadGpu, TwoHundredCallsGiveTheSameBits) {
  for (const AttentionBackend backend : available_attention_backends(at::kCUDA, at::kBFloat16, 128)) {
    if (backend == parse_attention_backend("reference") || backend == parse_attention_backend("math"))
      continue;
    SCOPED_TRACE(std::string(to_string(backend)));
    expect_equal_bits(backend, 16380, 16380);
    expect_equal_bits(backend, 4095, 2049);  // ragged tiles
    expect_equal_bits(backend, 8190, 512);   // a text's keys
  }
}

}  // namespace
}  // namespace wan::kernels
