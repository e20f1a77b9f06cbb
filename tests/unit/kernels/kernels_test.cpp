#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/check.h"
#include "kernels/attention.h"
#include "kernels/attention_backends.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"
#include "kernels/rotary.h"
#include "wan/error.h"

namespace wan::kernels {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::IsSupersetOf;
using ::testing::Not;

double error(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor wide = expected.to(at::kDouble);
  return ((actual.to(at::kDouble) - wide).norm() / wide.norm()).item<double>();
}

struct AttentionCase {
  std::int64_t queries, keys, heads, head_dim;
};
class Attention : public testing::TestWithParam<AttentionCase> {};

TEST_P(Attention, MatchesTheReference) {
  const AttentionCase& c = GetParam();
  const at::Tensor q = at::randn({c.queries, c.heads, c.head_dim});
  const at::Tensor k = at::randn({c.keys, c.heads, c.head_dim});
  const at::Tensor v = at::randn({c.keys, c.heads, c.head_dim});
  const at::Tensor exact = attention_reference(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble));
  EXPECT_LT(error(attention(q, k, v), exact), 1e-6);
  EXPECT_LT(error(attention_reference(q, k, v), exact), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         testing::Values(AttentionCase{1, 1, 1, 8}, AttentionCase{70, 70, 4, 24},
                                         AttentionCase{33, 512, 3, 24}, AttentionCase{130, 65, 2, 128}));

TEST(Attention, TakesStridedInputs) {
  const at::Tensor qkv = at::randn({40, 3, 2, 16});  // [tokens, 3, heads, head_dim]
  const at::Tensor strided = attention(qkv.select(1, 0), qkv.select(1, 1), qkv.select(1, 2));
  const at::Tensor packed =
      attention(qkv.select(1, 0).contiguous(), qkv.select(1, 1).contiguous(), qkv.select(1, 2).contiguous());
  EXPECT_LT(error(strided, packed), 1e-6);
}

TEST(Attention, BackendsByNameAndByWhatTheyTake) {
  for (const AttentionBackend backend : attention_backends()) {
    EXPECT_EQ(parse_attention_backend(to_string(backend)), backend);
  }
  EXPECT_EQ(parse_attention_backend("automatic"), AttentionBackend::automatic);
  EXPECT_EQ(to_string(AttentionBackend::automatic), "automatic");
  EXPECT_THROW(parse_attention_backend("cuDNN"), UsageError);
  EXPECT_EQ(to_string(attention_backend_for(at::kCPU, at::kFloat, 24, 4096)), "math");
  const AttentionBackend cudnn = parse_attention_backend("cudnn");
  const AttentionBackend math = parse_attention_backend("math");
  const AttentionBackend reference = parse_attention_backend("reference");
  EXPECT_THAT(available_attention_backends(at::kCPU, at::kBFloat16, 128),
              AllOf(IsSupersetOf({math, reference}), Not(Contains(cudnn))));
  // Heads that are not a multiple of 16 bytes: no fast kernel of a GPU takes them.
  EXPECT_EQ(attention_backend_for(at::kCUDA, at::kBFloat16, 12, 4096), reference);
  EXPECT_EQ(attention_backend_for(at::kCUDA, at::kFloat, 12, 4096), math);
  EXPECT_EQ(attention_backend_for(at::kCUDA, at::kFloat, 6, 4096), reference);
  EXPECT_THAT(available_attention_backends(at::kCUDA, at::kBFloat16, 12),
              AllOf(Contains(reference), Not(Contains(math)), Not(Contains(cudnn))));
  EXPECT_NO_THROW(require_attention_backend(AttentionBackend::automatic, at::kCUDA, at::kBFloat16, 12));
  EXPECT_THROW(require_attention_backend(math, at::kCUDA, at::kBFloat16, 12), UsageError);
  const at::Tensor q = at::randn({3, 1, 8});
  EXPECT_LT(error(attention(q, q, q, reference), attention(q, q, q, math)), 1e-6);
  try {
    attention(q, q, q, cudnn);
    FAIL() << "cuDNN took CPU tensors";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("'cudnn' cannot take Float with head_dim 8 on cpu"));
    EXPECT_THAT(error.what(), testing::ContainsRegex("available: .*math.*, reference"));
  }
}

