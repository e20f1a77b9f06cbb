#include <array>
#include <string_view>
#include <utility>

#include "checkpoint/model_config.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

using Shape = std::vector<std::int64_t>;

/// Places the parameters of one unit one after the other.
class UnitBuilder {
 public:
  /// `prefix` precedes every name: "blocks.3." or empty.
  UnitBuilder(std::string unit, std::string prefix)
      : unit_{std::move(unit), {}}, prefix_(std::move(prefix)) {}

  UnitBuilder& add(std::string_view name, Shape shape) {
    unit_.parameters.push_back(
        {.name = prefix_ + std::string(name), .shape = std::move(shape), .offset = end_});
    end_ += unit_.parameters.back().elements();
    return *this;
  }

  /// A linear layer's weight [out, in] and bias [out].
  UnitBuilder& add_linear(const std::string& name, std::int64_t out, std::int64_t in) {
    return add(name + ".weight", {out, in}).add(name + ".bias", {out});
  }

  /// A norm's weight and bias [dim].
  UnitBuilder& add_norm(const std::string& name, std::int64_t dim) {
    return add(name + ".weight", {dim}).add(name + ".bias", {dim});
  }

  UnitLayout take() { return std::move(unit_); }

 private:
  UnitLayout unit_;
  std::string prefix_;
  std::int64_t end_ = 0;
};

UnitLayout stem_unit(const TransformerConfig& config) {
  const std::int64_t dim = config.dim;
  UnitBuilder unit("stem", "");
  unit.add("patch_embedding.weight", {dim, config.in_dim, 1, 2, 2})
      .add("patch_embedding.bias", {dim})
      .add_linear("text_embedding.0", dim, config.text_dim)
      .add_linear("text_embedding.2", dim, dim)
      .add_linear("time_embedding.0", dim, config.freq_dim)
      .add_linear("time_embedding.2", dim, dim)
      .add_linear("time_projection.1", 6 * dim, dim);
  if (config.image_dim > 0) {
    unit.add_norm("img_emb.proj.0", config.image_dim)
        .add_linear("img_emb.proj.1", config.image_dim, config.image_dim)
        .add_linear("img_emb.proj.3", dim, config.image_dim)
        .add_norm("img_emb.proj.4", dim);
  }
  return unit.take();
}

UnitLayout block_unit(const TransformerConfig& config, std::int64_t layer) {
  const std::int64_t dim = config.dim;
  const std::string name = fmt::format("blocks.{}", layer);
  UnitBuilder unit(name, name + ".");
  unit.add("self_attn.q.weight", {dim, dim})
      .add("self_attn.k.weight", {dim, dim})
      .add("self_attn.v.weight", {dim, dim})
      .add("self_attn.q.bias", {dim})
      .add("self_attn.k.bias", {dim})
      .add("self_attn.v.bias", {dim})
      .add_linear("self_attn.o", dim, dim)
      .add("self_attn.norm_q.weight", {dim})
      .add("self_attn.norm_k.weight", {dim})
      .add_linear("cross_attn.q", dim, dim)
      .add("cross_attn.k.weight", {dim, dim})
      .add("cross_attn.v.weight", {dim, dim})
      .add("cross_attn.k.bias", {dim})
      .add("cross_attn.v.bias", {dim})
      .add_linear("cross_attn.o", dim, dim)
      .add("cross_attn.norm_q.weight", {dim})
      .add("cross_attn.norm_k.weight", {dim})
      .add("norm3.weight", {dim})
      .add("norm3.bias", {dim})
      .add_linear("ffn.0", config.ffn_dim, dim)
      .add_linear("ffn.2", dim, config.ffn_dim)
      .add("modulation", {1, 6, dim});
  if (config.image_dim > 0) {
    unit.add("cross_attn.k_img.weight", {dim, dim})
        .add("cross_attn.v_img.weight", {dim, dim})
        .add("cross_attn.k_img.bias", {dim})
        .add("cross_attn.v_img.bias", {dim})
        .add("cross_attn.norm_k_img.weight", {dim});
  }
  return unit.take();
}

