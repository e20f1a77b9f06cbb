#include "dit/time_embedding.h"

#include <ATen/ATen.h>

#include <cmath>

namespace wan::dit {
namespace {

/// These layers run in fp32, whatever the weights' type is (model.md 5.9).
at::Tensor linear_fp32(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight.to(at::kFloat), bias.to(at::kFloat));
}

}  // namespace

at::Tensor timestep_sinusoid(int timestep, std::int64_t freq_dim) {
  const std::int64_t half = freq_dim / 2;
  at::Tensor result = at::empty({freq_dim}, at::kFloat);
  auto* values = result.data_ptr<float>();
  for (std::int64_t j = 0; j < half; ++j) {
    const double angle = timestep * std::pow(10000.0, -static_cast<double>(j) / static_cast<double>(half));
    values[j] = static_cast<float>(std::cos(angle));
    values[half + j] = static_cast<float>(std::sin(angle));
  }
  return result;
}

TimeEmbedding embed_timestep(const StemWeights& weights, int timestep) {
  const at::Tensor sinusoid = timestep_sinusoid(timestep, weights.time_0_weight.size(1))
                                  .to(weights.time_0_weight.device());  // [freq_dim]
  const at::Tensor hidden =
      at::silu(linear_fp32(sinusoid, weights.time_0_weight, weights.time_0_bias));         // [dim]
  at::Tensor embedding = linear_fp32(hidden, weights.time_2_weight, weights.time_2_bias);  // [dim]
  at::Tensor projection =
      linear_fp32(at::silu(embedding), weights.time_projection_weight, weights.time_projection_bias)
          .unflatten(0, {6, -1});
  return {.embedding = std::move(embedding), .projection = std::move(projection)};  // [dim], [6, dim]
}

}  // namespace wan::dit