/// Each row of the table is complete, and its name and description reach the user.
TEST(Attention, TableOfBackendsIsTheOnlySource) {
  const std::string help = describe_attention_backends();
  std::string unknown;
  try {
    parse_attention_backend("cuDNN");
  } catch (const UsageError& error) {
    unknown = error.what();
  }
  EXPECT_THAT(help, testing::StartsWith("automatic, "));
  EXPECT_THAT(unknown, testing::HasSubstr("'cuDNN' is not known; one of automatic, "));
  for (const AttentionRow& row : attention_rows()) {
    EXPECT_NE(row.takes, nullptr) << row.name;
    EXPECT_NE(row.attend == nullptr, row.attend_into == nullptr) << row.name << " needs exactly one kernel";
    EXPECT_THAT(help, testing::HasSubstr(fmt::format("{} ({})", row.name, row.description)));
    EXPECT_THAT(unknown, testing::HasSubstr(std::string(row.name)));
  }
  EXPECT_TRUE(attention_rows().back().takes(at::kCUDA, at::kDouble, 1)) << "the last row takes everything";
  EXPECT_EQ(attention_rows().back().automatic_from_keys, 0);
}

/// Every backend that this machine has, by both ways in, against fp64.
TEST(Attention, EveryAvailableBackendMatchesFp64) {
  const at::Tensor q = at::randn({33, 3, 24});
  const at::Tensor k = at::randn({70, 3, 24});
  const at::Tensor v = at::randn({70, 3, 24});
  const at::Tensor exact = attention_reference(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble));
  for (const AttentionBackend backend : available_attention_backends(at::kCPU, at::kFloat, 24)) {
    at::Tensor out = at::empty_like(q);
    attention_out(out, q, k, v, backend);
    EXPECT_LT(error(out, exact), 1e-6) << to_string(backend);
    EXPECT_LT(error(attention(q, k, v, backend), exact), 1e-6) << to_string(backend);
  }
}

/// The last key may count several times: a text's rows of padding are one row here.
TEST(Attention, TheLastKeyCountsSeveralTimes) {
  const at::Tensor q = at::randn({33, 3, 24});
  const at::Tensor k = at::randn({17, 3, 24});
  const at::Tensor v = at::randn({17, 3, 24});
  const auto written_out = [](const at::Tensor& rows) {
    return at::cat({rows, rows.narrow(0, 16, 1).expand({40, -1, -1})}).to(at::kDouble);  // [57, 3, 24]
  };
  const at::Tensor exact = attention_reference(q.to(at::kDouble), written_out(k), written_out(v));
  for (const AttentionBackend backend : available_attention_backends(at::kCPU, at::kFloat, 24)) {
    EXPECT_LT(error(attention(q, k, v, backend, 41), exact), 1e-6) << to_string(backend);
    EXPECT_GT(error(attention(q, k, v, backend), exact), 1e-2) << to_string(backend);
  }
}

TEST(Normalization, LayerNormModulateByItsFormula) {
  const at::Tensor x = at::randn({7, 48}) * 3 + 1;
  const at::Tensor scale = at::randn({48});
  const at::Tensor shift = at::randn({48});
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor centered = wide - wide.mean(1, true);
  const at::Tensor normed = centered / at::sqrt(centered.square().mean(1, true) + 1e-6);
  EXPECT_LT(error(layer_norm_modulate(x, scale, shift, 1e-6, at::kFloat), normed * (1 + scale) + shift),
            1e-6);
  EXPECT_LT(error(layer_norm_affine(x, scale, shift, 1e-6, at::kFloat), normed * scale + shift), 1e-6);
  EXPECT_EQ(layer_norm_modulate(x, scale, shift, 1e-6, at::kBFloat16).scalar_type(), at::kBFloat16);
}

TEST(Normalization, RmsNormSpansTheWholeRow) {
  const at::Tensor x = at::randn({5, 24});
  const at::Tensor weight = at::randn({24});
  const at::Tensor wide = x.to(at::kDouble);
  EXPECT_LT(error(rms_norm(x, weight, 1e-6), wide / at::sqrt(wide.square().mean(1, true) + 1e-6) * weight),
            1e-6);
}

