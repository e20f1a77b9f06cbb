// Compares fused and in-place kernels with the compositions that they replace.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <ostream>
#include <utility>
#include <vector>

#include "kernels/head_division.h"
#include "kernels/linear.h"
#include "kernels/qkv.h"
#include "kernels/residual.h"
#include "wan/error.h"

namespace wan::kernels {
namespace {

constexpr double eps = 1e-6;

TEST(LayerNorm, RoundsTheNormBeforeTheModulation) {
  const at::Tensor x = at::randn({5, 24});
  const at::Tensor scale = at::randn({24});
  const at::Tensor shift = at::randn({24});
  const at::Tensor normed = at::layer_norm(x, {24}, {}, {}, eps).to(at::kBFloat16).to(at::kFloat);
  const at::Tensor rounded = layer_norm_modulate(x, scale, shift, eps, at::kFloat, /*round_norm=*/true);
  EXPECT_TRUE(at::allclose(rounded, normed * (1 + scale) + shift, 1e-6, 1e-6));
  EXPECT_GT((rounded - layer_norm_modulate(x, scale, shift, eps, at::kFloat)).abs().max().item<float>(),
            1e-4);
}

class FusedResidual : public testing::TestWithParam<at::ScalarType> {};

TEST_P(FusedResidual, IsAddGatedThenTheNorm) {
  const at::ScalarType type = GetParam();
  const at::Tensor x = at::randn({7, 40});
  const at::Tensor y = at::randn({7, 40}).to(type);
  const at::Tensor gate = at::randn({40});
  const at::Tensor weight = at::randn({40});
  const at::Tensor bias = at::randn({40});
  at::Tensor expected_x = x.clone();
  add_gated(expected_x, y, gate);

  at::Tensor modulated_x = x.clone();
  const at::Tensor modulated =
      add_gated_layer_norm_modulate(modulated_x, {.y = y, .gate = gate}, weight, bias, eps, type);
  EXPECT_TRUE(at::equal(modulated_x, expected_x));
  EXPECT_TRUE(at::equal(modulated, layer_norm_modulate(expected_x, weight, bias, eps, type)));

  const at::Tensor no_gate;
  at::Tensor affine_x = x.clone();
  const at::Tensor affine = add_gated_layer_norm_affine(affine_x, {.y = y, .gate = no_gate}, weight.to(type),
                                                        bias.to(type), eps, type);
  EXPECT_TRUE(at::allclose(affine_x, x + y.to(at::kFloat)));
  EXPECT_TRUE(at::equal(affine, layer_norm_affine(affine_x, weight.to(type), bias.to(type), eps, type)));
}

TEST_P(FusedResidual, WritesIntoRowsThatExist) {
  const at::ScalarType type = GetParam();
  const at::Tensor x = at::randn({7, 40});
  const at::Tensor y = at::randn({7, 40}).to(type);
  const at::Tensor gate = at::randn({40});
  const at::Tensor weight = at::randn({40});
  const at::Tensor bias = at::randn({40});
  at::Tensor whole_x = x.clone();
  const at::Tensor whole =
      add_gated_layer_norm_modulate(whole_x, {.y = y, .gate = gate}, weight, bias, eps, type);
  at::Tensor split_x = x.clone();
  const at::Tensor split = at::empty({7, 40}, at::TensorOptions(type));
  for (const auto& [first, count] : {std::pair{0, 3}, {3, 4}}) {
    at::Tensor rows = split_x.narrow(0, first, count);
    add_gated_layer_norm_modulate(rows, {.y = y.narrow(0, first, count), .gate = gate}, weight, bias, eps,
                                  split.narrow(0, first, count));
  }
  EXPECT_TRUE(at::equal(split_x, whole_x));
  EXPECT_TRUE(at::equal(split, whole));
}

TEST_P(FusedResidual, MarksARowThatIsNoLongerFinite) {
  const at::ScalarType type = GetParam();
  const at::Tensor no_gate;
  const at::Tensor ones = at::ones({40});
  for (const double value : {1.0, HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    const at::Tensor marks = at::zeros({4}, at::kInt);
    at::Tensor y = at::randn({7, 40});
    y[6][39] = value;
    y = y.to(type);
    at::Tensor x = at::randn({7, 40});
    at::Tensor affine_x = x.clone();
    const auto marking = [&](int mark) {
      return GatedResidual{.y = y, .gate = no_gate, .overflow = marks.narrow(0, mark, 1)};
    };
    add_gated_layer_norm_modulate(x, marking(1), ones, ones, eps, type);
    add_gated_layer_norm_affine(affine_x, marking(2), ones, ones, eps, type);
    const int marked = std::isfinite(value) ? 0 : 1;
    EXPECT_TRUE(at::equal(marks, at::tensor({0, marked, marked, 0}, at::kInt))) << value;
    const at::Tensor quiet = at::zeros({7, 40}, type);
    at::Tensor finite_x = at::zeros({7, 40});
    add_gated_layer_norm_modulate(finite_x, {.y = quiet, .gate = no_gate, .overflow = marks.narrow(0, 1, 1)},
                                  ones, ones, eps, type);
    EXPECT_EQ(marks[1].item<int>(), marked) << "a mark stays";
  }
}

INSTANTIATE_TEST_SUITE_P(Types, FusedResidual, testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

struct PackCase {
  std::int64_t tokens, parts;
  std::vector<std::int64_t> chunk_heads;  ///< of a part that has the most
  std::int64_t head_dim;
  at::ScalarType type;
  std::int64_t short_parts = 0;  ///< the last parts, which have one head less
  std::size_t short_chunk = 0;
  std::int64_t heads_per_part() const {
    return std::accumulate(chunk_heads.begin(), chunk_heads.end(), std::int64_t{0});
  }
  std::int64_t heads() const { return parts * heads_per_part() - short_parts; }
  std::int64_t dim() const { return heads() * head_dim; }
};
void PrintTo(const PackCase& c, std::ostream* out) {
  *out << c.tokens << " tokens, " << c.parts << " parts in chunks of";
  for (const std::int64_t heads : c.chunk_heads) *out << " " << heads;
  *out << " heads of " << c.head_dim << ", " << at::toString(c.type) << ", " << c.short_parts << " short";
}
class NormRotatePack : public testing::TestWithParam<PackCase> {
 protected:
  PackCase shape_ = GetParam();
  at::Tensor qkv_ = at::randn({shape_.tokens, 3 * shape_.dim()}).to(shape_.type);
  at::Tensor norm_q_ = at::randn({shape_.dim()}).to(shape_.type);
  at::Tensor norm_k_ = at::randn({shape_.dim()}).to(shape_.type);
  RotaryTable table_ =
      make_rotary_table({.frames = 2, .rows = 5, .columns = 3}, shape_.head_dim, 1, shape_.tokens);

  /// One per chunk, [parts, tokens, 3, heads of the chunk, head_dim]; NaN.
  std::vector<at::Tensor> poisoned_buffers() const {
    std::vector<at::Tensor> buffers;
    for (const std::int64_t heads : shape_.chunk_heads) {
      buffers.push_back(
          at::full({shape_.parts, shape_.tokens, 3, heads, shape_.head_dim}, NAN, qkv_.options()));
    }
    return buffers;
  }

  /// The expected q, k or v: [tokens, heads, head_dim].
  at::Tensor expected(std::int64_t third) const {
    const at::Tensor part = qkv_.narrow(1, third * shape_.dim(), shape_.dim());
    if (third == 2) return part.unflatten(1, {shape_.heads(), -1});
    const at::Tensor normed = rms_norm(part, third == 0 ? norm_q_ : norm_k_, eps);
    return apply_rotary(normed.unflatten(1, {shape_.heads(), -1}), table_);
  }
};

TEST_P(NormRotatePack, PutsEveryHeadWhereItsOwnerLooks) {
  const std::vector<at::Tensor> buffers = poisoned_buffers();
  norm_rotate_pack(qkv_, {.q = norm_q_, .k = norm_k_, .eps = eps}, table_, buffers, shape_.short_chunk);
  for (std::int64_t third = 0; third < 3; ++third) {
    const at::Tensor wanted = expected(third);  // [tokens, heads, head_dim]
    std::int64_t head = 0;
    for (std::int64_t part = 0; part < shape_.parts; ++part) {
      for (std::size_t chunk = 0; chunk < buffers.size(); ++chunk) {
        const at::Tensor places = buffers[chunk][part].select(1, third);  // [tokens, places, head_dim]
        const bool is_short = part >= shape_.parts - shape_.short_parts && chunk == shape_.short_chunk;
        const std::int64_t heads = places.size(1) - (is_short ? 1 : 0);
        const at::Tensor packed = places.narrow(1, 0, heads);  // [tokens, heads of the chunk, head_dim]
        EXPECT_TRUE(at::equal(packed, wanted.narrow(1, head, heads)))
            << heads << " heads from " << head << " of third " << third;
        if (is_short) {
          EXPECT_TRUE(places.select(1, heads).isnan().all().item<bool>()) << "an empty place";
        }
        head += heads;
      }
    }
    EXPECT_EQ(head, shape_.heads());
  }
}

using NormRotatePackInPlace = NormRotatePack;

TEST_P(NormRotatePackInPlace, LeavesTheValuesAlone) {
  const at::Tensor memory = qkv_.clone();
  const at::Tensor buffer = memory.view({1, shape_.tokens, 3, shape_.heads(), shape_.head_dim});
  norm_rotate_pack(memory, {.q = norm_q_, .k = norm_k_, .eps = eps}, table_, std::array{buffer});
  for (std::int64_t third = 0; third < 3; ++third) {
    EXPECT_TRUE(at::equal(buffer[0].select(1, third), expected(third))) << "third " << third;
  }
}

TEST_P(NormRotatePack, RefusesBuffersThatDoNotHoldTheRow) {
  const auto expect_refused = [&](at::IntArrayRef shape, at::ScalarType type) {
    std::vector<at::Tensor> buffers = poisoned_buffers();
    buffers.back() = at::empty(shape, type);
    EXPECT_THROW(
        norm_rotate_pack(qkv_, {.q = norm_q_, .k = norm_k_, .eps = eps}, table_, buffers, shape_.short_chunk),
        Error);
  };
  const std::int64_t last = shape_.chunk_heads.back();
  expect_refused({shape_.parts, shape_.tokens, 3, last + 1, shape_.head_dim}, shape_.type);
  expect_refused({shape_.parts, shape_.tokens + 1, 3, last, shape_.head_dim}, shape_.type);
  expect_refused({shape_.parts, shape_.tokens, 3, last, shape_.head_dim}, at::kDouble);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, NormRotatePack,
    testing::Values(PackCase{13, 1, {4}, 24, at::kFloat}, PackCase{7, 2, {1, 1}, 24, at::kFloat},
                    PackCase{11, 2, {3}, 8, at::kBFloat16}, PackCase{5, 3, {2, 2}, 16, at::kFloat},
                    PackCase{9, 2, {1, 3}, 16, at::kFloat}, PackCase{6, 3, {1, 4, 2}, 8, at::kBFloat16},
                    PackCase{6, 1, {2, 1}, 24, at::kFloat}, PackCase{5, 3, {2}, 24, at::kFloat, 2},
                    PackCase{4, 3, {1, 3, 1}, 8, at::kBFloat16, 1, 1},
                    PackCase{3, 7, {2, 4}, 8, at::kFloat, 2, 1},
                    PackCase{3, 4, {3, 1}, 8, at::kFloat, 3, 0}));

TEST(HeadDivision, GivesEachHeadThePlaceAfterTheOneBefore) {
  EXPECT_EQ((HeadDivision{.heads = 40, .parts = 3}.full_parts()), 1);  // 14 + 13 + 13
  for (int heads = 1; heads <= 40; ++heads) {
    for (int parts = 1; parts <= heads; ++parts) {
      const HeadDivision division{.heads = heads, .parts = parts};
      const auto most = static_cast<int>(division.per_part());
      const auto full = static_cast<int>(division.full_parts());
      const int empty = most / 2;
      int head = 0;
      for (int part = 0; part < parts; ++part) {
        for (int place = 0; place < most; ++place) {
          if (part >= full && place == empty) continue;
          const HeadPlace found = place_of_head(head++, most, full, empty);
          EXPECT_EQ(std::pair(found.part, found.place), std::pair(part, place)) << heads << " over " << parts;
        }
        EXPECT_EQ(division.heads_of(part), most - (part < full ? 0 : 1));
      }
      EXPECT_EQ(head, heads);
    }
  }
}

TEST(NormRotatePackUneven, NeedsAPlaceThatCanStayEmpty) {
  const at::Tensor qkv = at::randn({2, 3 * 5 * 8});  // 5 heads over 3 parts: 2 + 2 + 1
  const at::Tensor norm = at::ones({5 * 8});
  const RotaryTable table = make_rotary_table({.frames = 1, .rows = 1, .columns = 2}, 8, 0, 2);
  const std::vector<at::Tensor> buffers(2, at::empty({3, 2, 3, 1, 8}));
  for (const std::size_t chunk : {0, 1, 2})
    EXPECT_THROW(norm_rotate_pack(qkv, {.q = norm, .k = norm, .eps = eps}, table, buffers, chunk), Error);
}

INSTANTIATE_TEST_SUITE_P(Shapes, NormRotatePackInPlace,
                         testing::Values(PackCase{13, 1, {4}, 24, at::kFloat},
                                         PackCase{13, 1, {3}, 32, at::kBFloat16}));

TEST(Linear, IntoAGivenOutputIsTheSame) {
  const at::Tensor x = at::randn({6, 16});
  const at::Tensor weight = at::randn({24, 16});
  const at::Tensor bias = at::randn({24});
  at::Tensor out = at::full({6, 24}, NAN);
  kernels::linear_out(out, x, weight, bias);
  EXPECT_TRUE(at::allclose(out, kernels::linear(x, weight, bias), 1e-6, 1e-6));
  kernels::linear_out(out, x, weight);
  EXPECT_TRUE(at::allclose(out, kernels::linear(x, weight), 1e-6, 1e-6));
}

TEST(Linear, GeluOfTheProductAndInPlace) {
  const at::Tensor x = at::randn({6, 16});
  const at::Tensor weight = at::randn({24, 16});
  const at::Tensor bias = at::randn({24});
  EXPECT_TRUE(at::equal(linear_gelu(x, weight, bias), gelu_tanh(kernels::linear(x, weight, bias))));
  at::Tensor in_place = x.clone();
  gelu_tanh_(in_place);
  EXPECT_TRUE(at::equal(in_place, gelu_tanh(x)));
}

}  // namespace
}  // namespace wan::kernels
