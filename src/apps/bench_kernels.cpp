#include "apps/bench_kernels.h"

#include <ATen/ATen.h>

#include <functional>

namespace wan::apps {

KernelProfiles profile_kernels(const ProfiledRequest& request, engine::Denoiser& denoise,
                               engine::Autoencoder& vae) {
  KernelProfiles profiles;
  const auto record = [&](const char* what, const std::function<void()>& work) {
    gpu::KernelProfile profile;
    work();
    profiles.emplace_back(what, profile.stop());
  };
  const auto& [settings, model, inputs, communicators, bf16_terms] = request;
  const auto& group = communicators;  // Clang 14 lets no lambda see a structured binding
  const model::ModelKind& kind = *model.kind;
  const auto shape =
      kind.geometry.latent_shape(kind.geometry.latent_channels, settings.frame_num, settings.size);
  const at::Tensor latent = at::randn(at::IntArrayRef(shape.data(), shape.size()), at::kFloat);
  launch::BenchSettings one_step = settings;
  one_step.warmup = 0;
  one_step.steps = 1;
  const engine::DenoiseInput input = inputs.request(model, latent, one_step, bf16_terms);
  record("step", [&] { denoise.run(input, group, [](const auto&... /*of a step*/) {}); });
  denoise.rest();
  if (kind.conditioning != model::Conditioning::none) {
    const bool is_first_frame = kind.conditioning == model::Conditioning::first_frame;
    const int frames = is_first_frame ? 1 : settings.frame_num;
    const at::Tensor image = at::rand({3, settings.size.height, settings.size.width}, at::kFloat) * 2 - 1;
    record("encode", [&] { vae.encode_image(image, frames, *group.vae); });
  }
  record("decode", [&] { vae.decode(latent, *group.vae, 0, [](const at::Tensor& /*frames*/) {}); });
  return profiles;
}

}  // namespace wan::apps