TEST(Normalization, AddGatedWithAndWithoutGate) {
  const at::Tensor x = at::randn({5, 8});
  const at::Tensor y = at::randn({5, 8});
  const at::Tensor gate = at::randn({8});
  at::Tensor gated = x.clone();
  add_gated(gated, y, gate);
  EXPECT_LT(error(gated, x + y * gate), 1e-6);
  at::Tensor plain = x.clone();
  add_gated(plain, y, {});
  EXPECT_LT(error(plain, x + y), 1e-6);
}

TEST(Rotary, TurnsAdjacentPairsByTheGridPosition) {
  const TokenGrid grid{.frames = 2, .rows = 3, .columns = 4};
  const std::int64_t head_dim = 24;  // 12 pairs: 4 for the frame, 4 for the row, 4 for the column
  const RotaryTable table = make_rotary_table(grid, head_dim, 0, grid.tokens());
  const std::int64_t token = (1 * 3 + 2) * 4 + 3;  // frame 1, row 2, column 3
  for (int j = 0; j < 4; ++j) {
    const double speed = std::pow(10000.0, -2.0 * j / 8.0);
    EXPECT_NEAR(table.cos[token][j].item<float>(), std::cos(1 * speed), 1e-7);
    EXPECT_NEAR(table.sin[token][4 + j].item<float>(), std::sin(2 * speed), 1e-7);
    EXPECT_NEAR(table.sin[token][8 + j].item<float>(), std::sin(3 * speed), 1e-7);
  }
  const at::Tensor x = at::randn({grid.tokens(), 2, head_dim});
  const at::Tensor turned = apply_rotary(x, table);
  const auto a = x[token][1][2].item<float>();
  const auto b = x[token][1][3].item<float>();
  const double angle = std::pow(10000.0, -2.0 * 1 / 8.0);  // pair 1 of the frame axis
  EXPECT_NEAR(turned[token][1][2].item<float>(), a * std::cos(angle) - b * std::sin(angle), 1e-5);
  EXPECT_NEAR(turned[token][1][3].item<float>(), a * std::sin(angle) + b * std::cos(angle), 1e-5);
}

TEST(Rotary, HeadSize128SplitsInto22And21And21Pairs) {
  const RotaryTable table =
      make_rotary_table({.frames = 2, .rows = 2, .columns = 2}, 128, 7, 1);  // the token at (1, 1, 1)
  EXPECT_NEAR(table.cos[0][21].item<float>(), std::cos(std::pow(10000.0, -42.0 / 44.0)), 1e-7);
  EXPECT_NEAR(table.cos[0][22].item<float>(), std::cos(1.0), 1e-7);
  EXPECT_NEAR(table.cos[0][43].item<float>(), std::cos(1.0), 1e-7);
}

TEST(Rotary, PaddingIsNotTurnedAndSlicesAgree) {
  const TokenGrid grid{.frames = 1, .rows = 2, .columns = 3};
  const RotaryTable whole = make_rotary_table(grid, 24, 0, 8);
  const RotaryTable tail = make_rotary_table(grid, 24, 4, 4);
  EXPECT_TRUE(at::equal(whole.cos.narrow(0, 4, 4), tail.cos));
  EXPECT_TRUE(at::equal(whole.sin.narrow(0, 4, 4), tail.sin));
  const at::Tensor x = at::randn({4, 1, 24});
  EXPECT_TRUE(at::equal(apply_rotary(x, tail).narrow(0, 2, 2), x.narrow(0, 2, 2)));
}

TEST(Linear, RoundsItsInputToTheWeightsType) {
  const at::Tensor x = at::randn({3, 8});
  const at::Tensor weight = at::randn({5, 8}).to(at::kBFloat16);
  EXPECT_EQ(kernels::linear(x, weight).scalar_type(), at::kBFloat16);
  const at::Tensor wide = at::randn({4});
  const double inner = 0.7978845608028654;
  const at::Tensor expected = wide * 0.5 * (1 + at::tanh((wide + wide.pow(3) * 0.044715) * inner));
  EXPECT_TRUE(at::allclose(gelu_tanh(wide), expected, 1e-5, 1e-6));
}

}  // namespace
}  // namespace wan::kernels
