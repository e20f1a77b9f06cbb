// A rank whose memory ran out walks its network as an outline: the collectives that follow, and no others.
#include "parallel/outline.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

#include "checkpoint/model_config.h"
#include "dit/transformer.h"
#include "parallel/unit_weights.h"
#include "text/umt5_encoder.h"

namespace wan::parallel {
namespace {

/// The collectives asked of the ports, in order: "begin 0", "qkv 1", "result 1".
using Calls = std::vector<std::string>;

std::uint64_t count_of(std::span<const std::string> calls, const std::vector<std::string>& kinds) {
  return static_cast<std::uint64_t>(std::ranges::count_if(calls, [&](const std::string& call) {
    return std::ranges::any_of(kinds, [&](const std::string& kind) { return call.starts_with(kind); });
  }));
}

/// Random weights; each begin() counts as a gather.
class RecordedWeights final : public checkpoint::WeightSource {
 public:
  RecordedWeights(const std::vector<checkpoint::UnitLayout>& units, at::ScalarType type, Calls& calls)
      : units_(units), type_(type), calls_(calls) {}
  void begin(int unit) override {
    calls_.push_back(fmt::format("begin {}", unit));
    const checkpoint::UnitLayout& layout = units_.at(static_cast<std::size_t>(unit));
    whole_[unit] = parameter_views(layout, (at::randn({layout.elements()}) * 0.1).to(type_));
  }
  std::span<const at::Tensor> weights(int unit) override { return whole_.at(unit); }
  void end(int unit) override { whole_.erase(unit); }
  void settle() override { whole_.clear(); }

 private:
  const std::vector<checkpoint::UnitLayout>& units_;
  at::ScalarType type_;
  Calls& calls_;
  std::map<int, std::vector<at::Tensor>> whole_;
};

/// One of two ranks, with two chunks of heads; what the other would send is zeros.
class RecordedExchange final : public dit::SequenceExchange {
 public:
  RecordedExchange(at::ScalarType type, Calls& calls) : type_(type), calls_(calls) {}
  const dit::SequenceShape& shape() const override { return shape_; }
  at::Tensor qkv_buffer(int chunk) override {
    return at::zeros({shape_.parts, shape_.local_tokens, 3, shape_.places_of(chunk), shape_.head_dim}, type_);
  }
  void launch_qkv(int chunk) override { calls_.push_back(fmt::format("qkv {}", chunk)); }
  at::Tensor wait_qkv(int chunk) override { return qkv_buffer(chunk).flatten(0, 1); }
  at::Tensor attention_buffer(int chunk) override {
    return at::zeros({shape_.padded_tokens(), shape_.places_of(chunk), shape_.head_dim}, type_);
  }
  void launch_attention(int chunk) override { calls_.push_back(fmt::format("result {}", chunk)); }
  at::Tensor wait_attention(int chunk) override {
    return at::zeros({shape_.parts, shape_.local_tokens, shape_.places_of(chunk), shape_.head_dim}, type_);
  }

 private:
  dit::SequenceShape shape_{.parts = 2,
                            .part = 0,
                            .tokens = 7,
                            .local_tokens = 4,
                            .heads = 6,
                            .head_dim = 12,
                            .chunk_heads = {1, 2}};
  at::ScalarType type_;
  Calls& calls_;
};

/// A forward of a small transformer for two texts, real or as an outline.
class TransformerOutline : public testing::TestWithParam<at::ScalarType> {
 protected:
  void forward(checkpoint::WeightSource& weights, dit::SequenceExchange& exchange, at::Device device) const {
    const at::TensorOptions options = at::TensorOptions(device).dtype(GetParam());
    const at::TensorOptions fp32 = options.dtype(at::kFloat);
    const std::int64_t tokens = exchange.shape().local_tokens;
    const kernels::RotaryTable rotary{.cos = at::zeros({tokens, 6}, fp32),
                                      .sin = at::zeros({tokens, 6}, fp32)};
    std::vector<dit::TextCondition> texts(2, dit::TextCondition(at::zeros({3, config_.text_dim}, options)));
    const std::array<dit::TextCondition*, 2> both{&texts[0], &texts[1]};
    PartClock clock;
    dit::Transformer(config_, weights)
        .forward(at::zeros({tokens, config_.in_dim * 4}, fp32), 500, both,
                 {.exchange = exchange, .rotary = rotary, .clock = clock, .probe = nullptr});
  }

