#include "vae/encoder.h"

namespace wan::vae {
namespace {

/// Applies a layer to a chunk. If the layer's output is known to be constant, repeats it instead.
template <typename Layer>
Chunk advance(const Layer& layer, LayerProgress<Layer>& progress, const Chunk& in, RowExchange& rows) {
  const auto output_frame = [&](std::int64_t frame) {
    if constexpr (requires { layer.output_frame(frame); }) {
      return layer.output_frame(frame);
    } else {
      return frame;
    }
  };
  Chunk out;
  out.first = output_frame(in.first);
  out.constant_from =
      in.constant_from == never_constant ? never_constant : layer.constant_from(in.constant_from);
  const std::int64_t end = output_frame(in.first + in.frames.size(1));
  if (progress.constant_frame.defined()) {
    out.frames = progress.constant_frame.expand({-1, end - out.first, -1, -1});
    return out;
  }
  out.frames = layer(in.frames, progress.state, rows);
  if (end > out.constant_from) {  // from now on, the last frame of this chunk repeats
    progress.constant_frame = out.frames.narrow(1, end - out.first - 1, 1).clone();
    progress.state = {};
  }
  return out;
}

}  // namespace

Encoder::Encoder(const WeightScope& weights, const VaeConfig& config)
    : conv1_(weights / "conv1", 3, config.width(0), {3, 3, 3}),
      middle_first_(weights / "middle" / "0", config.width(3), config.width(3)),
      attention_(weights / "middle" / "1", config.width(3)),
      middle_last_(weights / "middle" / "2", config.width(3), config.width(3)),
      head_(weights / "head", config.width(3), 2 * latent_channels) {
  int index = 0;  // the checkpoint numbers blocks and down-samplings in one sequence
  const auto next = [&] { return weights / "downsamples" / std::to_string(index++); };
  for (int level = 0; level < VaeConfig::levels; ++level) {
    Level& made = levels_.emplace_back();
    for (int block = 0; block < VaeConfig::encoder_blocks; ++block) {
      const bool widens = block == 0 && level > 0;
      made.blocks.emplace_back(next(), config.width(widens ? level - 1 : level), config.width(level));
    }
    if (level + 1 < VaeConfig::levels)
      made.down.emplace(next(), config.width(level), VaeConfig::temporal(level));
  }
}

EncoderState Encoder::start() const {
  EncoderState state;
  for (const Level& level : levels_) state.levels.emplace_back().blocks.resize(level.blocks.size());
  return state;
}

at::Tensor Encoder::operator()(const Chunk& pixels, EncoderState& state, RowExchange& rows) const {
  Chunk x = advance(conv1_, state.conv1, pixels, rows);
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    EncoderState::Level& progress = state.levels.at(level);
    for (std::size_t block = 0; block < progress.blocks.size(); ++block)
      x = advance(levels_[level].blocks.at(block), progress.blocks[block], x, rows);
    if (levels_[level].down) x = advance(*levels_[level].down, progress.down, x, rows);
  }
  x = advance(middle_first_, state.middle_first, x, rows);
  x = advance(attention_, state.attention, x, rows);
  x = advance(middle_last_, state.middle_last, x, rows);
  return advance(head_, state.head, x, rows).frames;
}

}  // namespace wan::vae
