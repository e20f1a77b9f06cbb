#include "engine/image_encoder.h"

#include <ATen/ATen.h>

#include "clip/vision_tower.h"
#include "parallel/outline.h"

namespace wan::engine {
namespace {

/// CLIP computes in fp32, whatever the other networks compute in.
EncoderOptions in_fp32(EncoderOptions options) {
  options.compute.type = at::kFloat;
  return options;
}

}  // namespace

ImageEncoder::ImageEncoder(ImageEncoderModel model, const EncoderOptions& options, comm::Communicator& group,
                           std::shared_ptr<parallel::WeightShards> shards)
    : model_(std::move(model)),
      device_(options.compute.device),
      weights_(checkpoint::image_encoder_units(model_.config), model_.read, in_fp32(options), group,
               std::move(shards)) {}

at::Tensor ImageEncoder::encode(const at::Tensor& pixels) {
  bool has_begun = false;
  const auto compute = [&] {
    checkpoint::WeightSource& source = weights_.begin();
    has_begun = true;
    return clip::VisionTower(model_.config, source).encode(pixels.to(device_)).cpu();  // [tokens, dim]
  };
  at::Tensor features = parallel::work_or_owe(compute, [&] {
    const auto owed = weights_.owed(has_begun);
    const std::int64_t side = model_.config.image_size;
    clip::VisionTower(model_.config, *owed).encode(parallel::outline_of({3, side, side}, at::kFloat));
  });
  weights_.unload();
  return features;
}

}  // namespace wan::engine
