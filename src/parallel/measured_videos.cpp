#include "parallel/measured_videos.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "model/model_kind.h"

namespace wan::parallel {
namespace {

constexpr std::string_view a14b_source = "analysis/results/step_h200.md";
constexpr std::string_view family_source = "analysis/results/family_h200.md";
constexpr PixelSize size_480p{.width = 832, .height = 480};
constexpr PixelSize size_720p{.width = 1280, .height = 720};

// The times of the autoencoder of TI2V-5B are those of analysis/results/vae_h200.md. Rows without such times
// were measured with an earlier one, and steps of other models than A14B with earlier kernels.
constexpr std::array videos{
    MeasuredVideo{.task = "i2v-A14B",
                  .gpus = 1,
                  .size = size_480p,
                  .step_s = 4.928,
                  .encode_s = 0.212,
                  .decode_s = 0.876,
                  .source = a14b_source},
    MeasuredVideo{.task = "i2v-A14B",
                  .gpus = 2,
                  .size = size_480p,
                  .step_s = 2.487,
                  .encode_s = 0.157,
                  .decode_s = 0.528,
                  .source = a14b_source},
    MeasuredVideo{.task = "i2v-A14B",
                  .gpus = 1,
                  .size = size_720p,
                  .step_s = 18.998,
                  .encode_s = 0.530,
                  .decode_s = 2.077,
                  .source = a14b_source},
    MeasuredVideo{.task = "ti2v-5B",
                  .gpus = 1,
                  .size = {.width = 1280, .height = 704},
                  .frame_num = 121,
                  .step_s = 1.636,
                  .encode_s = 0.037,
                  .decode_s = 5.607,
                  .source = family_source},
    MeasuredVideo{.task = "ti2v-5B",
                  .gpus = 2,
                  .size = {.width = 1280, .height = 704},
                  .frame_num = 121,
                  .step_s = 0.832,
                  .source = family_source},
    MeasuredVideo{.task = "t2v-1.3B", .gpus = 1, .size = size_480p, .step_s = 0.907, .source = family_source},
    MeasuredVideo{.task = "t2v-1.3B", .gpus = 2, .size = size_480p, .step_s = 0.466, .source = family_source},
    MeasuredVideo{.task = "t2v-14B", .gpus = 1, .size = size_480p, .step_s = 5.164, .source = family_source},
    MeasuredVideo{.task = "i2v-14B", .gpus = 1, .size = size_480p, .step_s = 5.204, .source = family_source}};

/// T2V-A14B differs from I2V-A14B in its first layer alone.
std::string_view measured_task(std::string_view task) { return task == "t2v-A14B" ? "i2v-A14B" : task; }

bool has_official_sizes(const model::ModelKind& kind, const checkpoint::TransformerConfig& transformer) {
  const model::TransformerSizes& official = kind.official;
  return transformer.dim == official.dim && transformer.ffn_dim == official.ffn_dim &&
         transformer.num_heads == official.num_heads && transformer.num_layers == official.num_layers;
}

}  // namespace

std::span<const MeasuredVideo> measured_videos() { return videos; }

std::string describe_measurements(std::string_view task, const checkpoint::TransformerConfig& transformer,
                                  int ranks) {
  constexpr std::string_view computed = "bytes and times are computed from these figures";
  const bool is_official = has_official_sizes(model::model_kind(task), transformer);
  int most_gpus = 0;
  std::string_view source;
  for (const MeasuredVideo& video : videos) {
    if (!is_official || video.task != measured_task(task) || video.gpus <= most_gpus) continue;
    most_gpus = video.gpus;
    source = video.source;
  }
  if (most_gpus == 0)
    return fmt::format("{}{}: {}, not measured", task, is_official ? "" : " of these sizes", computed);
  const std::string measured = most_gpus == 1 ? "1 GPU" : fmt::format("up to {} GPUs", most_gpus);
  if (ranks <= most_gpus) return fmt::format("{}: measured on {} ({})", task, measured, source);
  return fmt::format("{}: measured on {} ({}); for {} in a group, {}", task, measured, source, ranks,
                     computed);
}

}  // namespace wan::parallel
