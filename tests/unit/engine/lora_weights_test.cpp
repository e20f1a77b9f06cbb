// LoRAs in an expert's weights as the engine reads them: in any division over ranks, and in each type.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/model_parts.h"
#include "parallel/weight_loading.h"
#include "parallel/weight_shards.h"
#include "support/parity_case.h"
#include "support/temp_dir.h"
#include "unit/lora/lora_files.h"

namespace wan::engine {
namespace {

using checkpoint::DType;

class LoraWeights : public testing::Test {
 protected:
  LoraWeights() { write(DType::f32); }

  /// A LoRA on every tensor, with the same values in each type.
  void write(DType type) {
    const auto& config = expert_.config;
    lora::test::PlainLora lora = lora::test::pairs_of(config);
    lora::test::add_differences(config, lora);
    lora::test::NumbersByName tensors;
    for (const auto& [module, pair] : lora.pairs) {
      tensors[module + ".lora_A.weight"] = pair.down;
      tensors[module + ".lora_B.weight"] = pair.up;
      if (pair.alpha) tensors[module + ".alpha"] = {.shape = {}, .values = {*pair.alpha}};
    }
    for (const auto& [tensor, numbers] : lora.differences) {
      const bool is_bias = tensor.ends_with(".bias");
      const bool is_modulation = tensor.ends_with("modulation");
      tensors[tensor.substr(0, tensor.rfind('.')) + (is_bias         ? ".diff_b"
                                                     : is_modulation ? ".diff_m"
                                                                     : ".diff")] = numbers;
    }
    const std::filesystem::path file = dir_ / fmt::format("{}.safetensors", to_string(type));
    lora::test::write_numbers(file, tensors, type);
    const lora::LoraSet set{{.file = file, .strength = 1.0 / 3}};
    reader_ =
        merging_reader(expert_.weights, std::make_shared<lora::LoraMerge>(set, Expert::low_noise, config));
  }

  at::Tensor slice(int unit, int parts, int part, at::ScalarType type) const {
    const auto units = checkpoint::transformer_units(expert_.config);
    const parallel::WeightShards shards(units, reader_, parts, part, {.device = at::kCPU, .type = type});
    return shards.slice(unit).clone();
  }

  test::TempDir dir_;
  ExpertFiles expert_ =
      open_expert(std::filesystem::path(WAN_TEST_DATA) / "parity/i2v_landscape/ckpt/low_noise_model");
  parallel::ParameterReader reader_;
};

TEST_F(LoraWeights, AreTheSameInEveryDivision) {
  const int units = static_cast<int>(checkpoint::transformer_units(expert_.config).size());
  for (int unit = 0; unit < units; ++unit) {
    const at::Tensor whole = slice(unit, 1, 0, at::kFloat);
    for (const int parts : {2, 3, 4, 7}) {
      std::vector<at::Tensor> slices;
      for (int part = 0; part < parts; ++part) slices.push_back(slice(unit, parts, part, at::kFloat));
      EXPECT_TRUE(at::equal(at::cat(slices).narrow(0, 0, whole.numel()), whole)) << unit << " in " << parts;
    }
  }
}

TEST_F(LoraWeights, AreRoundedOnce) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor wide = slice(1, 1, 0, at::kFloat);
    EXPECT_TRUE(at::equal(slice(1, 1, 0, type), wide.to(type)));
    const auto plain = checkpoint_reader(expert_.weights);
    const parallel::WeightShards without(checkpoint::transformer_units(expert_.config), plain, 1, 0,
                                         {.device = at::kCPU, .type = at::kFloat});
    EXPECT_GT(test::relative_error(wide, without.slice(1)), 0.1);
  }
}

/// A GPU adds LoRAs behind the upload, also to what is then kept on the host. It widens bf16 and fp16.
TEST_F(LoraWeights, AreTheSameFromAGpu) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "needs a GPU";
  const auto units = checkpoint::transformer_units(expert_.config);
  const parallel::WeightShare share{.parts = 3, .part = 1};
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    const kernels::Compute compute{.device = {at::kCUDA, 0}, .type = type};
    std::vector<at::Tensor> expected;
    for (int unit = 0; unit < static_cast<int>(units.size()); ++unit)
      expected.push_back(slice(unit, share.parts, share.part, type));
    const auto arena = std::make_shared<parallel::WeightArena>(units, share.parts, compute);
    for (const auto& [place, file] : {std::pair{std::shared_ptr<parallel::WeightArena>(), DType::f32},
                                      {std::shared_ptr<parallel::WeightArena>(), DType::bf16},
                                      {arena, DType::f16}}) {
      write(file);
      parallel::WeightShards shards(units, share, compute, place);
      parallel::WeightLoading loading({{.shards = &shards, .read = reader_}});
      ASSERT_TRUE(loading.finish(nullptr));
      for (int unit = 0; unit < static_cast<int>(units.size()); ++unit) {
        EXPECT_EQ(shards.landing(unit).is_cuda(), place == nullptr);
        EXPECT_TRUE(at::equal(shards.landing(unit).cpu(), expected[static_cast<std::size_t>(unit)])) << unit;
      }
    }
  }
}

}  // namespace
}  // namespace wan::engine
