#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <map>
#include <string>

#include "vae/vae_config.h"

namespace wan::test {

/// Normal numbers in fp64 from their own seeded generator.
class RandomTensors {
 public:
  explicit RandomTensors(std::uint64_t seed) : generator_(at::detail::createCPUGenerator(seed)) {}
  at::Tensor operator()(at::IntArrayRef shape) { return at::randn(shape, generator_, at::kDouble); }

 private:
  at::Generator generator_;
};

using Weights = std::map<std::string, at::Tensor>;

/// Weights of an autoencoder that keep activations near one in size, with biases large enough to matter.
inline Weights random_vae_weights(const vae::VaeConfig& config, std::uint64_t seed) {
  RandomTensors random(seed);
  Weights weights;
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(config)) {
    at::Tensor values = random(tensor.shape);
    if (tensor.name.ends_with("weight")) {
      const auto fan_in = static_cast<double>(values[0].numel());
      values /= std::sqrt(fan_in);
    } else if (tensor.name.ends_with("gamma")) {
      values = 1.0 + 0.2 * values;
    } else {
      values *= 0.2;
    }
    weights.emplace(tensor.name, values);
  }
  return weights;
}

inline Weights in_fp32(Weights weights) {
  for (auto& [name, values] : weights) values = values.to(at::kFloat);
  return weights;
}

inline vae::TensorLookup lookup(const Weights& weights) {
  return [&weights](const std::string& name) { return weights.at(name); };
}

/// Largest difference over the largest value.
inline double relative_difference(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return HUGE_VAL;
  return ((actual - expected).abs().max() / expected.abs().max()).item<double>();
}

}  // namespace wan::test
