// LoRAs in every spelling, and what they make of the weights.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>

#include "lora/lora_file.h"
#include "lora/lora_merge.h"
#include "lora/lora_set.h"
#include "lora/low_rank.h"
#include "support/message_of.h"
#include "support/temp_dir.h"
#include "unit/lora/lora_files.h"

namespace wan::lora {
namespace {

using test::NumbersByName;
using test::PlainLora;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Naming = std::function<std::string(const std::string& module)>;

/// The endings of a dialect; "" where it has none.
struct Endings {
  std::string down, up, alpha = ".alpha", difference = ".diff", bias = ".diff_b", modulation = ".diff_m";
};
const Endings kohya{.down = ".lora_down.weight", .up = ".lora_up.weight"};

NumbersByName written(const PlainLora& lora, const Endings& endings, const Naming& name) {
  NumbersByName tensors;
  for (const auto& [module, pair] : lora.pairs) {
    tensors[name(module) + endings.down] = pair.down;
    tensors[name(module) + endings.up] = pair.up;
    if (pair.alpha) tensors[name(module) + endings.alpha] = {.shape = {}, .values = {*pair.alpha}};
  }
  for (const auto& [tensor, numbers] : lora.differences) {
    const std::size_t dot = tensor.rfind('.');
    const std::string ending = tensor.substr(dot);
    const std::string module = name(tensor.substr(0, dot));
    tensors[module + (ending == ".weight" ? endings.difference
                      : ending == ".bias" ? endings.bias
                                          : endings.modulation)] = numbers;
  }
  return tensors;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

/// The name that Diffusers gives to a module of Wan (model.md 1.9), written here by hand.
std::string in_diffusers(std::string module) {
  const std::vector<std::pair<std::string, std::string>> parts{
      {".self_attn.", ".attn1."},
      {".cross_attn.", ".attn2."},
      {".k_img", ".add_k_proj"},
      {".v_img", ".add_v_proj"},
      {".norm_k_img", ".norm_added_k"},
      {".ffn.0", ".ffn.net.0.proj"},
      {".ffn.2", ".ffn.net.2"},
      {".norm3", ".norm2"},
      {"time_embedding.0", "condition_embedder.time_embedder.linear_1"},
      {"time_embedding.2", "condition_embedder.time_embedder.linear_2"},
      {"text_embedding.0", "condition_embedder.text_embedder.linear_1"},
      {"text_embedding.2", "condition_embedder.text_embedder.linear_2"},
      {"time_projection.1", "condition_embedder.time_proj"},
      {"img_emb.proj.0", "condition_embedder.image_embedder.norm1"},
      {"img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"},
      {"img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"},
      {"img_emb.proj.4", "condition_embedder.image_embedder.norm2"},
      {"head.head", "proj_out"}};
  for (const auto& [from, to] : parts) module = replaced(module, from, to);
  for (const std::string letter : {"q", "k", "v"})
    if (module.ends_with("." + letter)) module.insert(module.size() - 1, "to_");
  if (module.ends_with(".o")) module = module.substr(0, module.size() - 1) + "to_out.0";
  return module;
}

struct Spelling {
  std::string name;
  Endings endings;
  Naming module;
};

Naming with_prefix(const std::string& prefix) {
  return [prefix](const std::string& module) { return prefix + module; };
}
Naming mangled(const std::string& prefix, const Naming& inner) {
  return [=](const std::string& module) { return prefix + replaced(inner(module), ".", "_"); };
}

std::vector<Spelling> spellings() {
  const Naming official = with_prefix("");
  std::vector<Spelling> all{
      {"kohya", kohya, official},
      {"peft", {.down = ".lora_A.weight", .up = ".lora_B.weight"}, official},
      {"adapter", {.down = ".lora_A.default.weight", .up = ".lora_B.default.weight"}, official},
      {"other_adapter", {.down = ".lora_A.my-style_2.weight", .up = ".lora_B.my-style_2.weight"}, official},
      {"bare", {.down = ".lora_A", .up = ".lora_B"}, official},
      {"dots", {.down = ".lora.down.weight", .up = ".lora.up.weight"}, official},
      {"processor", {.down = "_lora.down.weight", .up = "_lora.up.weight"}, official},
      {"linear_layer",
       {.down = ".lora_linear_layer.down.weight", .up = ".lora_linear_layer.up.weight"},
       official},
      {"peft_bias", {.down = ".lora_A.weight", .up = ".lora_B.weight", .bias = ".lora_B.bias"}, official},
      {"mangled", kohya, mangled("lora_unet_", official)},
      {"mangled_twice", kohya, mangled("lora_unet__", official)},
      {"lycoris", kohya, mangled("lycoris_", official)},
      {"diffusers", {.down = ".lora_A.weight", .up = ".lora_B.weight"}, in_diffusers},
      {"mangled_diffusers", kohya, mangled("lora_unet_", in_diffusers)},
  };
  for (const std::string prefix :
       {"diffusion_model.", "transformer.", "pipe.dit.", "base_model.model.", "model.", "unet.",
        "model.diffusion_model.", "base_model.model.transformer."})
    all.push_back({prefix, kohya, with_prefix(prefix)});
  return all;
}

class LoraSpellings : public ::testing::Test {
 protected:
  std::filesystem::path write(const NumbersByName& tensors, checkpoint::DType type = checkpoint::DType::f32,
                              const std::string& name = "lora.safetensors") {
    test::write_numbers(dir_ / name, tensors, type);
    return dir_ / name;
  }

  /// Every tensor of the model after the merge, from weights that are drawn.
  static std::vector<float> merged(const LoraSet& loras, const checkpoint::TransformerConfig& config,
                                   Expert expert = Expert::single) {
    const LoraMerge merge(loras, expert, config);
    std::mt19937 random(3);
    std::vector<float> all;
    for (const checkpoint::ExpectedTensor& tensor : checkpoint::transformer_tensors(config)) {
      std::vector<float> values = test::draw(tensor.shape, random).values;
      merge.add(tensor.name, tensor.shape, 0, values);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  std::vector<float> merged_from(const NumbersByName& tensors, const checkpoint::TransformerConfig& config,
                                 checkpoint::DType type = checkpoint::DType::f32) {
    return merged({{.file = write(tensors, type)}}, config);
  }

  wan::test::TempDir dir_;
};

TEST_F(LoraSpellings, AllGiveTheSameBits) {
  for (const std::int64_t image_dim : {0, 20}) {
    const checkpoint::TransformerConfig config = test::small_config("i2v", image_dim);
    PlainLora lora = test::pairs_of(config);
    test::add_differences(config, lora);
    const std::vector<float> expected = merged_from(written(lora, kohya, with_prefix("")), config);
    const std::vector<float> base = merged({}, config);
    std::size_t changed = 0;
    for (std::size_t i = 0; i < base.size(); ++i) changed += base[i] != expected[i] ? 1 : 0;
    EXPECT_GT(changed, base.size() * 9 / 10);
    for (const Spelling& spelling : spellings()) {
      const NumbersByName tensors = written(lora, spelling.endings, spelling.module);
      EXPECT_EQ(merged_from(tensors, config), expected) << spelling.name;
      EXPECT_EQ(merged_from(tensors, config, checkpoint::DType::bf16), expected)
          << spelling.name << " in bf16";
    }
  }
}

TEST_F(LoraSpellings, DiffusersNamesModulationsItsOwnWay) {
  const checkpoint::TransformerConfig config = test::small_config();
  PlainLora lora;
  test::add_differences(config, lora);
  std::erase_if(lora.differences, [](const auto& item) { return !item.first.ends_with("modulation"); });
  ASSERT_EQ(lora.differences.size(), 13U);
  const std::vector<float> expected = merged_from(written(lora, kohya, with_prefix("")), config);
  NumbersByName tensors;
  for (const auto& [tensor, numbers] : lora.differences) {
    const std::string name = tensor == "head.modulation"
                                 ? "scale_shift_table"
                                 : replaced(tensor, "modulation", "scale_shift_table");
    tensors["transformer." + name + (tensors.size() % 2 == 0 ? ".diff" : ".diff_m")] = numbers;
  }
  EXPECT_EQ(merged_from(tensors, config), expected);
}

TEST_F(LoraSpellings, TheWeightsAreThoseOfTheDefinition) {
  const checkpoint::TransformerConfig config = test::small_config("i2v", 20);
  PlainLora first = test::pairs_of(config, 1);
  test::add_differences(config, first);
  const PlainLora second = test::pairs_of(config, 2);
  const LoraSet set{
      {.file = write(written(first, kohya, with_prefix("")), checkpoint::DType::f32, "a.safetensors"),
       .strength = 0.7},
      {.file = write(written(second, kohya, with_prefix("")), checkpoint::DType::f32, "b.safetensors"),
       .strength = -1.3}};
  const LoraMerge merge(set, Expert::single, config);
  std::mt19937 random(3);
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::transformer_tensors(config)) {
    const std::vector<float> weight = test::draw(tensor.shape, random).values;
    std::vector<double> expected = test::plainly_merged(first, tensor, weight, 0.7);
    const std::vector<double> of_second = test::plainly_merged(second, tensor, weight, -1.3);
    std::vector<float> values = weight;
    merge.add(tensor.name, tensor.shape, 0, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      expected[i] += of_second[i] - weight[i];
      ASSERT_NEAR(values[i], expected[i], 1e-7 * std::max(1.0, std::abs(expected[i])))
          << tensor.name << " " << i;
    }
  }
}

TEST_F(LoraSpellings, EveryRangeOfATensorHasTheBitsOfTheWhole) {
  const checkpoint::TransformerConfig config = test::small_config();
  std::mt19937 random(5);
  PlainLora lora;
  const std::vector<std::int64_t> shape{144, 24};  // more rows than are computed at a time
  lora.pairs.emplace("time_projection.1", test::draw_pair(144, 24, 5, 3.0F, random));
  for (float& value : lora.pairs.begin()->second.up.values) value *= 1.0F / 3;  // products that need rounding
  const LoraMerge merge({{.file = write(written(lora, kohya, with_prefix(""))), .strength = 0.3}},
                        Expert::single, config);
  const std::vector<float> weight = test::draw(shape, random).values;
  std::vector<float> whole = weight;
  merge.add("time_projection.1.weight", shape, 0, whole);
  for (const std::size_t step : {1U, 7U, 24U, 100U, 1000U, 3455U}) {
    std::vector<float> pieces = weight;
    for (std::size_t first = 0; first < pieces.size(); first += step) {
      const std::size_t count = std::min(step, pieces.size() - first);
      merge.add("time_projection.1.weight", shape, static_cast<std::int64_t>(first),
                std::span(pieces).subspan(first, count));
    }
    EXPECT_EQ(pieces, whole) << "in pieces of " << step;
  }
}

TEST_F(LoraSpellings, AConvolutionTakesAPairWithFlatFactors) {
  const checkpoint::TransformerConfig config = test::small_config();
  std::mt19937 random(5);
  PlainLora flat;
  flat.pairs.emplace("patch_embedding", test::draw_pair(24, 64, 3, 6.0F, random));
  PlainLora convolution = flat;
  convolution.pairs.at("patch_embedding").down.shape = {3, 16, 1, 2, 2};
  convolution.pairs.at("patch_embedding").up.shape = {24, 3, 1, 1, 1};
  EXPECT_EQ(merged_from(written(convolution, kohya, with_prefix("")), config),
            merged_from(written(flat, kohya, with_prefix("")), config));
}

TEST_F(LoraSpellings, AnAlphaOfZeroIsNone) {
  const checkpoint::TransformerConfig config = test::small_config();
  PlainLora lora = test::pairs_of(config);
  for (auto& [module, pair] : lora.pairs) pair.alpha.reset();
  const auto expected = merged_from(written(lora, kohya, with_prefix("")), config);
  for (auto& [module, pair] : lora.pairs) pair.alpha = 0;
  EXPECT_EQ(merged_from(written(lora, kohya, with_prefix("")), config), expected);
  for (auto& [module, pair] : lora.pairs) pair.alpha = static_cast<float>(pair.down.shape[0]);
  EXPECT_EQ(merged_from(written(lora, kohya, with_prefix("")), config), expected);
  for (auto& [module, pair] : lora.pairs) pair.alpha = 2 * static_cast<float>(pair.down.shape[0]);
  EXPECT_NE(merged_from(written(lora, kohya, with_prefix("")), config), expected);
}

TEST_F(LoraSpellings, KeysOfTheImageBranchAreLeftOut) {
  const checkpoint::TransformerConfig with_branch = test::small_config("i2v", 20);
  checkpoint::TransformerConfig without = with_branch;
  without.image_dim = 0;
  PlainLora lora = test::pairs_of(with_branch);
  test::add_differences(with_branch, lora);
  for (const Spelling& spelling : spellings()) {
    const LoraFile file(write(written(lora, spelling.endings, spelling.module)), without);
    EXPECT_EQ(file.changes(Expert::single, LoraExperts::both).size(),
              checkpoint::transformer_tensors(without).size());
    EXPECT_GT(file.skipped_keys(), 12 * 5);
    EXPECT_THAT(file.notes(), ElementsAre(HasSubstr("image branch"))) << spelling.name;
  }
}

TEST_F(LoraSpellings, ThePatchEmbeddingOfAnotherModelIsLeftOut) {
  PlainLora lora = test::pairs_of(test::small_config("i2v", 20));
  test::add_differences(test::small_config("i2v", 20), lora);
  const LoraFile file(write(written(lora, kohya, with_prefix(""))), test::small_config());
  EXPECT_FALSE(file.changes(Expert::single, LoraExperts::both).contains("patch_embedding.weight"));
  EXPECT_TRUE(file.changes(Expert::single, LoraExperts::both).contains("patch_embedding.bias"));
  EXPECT_THAT(file.notes(),
              ElementsAre(HasSubstr("is for 36 channels and the model has 16"), HasSubstr("image branch")));
}

TEST_F(LoraSpellings, NamesMaySayTheExpert) {
  const checkpoint::TransformerConfig config = test::small_config();
  NumbersByName tensors = written(test::pairs_of(config, 1), kohya, with_prefix("transformer."));
  tensors.merge(written(test::pairs_of(config, 2), kohya, with_prefix("transformer_2.")));
  const auto both = write(tensors, checkpoint::DType::f32, "both.safetensors");
  const auto high = write(written(test::pairs_of(config, 1), kohya, with_prefix("")), checkpoint::DType::f32,
                          "1.safetensors");
  const auto low = write(written(test::pairs_of(config, 2), kohya, with_prefix("")), checkpoint::DType::f32,
                         "2.safetensors");
  const auto base = merged({}, config);
  const auto of = [&](const std::filesystem::path& file, Expert expert, LoraExperts experts) {
    return merged({{.file = file, .experts = experts}}, config, expert);
  };
  EXPECT_EQ(of(both, Expert::high_noise, LoraExperts::both), of(high, Expert::high_noise, LoraExperts::both));
  EXPECT_EQ(of(both, Expert::low_noise, LoraExperts::both), of(low, Expert::low_noise, LoraExperts::both));
  EXPECT_EQ(of(both, Expert::low_noise, LoraExperts::high_noise), base);
  EXPECT_EQ(of(high, Expert::low_noise, LoraExperts::high_noise), base);
  EXPECT_EQ(of(high, Expert::low_noise, LoraExperts::both), of(high, Expert::high_noise, LoraExperts::both));
}

TEST_F(LoraSpellings, ChoicesBecomeFilesOfExperts) {
  const checkpoint::TransformerConfig config = test::small_config();
  const NumbersByName tensors = written(test::pairs_of(config), kohya, with_prefix("diffusion_model."));
  std::filesystem::create_directory(dir_ / "folder");
  for (const char* name : {"folder/high_noise_model.safetensors", "folder/low_noise_model.safetensors",
                           "wan2.2_i2v_A14b_high_noise_lora_rank64.safetensors", "style.safetensors"})
    write(tensors, checkpoint::DType::f32, name);
  const model::ModelKind& pair = model::model_kind("i2v-A14B");
  std::vector<std::string> notes;
  const std::vector<LoraChoice> choices{
      {.path = dir_ / "folder", .strength = 0.5},
      {.path = dir_ / "wan2.2_i2v_A14b_high_noise_lora_rank64.safetensors"},
      {.path = dir_ / "style.safetensors"},
      {.path = dir_ / "style.safetensors", .experts = LoraExperts::low_noise},
      {.path = dir_ / "folder", .experts = LoraExperts::high_noise}};
  const LoraSet loras = resolve_loras(choices, pair, notes);
  std::vector<std::string> text;
  for (const Lora& lora : loras) {
    text.push_back(
        fmt::format("{} {} {}", lora.file.filename().string(), lora.strength, to_string(lora.experts)));
  }
  EXPECT_THAT(
      text,
      ElementsAre("high_noise_model.safetensors 0.5 high", "low_noise_model.safetensors 0.5 low",
                  "wan2.2_i2v_A14b_high_noise_lora_rank64.safetensors 1 high", "style.safetensors 1 both",
                  "style.safetensors 1 low", "high_noise_model.safetensors 1 high"));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("its name says that it is for the high-noise expert")));
  const std::array experts{Expert::high_noise, Expert::low_noise};
  const auto summaries = inspect_loras(
      std::span(loras).first(1).empty() ? loras : LoraSet{loras[0], loras[3]}, config, experts, true);
  EXPECT_EQ(summaries[0].line,
            fmt::format("LoRA {}: lora_down/lora_up, diffusion_model., high-noise expert, strength 0.5: "
                        "{} + 0 tensors changed",
                        (dir_ / "folder/high_noise_model.safetensors").string(), 12 * 10 + 6));
  EXPECT_THAT(summaries[1].line, HasSubstr(", both experts, strength 1: 126 + 126 tensors changed"));
  const model::ModelKind& single = model::model_kind("t2v-1.3B");
  EXPECT_THAT(
      wan::test::message_of<UsageError>([&] { resolve_loras(std::span(choices).first(1), single, notes); }),
      HasSubstr("the folder holds LoRAs for two experts, and t2v-1.3B has one"));
  EXPECT_THAT(
      wan::test::message_of<UsageError>([&] { resolve_loras(std::span(choices).last(1), single, notes); }),
      HasSubstr("t2v-1.3B has one expert; leave '@high' out"));
}

TEST_F(LoraSpellings, ValuesThatAreNotFiniteAreFound) {
  const checkpoint::TransformerConfig config = test::small_config();
  NumbersByName tensors = written(test::pairs_of(config), kohya, with_prefix(""));
  tensors.at("blocks.3.ffn.2.lora_up.weight").values[5] = std::nanf("");
  const LoraFile file(write(tensors), config);
  EXPECT_THAT(wan::test::message_of<UsageError>([&] { file.check_values(); }),
              HasSubstr("tensor 'blocks.3.ffn.2.lora_up.weight' holds the value nan"));
  EXPECT_THAT(wan::test::message_of<UsageError>([&] { merged({{.file = file.path()}}, config); }),
              HasSubstr("holds the value nan"));
}

/// The bits of a product are those of fused multiply-adds in one order, on any processor.
TEST(LowRank, EachElementIsASumOfFusedOperations) {
  std::mt19937 random(9);
  std::normal_distribution<float> number;
  for (const std::int64_t rank : {1, 3, 64}) {
    const std::int64_t columns = 70;
    const std::int64_t rows = 21;
    std::vector<float> down(static_cast<std::size_t>(rank * columns));
    std::vector<float> up(static_cast<std::size_t>(rows * rank));
    for (float& value : down) value = number(random);
    for (float& value : up) value = number(random);
    const PackedDown packed(down, rank, columns);
    std::vector<float> out(static_cast<std::size_t>(rows * panel_columns));
    for (std::int64_t column = 0; column < columns; ++column) {
      if (column % panel_columns == 0) multiply_panel(up, rows, packed, column / panel_columns, out);
      for (std::int64_t row = 0; row < rows; ++row) {
        float sum = 0;
        for (std::int64_t k = 0; k < rank; ++k) {
          sum = std::fma(up[static_cast<std::size_t>(row * rank + k)],
                         down[static_cast<std::size_t>(k * columns + column)], sum);
        }
        ASSERT_EQ(out[static_cast<std::size_t>(row * panel_columns + column % panel_columns)], sum);
      }
    }
  }
}

}  // namespace
}  // namespace wan::lora