  const checkpoint::TransformerConfig config_{.model_type = "t2v",
                                              .dim = 72,
                                              .ffn_dim = 96,
                                              .freq_dim = 16,
                                              .in_dim = 16,
                                              .out_dim = 16,
                                              .text_dim = 32,
                                              .text_len = 8,
                                              .num_heads = 6,
                                              .num_layers = 2,
                                              .eps = 1e-6};
  const std::vector<checkpoint::UnitLayout> units_ = checkpoint::transformer_units(config_);
};

TEST_P(TransformerOutline, MakesExactlyTheCollectivesThatFollow) {
  Calls whole;
  RecordedWeights weights(units_, GetParam(), whole);
  RecordedExchange exchange(GetParam(), whole);
  forward(weights, exchange, at::kCPU);
  // Stem, two blocks and head; two chunks there and back, for one stream and then for two.
  ASSERT_EQ(count_of(whole, {"begin"}), 4U);
  ASSERT_EQ(count_of(whole, {"qkv", "result"}), 4U * (1 + 2));
  for (std::size_t done = 0; done <= whole.size(); ++done) {
    SCOPED_TRACE(fmt::format("broken off after {} of {}", done, whole.size()));
    const std::span<const std::string> before(whole.data(), done);
    Calls owed;
    RecordedWeights real_weights(units_, GetParam(), owed);
    RecordedExchange real_exchange(GetParam(), owed);
    OutlineWeights outline_weights(real_weights, units_, GetParam(), count_of(before, {"begin"}));
    OutlineExchange outline_exchange(real_exchange, GetParam(), count_of(before, {"qkv", "result"}));
    forward(outline_weights, outline_exchange, at::kMeta);
    EXPECT_EQ(owed, Calls(whole.begin() + static_cast<std::ptrdiff_t>(done), whole.end()));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, TransformerOutline, testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

TEST(TextEncoderOutline, MakesExactlyTheGathersThatFollow) {
  const checkpoint::TextEncoderConfig config{.vocabulary = 50,
                                             .dim = 16,
                                             .attention_dim = 24,
                                             .ffn_dim = 32,
                                             .num_heads = 2,
                                             .num_layers = 3,
                                             .num_buckets = 8};
  const std::vector<checkpoint::UnitLayout> units = checkpoint::text_encoder_units(config);
  const auto encode = [&](checkpoint::WeightSource& weights, at::Device device) {
    const std::array<std::int64_t, 5> ids{4, 8, 15, 16, 1};
    return text::Umt5Encoder(config, weights,
                             [&](std::span<const std::int64_t> of) {
                               return at::zeros({static_cast<std::int64_t>(of.size()), config.dim}, device);
                             })
        .encode(ids);
  };
  Calls whole;
  RecordedWeights weights(units, at::kFloat, whole);
  encode(weights, at::kCPU);
  ASSERT_EQ(whole, (Calls{"begin 0", "begin 1", "begin 2", "begin 3"}));
  for (std::size_t done = 0; done <= whole.size(); ++done) {
    Calls owed;
    RecordedWeights real(units, at::kFloat, owed);
    OutlineWeights outline(real, units, at::kFloat, done);
    EXPECT_TRUE(encode(outline, at::kMeta).is_meta());
    EXPECT_EQ(owed, Calls(whole.begin() + static_cast<std::ptrdiff_t>(done), whole.end()));
  }
}

}  // namespace
}  // namespace wan::parallel
