#pragma once

#include <ATen/ATen.h>

#include "unit/vae/random_weights.h"

/// The autoencoder over a whole clip at once (model.md 4.6), without chunks or caches, in plain ATen
/// operations. Written from the tables (model.md 4.3), (model.md 4.4); shares no code with the program.
namespace wan::test {

/// [3, 4n+1, H, W] -> [16, n+1, H/8, W/8], normalised.
at::Tensor whole_clip_encode(const Weights& weights, const at::Tensor& pixels);
/// [16, n+1, h8, w8], normalised -> [3, 4n+1, 8 h8, 8 w8] in [-1, 1].
at::Tensor whole_clip_decode(const Weights& weights, const at::Tensor& latent);

at::Tensor reference_norm(const at::Tensor& x, const at::Tensor& gamma);
at::Tensor reference_causal_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
at::Tensor reference_attention(const Weights& weights, const std::string& name, const at::Tensor& x);
at::Tensor reference_downsample(const Weights& weights, const std::string& name, const at::Tensor& x);
at::Tensor reference_upsample(const Weights& weights, const std::string& name, const at::Tensor& x);

}  // namespace wan::test
