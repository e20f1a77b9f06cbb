// Protections against a row that would make others fail: bounds of memory, and values that are not finite.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <new>

#include "comm/local.h"
#include "engine/autoencoder.h"
#include "engine/host_size.h"
#include "parallel/agree.h"
#include "parallel/host_memory.h"
#include "unit/vae/random_weights.h"
#include "wan/error.h"
#include "wan/storage_error.h"

namespace wan::engine {
namespace {

const model::ModelKind& kind = model::model_kind("i2v-A14B");

Request request_of(int frame_num) {
  Request request;
  request.frame_num = frame_num;
  return request;
}

TEST(HostSize, CountsFramesLatentsAndTheDecodersLastLevel) {
  const Request request = request_of(81);
  const PixelSize size{1280, 720};
  const std::int64_t frames = std::int64_t{3} * 1280 * 720 * 81;
  const std::int64_t latent = std::int64_t{16} * 21 * 160 * 90 * 4;
  EXPECT_EQ(least_host_bytes(request, size, kind, {}), frames + latent);
  EXPECT_EQ(least_host_bytes(request, size, kind, {.computes = true, .vae_width = 96}),
            frames + latent * (16 * 3 + 20) / 16 + std::int64_t{2} * 4 * 1280 * 720 * 96 * 4);
}

TEST(HostSize, ARowLargerThanTheMachineIsRefusedWithBothNumbers) {
  EXPECT_NO_THROW(require_host_memory(request_of(81), {1280, 720}, kind, {}, std::int64_t{1} << 30));
  try {
    require_host_memory(request_of(1025), {16384, 16384}, kind, {}, std::int64_t{24} << 30);
    FAIL() << "a video of 768 GiB";
  } catch (const ItemError& error) {
    EXPECT_EQ(error.stage(), "memory");
    EXPECT_NE(std::string(error.what()).find("833.0 GiB"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("24.0 GiB"), std::string::npos) << error.what();
  }
  EXPECT_GT(host_limit_bytes(), std::int64_t{1} << 28);
}

TEST(HostMemory, EveryKindOfRefusalIsOne) {
  const auto refused = [](const std::function<void()>& work) {
    try {
      parallel::with_host_memory(work);
    } catch (const c10::OutOfMemoryError&) {
      return true;
    }
    return false;
  };
  EXPECT_TRUE(refused([] { throw std::bad_alloc(); }));
  EXPECT_TRUE(refused([] { at::empty({std::int64_t{1} << 46}); }));  // 2^48 bytes
  EXPECT_TRUE(refused([] { at::empty({std::int64_t{1} << 40, std::int64_t{1} << 40}); }));
  EXPECT_TRUE(refused([] { std::vector<float>().resize(std::size_t{1} << 62); }));
  EXPECT_FALSE(refused([] { at::zeros({2, 3}); }));
  EXPECT_THROW(parallel::with_host_memory([] { at::zeros({2, 3}).view({7}); }), c10::Error);
}

TEST(AgreeOnRoot, PassesTheKindOfErrorOn) {
  const auto group = comm::make_local("group");
  EXPECT_THROW(parallel::agree_on_root(*group, 0, "write", [] { throw StorageError("full"); }), StorageError);
  EXPECT_THROW(parallel::agree_on_root(*group, 0, "image", [] { throw std::bad_alloc(); }), MemoryError);
  try {
    parallel::agree_on_root(*group, 0, "image", [] { throw ItemError("image", "no\nimage"); });
  } catch (const ItemError& error) {
    EXPECT_EQ(error.stage(), "image");
    EXPECT_STREQ(error.what(), "no\nimage");
  }
}

TEST(Autoencoder, SaysWhetherTheFramesAreFinite) {
  const auto config = vae::VaeConfig::wan21(8);
  const auto group = comm::make_local("vae");
  const at::Tensor latent = at::zeros({16, 1, 2, 2});
  for (const float poison :
       {1.0F, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    test::Weights weights = test::random_vae_weights(config, 3);
    for (auto& [name, tensor] : weights) tensor = tensor.to(at::kFloat);
    weights.at("decoder.head.2.bias").fill_(poison);
    Autoencoder stage({.config = config, .read = test::lookup(weights)}, at::kCPU);
    int chunks = 0;
    const bool is_finite = stage.decode(latent, *group, 0, [&](const at::Tensor&) { ++chunks; });
    EXPECT_EQ(is_finite, poison == 1.0F);
    EXPECT_EQ(chunks, 1);
  }
}

}  // namespace
}  // namespace wan::engine