UnitLayout head_unit(const TransformerConfig& config) {
  return UnitBuilder("head", "")
      .add_linear("head.head", 4 * config.out_dim, config.dim)  // 4: the pixels of a 1x2x2 patch
      .add("head.modulation", {1, 2, config.dim})
      .take();
}

UnitLayout text_block_unit(const TextEncoderConfig& config, std::int64_t layer) {
  const std::string name = fmt::format("blocks.{}", layer);
  return UnitBuilder(name, name + ".")
      .add("norm1.weight", {config.dim})
      .add("attn.q.weight", {config.attention_dim, config.dim})
      .add("attn.k.weight", {config.attention_dim, config.dim})
      .add("attn.v.weight", {config.attention_dim, config.dim})
      .add("attn.o.weight", {config.dim, config.attention_dim})
      .add("norm2.weight", {config.dim})
      .add("ffn.gate.0.weight", {config.ffn_dim, config.dim})
      .add("ffn.fc1.weight", {config.ffn_dim, config.dim})
      .add("ffn.fc2.weight", {config.dim, config.ffn_dim})
      .add("pos_embedding.embedding.weight", {config.num_buckets, config.num_heads})
      .take();
}

UnitLayout image_stem_unit(const ImageEncoderConfig& config) {
  return UnitBuilder("stem", "visual.")
      .add("patch_embedding.weight", {config.dim, 3, config.patch_size, config.patch_size})
      .add("cls_embedding", {1, 1, config.dim})
      .add("pos_embedding", {1, config.tokens(), config.dim})
      .add_norm("pre_norm", config.dim)
      .take();
}

UnitLayout image_block_unit(const ImageEncoderConfig& config, std::int64_t layer) {
  const std::int64_t dim = config.dim;
  return UnitBuilder(fmt::format("blocks.{}", layer), fmt::format("visual.transformer.{}.", layer))
      .add_norm("norm1", dim)
      .add_linear("attn.to_qkv", 3 * dim, dim)
      .add_linear("attn.proj", dim, dim)
      .add_norm("norm2", dim)
      .add_linear("mlp.0", config.ffn_dim, dim)
      .add_linear("mlp.2", dim, config.ffn_dim)
      .take();
}

void append_tensors(const std::vector<UnitLayout>& units, std::vector<ExpectedTensor>& tensors) {
  for (const UnitLayout& unit : units) {
    for (const Parameter& parameter : unit.parameters) tensors.push_back({parameter.name, parameter.shape});
  }
}

}  // namespace

std::vector<UnitLayout> transformer_units(const TransformerConfig& config) {
  std::vector<UnitLayout> units{stem_unit(config)};
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) units.push_back(block_unit(config, layer));
  units.push_back(head_unit(config));
  return units;
}

std::vector<UnitLayout> text_encoder_units(const TextEncoderConfig& config) {
  std::vector<UnitLayout> units;
  units.reserve(static_cast<std::size_t>(config.num_layers) + 1);
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    units.push_back(text_block_unit(config, layer));
  }
  units.push_back(UnitBuilder("final", "").add("norm.weight", {config.dim}).take());
  return units;
}

std::vector<UnitLayout> image_encoder_units(const ImageEncoderConfig& config) {
  std::vector<UnitLayout> units{image_stem_unit(config)};
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer)
    units.push_back(image_block_unit(config, layer));
  return units;
}

std::vector<ExpectedTensor> transformer_tensors(const TransformerConfig& config) {
  std::vector<ExpectedTensor> tensors;
  append_tensors(transformer_units(config), tensors);
  return tensors;
}

std::vector<ExpectedTensor> text_encoder_tensors(const TextEncoderConfig& config) {
  std::vector<ExpectedTensor> tensors{{"token_embedding.weight", {config.vocabulary, config.dim}}};
  append_tensors(text_encoder_units(config), tensors);
  return tensors;
}

std::vector<ExpectedTensor> image_encoder_tensors(const ImageEncoderConfig& config) {
  std::vector<ExpectedTensor> tensors;
  append_tensors(image_encoder_units(config), tensors);
  return tensors;
}

}  // namespace wan::checkpoint
