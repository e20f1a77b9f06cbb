#include "launch/writer_count.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "launch/run_layout.h"
#include "model/model_kind.h"

namespace wan::launch {
namespace {

// libx264 holds about 50 frames of 1.5 bytes a pixel for its look-ahead, its references, and tables beside
// them. Seven more threads took 95 bytes a pixel more at 832x480 and at 1280x720.
constexpr std::int64_t encoder_bytes_per_pixel = 250;

/// The bytes of one latent, fp32.
std::int64_t latent_bytes(const RunInput& input, const Request& request) {
  const model::VideoGeometry& geometry = model::model_kind(input.checkpoint.task.name).geometry;
  const auto shape = geometry.latent_shape(geometry.latent_channels, request.frame_num, request.size);
  constexpr std::int64_t value_bytes = 4;
  return std::accumulate(shape.begin(), shape.end(), value_bytes, std::multiplies<>());
}

}  // namespace

std::int64_t bytes_in_writing(const RunInput& input, bool save_latents, bool step_latents) {
  std::int64_t most = 0;
  for (const manifest::ManifestRow& row : input.rows) {
    if (row.error) continue;
    const Request request = resolve_row(input, row);
    const std::int64_t pixels = std::int64_t{request.size.width} * request.size.height;
    const std::int64_t frames_bytes = pixels * 3 * request.frame_num;
    most = std::max(most, frames_bytes * (save_latents ? 2 : 1) + pixels * encoder_bytes_per_pixel +
                              (step_latents ? request.sample_steps * latent_bytes(input, request) : 0));
  }
  return most;
}

int writers_that_fit(int cores, std::uint64_t memory_bytes, std::int64_t video_bytes) {
  const auto videos = static_cast<std::int64_t>(memory_bytes / 2) / std::max<std::int64_t>(video_bytes, 1);
  const std::int64_t by_memory = std::max<std::int64_t>(videos - 1, 0);
  return static_cast<int>(
      std::min<std::int64_t>({by_memory, std::max(cores - 1, 1), most_automatic_writers}));
}

int writers_of(const Options& options, const RunInput& input, const comm::MpiRanks& ranks) {
  if (options.writers) return *options.writers;
  return writers_that_fit(threads_per_rank(ranks), memory_per_rank_bytes(ranks),
                          bytes_in_writing(input, options.save_latents, options.step_latents));
}

}  // namespace wan::launch
