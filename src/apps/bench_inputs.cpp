#include "apps/bench_inputs.h"

#include <ATen/ATen.h>

namespace wan::apps {

void BenchInputs::set_image(const engine::ModelDescription& model, const at::Tensor& latent) {
  const model::ModelKind& kind = *model.kind;
  if (model.image_encoder)
    image_features = at::randn({model.image_encoder->tokens(), model.image_encoder->dim}, at::kFloat);
  if (kind.conditioning == model::Conditioning::first_frame) {
    first_frame = latent;
    return;
  }
  std::vector<std::int64_t> mask_shape = latent.sizes().vec();
  mask_shape.front() = kind.condition_channels - latent.size(0);
  condition = at::cat({at::zeros(mask_shape, latent.options()), latent}, 0);
}

}  // namespace wan::apps
