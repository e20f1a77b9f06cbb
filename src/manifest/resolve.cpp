#include "manifest/resolve.h"

#include <random>

namespace wan::manifest {
namespace {

std::optional<std::uint64_t> given_seed(const ManifestRow& row, const RequestOverrides& command_line) {
  return row.overrides.seed ? row.overrides.seed : command_line.seed;
}

}  // namespace

std::uint64_t draw_base_seed() {
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
  request.negative_prompt = pick(&RequestOverrides::negative_prompt, std::string(defaults.negative_prompt));
  request.seed =
      given_seed(row, command_line).value_or(settings.base_seed + static_cast<std::uint64_t>(row.index));
  request.size = pick(&RequestOverrides::size, defaults.size);
  request.frame_num = pick(&RequestOverrides::frame_num, defaults.frame_num);
  request.sample_steps = pick(&RequestOverrides::sample_steps, defaults.sample_steps);
  request.sample_shift = pick(&RequestOverrides::sample_shift, defaults.shift_of(request.size));
  request.guide_scale = pick(&RequestOverrides::guide_scale, defaults.guide_scale);
  request.boundary = row.overrides.boundary ? row.overrides.boundary : command_line.boundary;
  if (!request.boundary) request.boundary = defaults.boundary;
  request.solver = pick(&RequestOverrides::solver, defaults.solver);
  request.noise_device = settings.noise_device;
  request.fps = settings.fps;
  request.codec = settings.codec;
  request.crf = settings.crf;
  request.lora_set = row.lora_set;
  return request;
}

}  // namespace wan::manifest
