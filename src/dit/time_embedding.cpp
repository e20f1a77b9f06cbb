#include "dit/time_embedding.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/linear.h"

namespace wan::dit {
namespace {

/// These layers run in fp32, whatever the weights' type is (model.md 5.9).
at::Tensor linear_fp32(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return kernels::linear(x, weight.to(at::kFloat), bias.to(at::kFloat));
}

}  // namespace

at::Tensor timestep_sinusoid(float timestep, std::int64_t freq_dim) {
  const std::int64_t half = freq_dim / 2;
  at::Tensor result = at::empty({freq_dim}, at::kFloat);
  auto* values = result.data_ptr<float>();
  for (std::int64_t j = 0; j < half; ++j) {
    const double angle = static_cast<double>(timestep) *
                         std::pow(10000.0, -static_cast<double>(j) / static_cast<double>(half));
    values[j] = static_cast<float>(std::cos(angle));
    values[half + j] = static_cast<float>(std::sin(angle));
  }
  return result;
}

std::vector<TimeEmbedding> embed_timesteps(const StemWeights& weights, const std::vector<float>& timesteps) {
  std::vector<at::Tensor> sinusoids;
  sinusoids.reserve(timesteps.size());
  for (const float timestep : timesteps)
    sinusoids.push_back(timestep_sinusoid(timestep, weights.time_0_weight.size(1)));
  // A single one stays a vector: a product of one row may be summed in another order.
  const at::Tensor input = (sinusoids.size() == 1 ? sinusoids.front() : at::stack(sinusoids))
                               .to(weights.time_0_weight.device());  // [(times,) freq_dim]
  const at::Tensor hidden =
      kernels::silu(linear_fp32(input, weights.time_0_weight, weights.time_0_bias));  // [(times,) dim]
  const at::Tensor embedding = linear_fp32(hidden, weights.time_2_weight, weights.time_2_bias);
  const at::Tensor projection =
      linear_fp32(kernels::silu(embedding), weights.time_projection_weight, weights.time_projection_bias)
          .unflatten(-1, {6, -1});  // [(times,) 6, dim]
  if (timesteps.size() == 1) return {{.embedding = embedding, .projection = projection}};
  std::vector<TimeEmbedding> result;
  result.reserve(timesteps.size());
  for (std::int64_t i = 0; i < embedding.size(0); ++i)
    result.push_back({.embedding = embedding[i], .projection = projection[i]});
  return result;
}

}  // namespace wan::dit
