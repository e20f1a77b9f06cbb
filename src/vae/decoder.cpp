#include "vae/decoder.h"

namespace wan::vae {

Decoder::Decoder(const WeightScope& weights, const VaeConfig& config)
    : conv1_(weights / "conv1", latent_channels, config.width(3), {3, 3, 3}),
      middle_first_(weights / "middle" / "0", config.width(3), config.width(3)),
      attention_(weights / "middle" / "1", config.width(3)),
      middle_last_(weights / "middle" / "2", config.width(3), config.width(3)),
      head_(weights / "head", config.width(0), 3) {
  int index = 0;  // the checkpoint numbers blocks and up-samplings in one sequence
  const auto next = [&] { return weights / "upsamples" / std::to_string(index++); };
  std::int64_t channels = config.width(VaeConfig::levels - 1);
  for (int level = VaeConfig::levels - 1; level >= 0; --level) {
    Level& made = levels_.emplace_back();
    for (int block = 0; block < VaeConfig::decoder_blocks; ++block) {
      made.blocks.emplace_back(next(), channels, config.width(level));
      channels = config.width(level);
    }
    if (level > 0) {
      made.up.emplace(next(), channels, VaeConfig::temporal(level - 1));
      channels /= 2;
    }
  }
}

DecoderState Decoder::start() const {
  DecoderState state;
  for (const Level& level : levels_) state.levels.emplace_back().blocks.resize(level.blocks.size());
  return state;
}

at::Tensor Decoder::operator()(const at::Tensor& latent, DecoderState& state, RowExchange& rows) const {
  at::Tensor x = conv1_(latent, state.conv1, rows);  // [C, 1, h8, w8]
  x = middle_first_(x, state.middle_first, rows);
  x = attention_(x, state.attention, rows);
  x = middle_last_(x, state.middle_last, rows);
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    DecoderState::Level& progress = state.levels.at(level);
    for (std::size_t block = 0; block < progress.blocks.size(); ++block)
      x = levels_[level].blocks.at(block)(x, progress.blocks[block], rows);
    if (levels_[level].up) x = (*levels_[level].up)(x, progress.up, rows);
  }
  return head_(x, state.head, rows);  // [3, 1 or 4, 8 h8, 8 w8]
}

}  // namespace wan::vae
