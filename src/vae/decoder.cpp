#include "vae/decoder.h"

#include <string>
#include <utility>

#include "vae/level.h"

namespace wan::vae {

Decoder::Decoder(const WeightScope& weights, const VaeConfig& config)
    : rounded_(weights.arithmetic().rounded),
      conv1_(weights.unrounded() / "conv1", config.latent_channels(), config.decoder_level(3), {3, 3, 3}),
      has_shortcuts_(config.has_level_shortcuts()),
      middle_first_(weights / "middle" / "0", config.decoder_level(3), config.decoder_level(3)),
      attention_(weights / "middle" / "1", config.decoder_level(3)),
      middle_last_(weights / "middle" / "2", config.decoder_level(3), config.decoder_level(3)),
      head_(weights / "head", config.decoder_level(0), config.patch_channels()) {
  LayerNames names(weights, "upsamples", config);
  std::int64_t channels = config.decoder_level(VaeConfig::levels - 1);
  for (int level = VaeConfig::levels - 1; level >= 0; --level) {
    Level& made = levels_.emplace_back();
    names.begin_level();
    for (int block = 0; block < VaeConfig::decoder_blocks; ++block) {
      made.blocks.emplace_back(names.next(), channels, config.decoder_level(level));
      channels = config.decoder_level(level);
    }
    if (level > 0) {
      const std::int64_t out = config.family == Family::wan21 ? channels / 2 : channels;
      made.up.emplace(names.next(), channels, out, VaeConfig::temporal(level - 1));
      channels = out;
    }
  }
}

DecoderState Decoder::start() const {
  DecoderState state;
  for (const Level& level : levels_) state.levels.emplace_back().blocks.resize(level.blocks.size());
  return state;
}

at::Tensor Decoder::run_level(int level, at::Tensor in, DecoderState& state, RowExchange& rows) const {
  const Level& layers = levels_.at(level);
  DecoderState::Level& progress = state.levels.at(level);
  const at::Tensor kept = has_shortcuts_ && layers.up ? in : at::Tensor();
  at::Tensor x = std::move(in);  // [T, h, W, C]
  for (std::size_t block = 0; block < progress.blocks.size(); ++block)
    x = layers.blocks.at(block)(std::move(x), progress.blocks[block], rows);
  if (!layers.up) return x;
  x = (*layers.up)(x, progress.up, rows);
  if (kept.defined()) add_up_shortcut(x, kept);
  return x;
}

at::Tensor Decoder::operator()(const at::Tensor& latent, DecoderState& state, RowExchange& rows) const {
  const auto tap = [&](std::string_view name, const at::Tensor& x) {
    if (state.probe) state.probe(name, x);
  };
  at::Tensor x = conv1_(latent, state.conv1, rows);  // [1, h8, w8, C]
  x = x.to(rounded_.value_or(x.scalar_type()));
  tap("conv1", x);
  x = middle_first_(std::move(x), state.middle_first, rows);
  tap("middle.0", x);
  x = attention_(std::move(x), state.attention, rows);
  tap("middle.1", x);
  x = middle_last_(std::move(x), state.middle_last, rows);
  tap("middle.2", x);
  for (int level = 0; level < VaeConfig::levels; ++level) {
    x = run_level(level, std::move(x), state, rows);
    tap("upsamples." + std::to_string(level), x);
  }
  x = head_(x, state.head, rows);  // [1 or 4, 8 h8, 8 w8, patch_channels]
  tap("head.2", x);
  return x;
}

}  // namespace wan::vae
