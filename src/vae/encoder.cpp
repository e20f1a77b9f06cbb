#include "vae/encoder.h"

#include <string>
#include <utility>

#include "vae/level.h"

namespace wan::vae {
namespace {

/// Applies a layer to a chunk. If the layer's output is known to be constant, repeats it instead.
/// `in` by value: a layer may write over frames that nobody else holds.
template <typename Layer>
// NOLINTNEXTLINE(performance-unnecessary-value-param)
Chunk advance(const Layer& layer, LayerProgress<Layer>& progress, Chunk in, RowExchange& rows) {
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
  const std::int64_t end = output_frame(in.first + in.frames.size(0));
  if (progress.constant_frame.defined()) {
    out.frames = progress.constant_frame.expand({end - out.first, -1, -1, -1});
    return out;
  }
  out.frames = layer(std::move(in.frames), progress.state, rows);
  if (end > out.constant_from) {  // from now on, the last frame of this chunk repeats
    progress.constant_frame = out.frames.narrow(0, end - out.first - 1, 1).clone();
    progress.state = {};
  }
  return out;
}

}  // namespace

Encoder::Encoder(const WeightScope& weights, const VaeConfig& config)
    : rounded_(weights.arithmetic().rounded),
      conv1_(weights.unrounded() / "conv1", config.patch_channels(), config.encoder_level(0), {3, 3, 3}),
      has_shortcuts_(config.has_level_shortcuts()),
      middle_first_(weights / "middle" / "0", config.encoder_level(3), config.encoder_level(3)),
      attention_(weights / "middle" / "1", config.encoder_level(3)),
      middle_last_(weights / "middle" / "2", config.encoder_level(3), config.encoder_level(3)),
      head_(weights / "head", config.encoder_level(3), 2 * config.latent_channels()) {
  LayerNames names(weights, "downsamples", config);
  for (int level = 0; level < VaeConfig::levels; ++level) {
    Level& made = levels_.emplace_back();
    names.begin_level();
    for (int block = 0; block < VaeConfig::encoder_blocks; ++block) {
      const bool widens = block == 0 && level > 0;
      made.blocks.emplace_back(names.next(), config.encoder_level(widens ? level - 1 : level),
                               config.encoder_level(level));
    }
    if (level + 1 < VaeConfig::levels)
      made.down.emplace(names.next(), config.encoder_level(level), VaeConfig::temporal(level));
  }
}

EncoderState Encoder::start() const {
  EncoderState state;
  for (const Level& level : levels_) state.levels.emplace_back().blocks.resize(level.blocks.size());
  return state;
}

Chunk Encoder::run_level(int level, Chunk in, EncoderState& state, RowExchange& rows) const {
  const Level& layers = levels_.at(level);
  EncoderState::Level& progress = state.levels.at(level);
  const at::Tensor kept = has_shortcuts_ ? in.frames : at::Tensor();
  const bool starts_clip = in.first == 0;
  Chunk x = std::move(in);
  for (std::size_t block = 0; block < progress.blocks.size(); ++block)
    x = advance(layers.blocks.at(block), progress.blocks[block], std::move(x), rows);
  if (layers.down) x = advance(*layers.down, progress.down, std::move(x), rows);
  if (!has_shortcuts_) return x;
  // From the frame on from which the layers' output is constant, the shortcut's is, too: it only looks at
  // pairs of frames (model.md 4.9).
  x.frames =
      x.frames +
      (layers.down ? down_shortcut(kept, {.temporal = VaeConfig::temporal(level), .starts_clip = starts_clip})
                   : kept);
  return x;
}

at::Tensor Encoder::operator()(const Chunk& pixels, EncoderState& state, RowExchange& rows) const {
  const auto tap = [&](std::string_view name, const Chunk& x) {
    if (state.probe) state.probe(name, x.frames);
  };
  Chunk x = advance(conv1_, state.conv1, pixels, rows);
  x.frames = x.frames.to(rounded_.value_or(x.frames.scalar_type()));
  tap("conv1", x);
  for (int level = 0; level < VaeConfig::levels; ++level) {
    x = run_level(level, std::move(x), state, rows);
    tap("downsamples." + std::to_string(level), x);
  }
  x = advance(middle_first_, state.middle_first, std::move(x), rows);
  tap("middle.0", x);
  x = advance(attention_, state.attention, std::move(x), rows);
  tap("middle.1", x);
  x = advance(middle_last_, state.middle_last, std::move(x), rows);
  tap("middle.2", x);
  x = advance(head_, state.head, std::move(x), rows);
  tap("head.2", x);
  return x.frames;
}

}  // namespace wan::vae
