#include "batch/resolve.h"

#include <random>

namespace wan::batch {
namespace {

std::optional<std::int64_t> given_seed(const ManifestRow& row, const RequestOverrides& command_line) {
  const auto seed = row.overrides.seed ? row.overrides.seed : command_line.seed;
  return seed && *seed >= 0 ? seed : std::nullopt;
}

std::int64_t counted_seed(std::int64_t base_seed, std::int64_t index) {
  constexpr std::uint64_t largest = 0x7FFF'FFFF'FFFF'FFFF;
  return static_cast<std::int64_t>(
      (static_cast<std::uint64_t>(base_seed) + static_cast<std::uint64_t>(index)) & largest);
}

}  // namespace

std::int64_t draw_base_seed() {
  std::random_device source;
  return source() & 0x7FFF'FFFFU;
}

bool has_automatic_seed(const ManifestRow& row, const RequestOverrides& command_line,
                        const RunSettings& settings) {
  return settings.base_seed_is_drawn && !given_seed(row, command_line);
}

Request resolve(const ManifestRow& row, const RequestOverrides& command_line, const TaskDefaults& defaults,
                const RunSettings& settings) {
  const auto pick = [&](auto RequestOverrides::*field, const auto& fallback) {
    const auto& first = row.overrides.*field;
    return first ? *first : (command_line.*field).value_or(fallback);
  };
  Request request;
  request.id = row.id;
  request.image = row.image;
  request.prompt = row.prompt;
  request.negative_prompt = pick(&RequestOverrides::negative_prompt, std::string(default_negative_prompt()));
  request.seed = given_seed(row, command_line).value_or(counted_seed(settings.base_seed, row.index));
  request.size = pick(&RequestOverrides::size, defaults.size);
  request.frame_num = pick(&RequestOverrides::frame_num, defaults.frame_num);
  request.sample_steps = pick(&RequestOverrides::sample_steps, defaults.sample_steps);
  request.sample_shift = pick(&RequestOverrides::sample_shift, defaults.sample_shift);
  request.guide_scale = pick(&RequestOverrides::guide_scale, defaults.guide_scale);
  request.boundary = pick(&RequestOverrides::boundary, defaults.boundary);
  request.solver = pick(&RequestOverrides::solver, defaults.solver);
  request.noise_device = settings.noise_device;
  request.fps = settings.fps;
  request.codec = settings.codec;
  request.crf = settings.crf;
  return request;
}

}  // namespace wan::batch
