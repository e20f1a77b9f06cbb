#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "checkpoint/model_config.h"

namespace wan::checkpoint {
namespace {

const TransformerConfig i2v_a14b{.model_type = "i2v",
                                 .dim = 5120,
                                 .ffn_dim = 13824,
                                 .freq_dim = 256,
                                 .in_dim = 36,
                                 .out_dim = 16,
                                 .text_dim = 4096,
                                 .text_len = 512,
                                 .num_heads = 40,
                                 .num_layers = 40,
                                 .eps = 1e-6};
const TextEncoderConfig umt5_xxl{.vocabulary = 256384,
                                 .dim = 4096,
                                 .attention_dim = 4096,
                                 .ffn_dim = 10240,
                                 .num_heads = 64,
                                 .num_layers = 24,
                                 .num_buckets = 32};

std::int64_t total_elements(const std::vector<UnitLayout>& units) {
  std::int64_t total = 0;
  for (const UnitLayout& unit : units) total += unit.elements();
  return total;
}

const Parameter& find(const UnitLayout& unit, const std::string& name) {
  const auto found = std::ranges::find_if(unit.parameters,
                                          [&](const Parameter& parameter) { return parameter.name == name; });
  EXPECT_NE(found, unit.parameters.end()) << name;
  return *found;
}

void expect_no_gaps(const std::vector<UnitLayout>& units) {
  for (const UnitLayout& unit : units) {
    std::int64_t end = 0;
    for (const Parameter& parameter : unit.parameters) {
      EXPECT_EQ(parameter.offset, end) << parameter.name;
      end += parameter.elements();
    }
    EXPECT_EQ(unit.elements(), end);
  }
}

// The counts are those of the official checkpoints (model.md 1.3), (model.md 1.4).
TEST(UnitLayout, TransformerHasTheOfficialCounts) {
  const auto units = transformer_units(i2v_a14b);
  ASSERT_EQ(units.size(), 42U);
  EXPECT_EQ(units.front().name, "stem");
  EXPECT_EQ(units[1].name, "blocks.0");
  EXPECT_EQ(units[40].name, "blocks.39");
  EXPECT_EQ(units.back().name, "head");
  EXPECT_EQ(transformer_tensors(i2v_a14b).size(), 1095U);
  EXPECT_EQ(total_elements(units), 14'288'901'184);
  EXPECT_EQ(units[7].elements(), 351'394'304);
  EXPECT_EQ(units.front().elements() + units.back().elements(), 233'129'024);
  TransformerConfig t2v = i2v_a14b;
  t2v.in_dim = 16;
  EXPECT_EQ(total_elements(transformer_units(t2v)), 14'288'491'584);
  expect_no_gaps(units);
}

TEST(UnitLayout, ProjectionsThatAreMultipliedTogetherAreAdjacent) {
  const UnitLayout block = transformer_units(i2v_a14b).at(3);
  const std::int64_t matrix = i2v_a14b.dim * i2v_a14b.dim;
  EXPECT_EQ(find(block, "blocks.2.self_attn.q.weight").offset, 0);
  EXPECT_EQ(find(block, "blocks.2.self_attn.k.weight").offset, matrix);
  EXPECT_EQ(find(block, "blocks.2.self_attn.v.weight").offset, 2 * matrix);
  EXPECT_EQ(find(block, "blocks.2.self_attn.q.bias").offset, 3 * matrix);
  EXPECT_EQ(find(block, "blocks.2.self_attn.v.bias").offset, 3 * matrix + 2 * i2v_a14b.dim);
  EXPECT_EQ(
      find(block, "blocks.2.cross_attn.v.weight").offset - find(block, "blocks.2.cross_attn.k.weight").offset,
      matrix);
  EXPECT_EQ(block.parameters.back().name, "blocks.2.modulation");
  EXPECT_EQ(block.parameters.size(), 27U);
}

TEST(UnitLayout, TextEncoderHasTheOfficialCounts) {
  const auto units = text_encoder_units(umt5_xxl);
  ASSERT_EQ(units.size(), 25U);
  EXPECT_EQ(units.front().name, "blocks.0");
  EXPECT_EQ(units.back().name, "final");
  EXPECT_EQ(text_encoder_tensors(umt5_xxl).size(), 242U);
  EXPECT_EQ(total_elements(units) + umt5_xxl.vocabulary * umt5_xxl.dim, 5'680'910'336);
  expect_no_gaps(units);
}

}  // namespace
}  // namespace wan::checkpoint
