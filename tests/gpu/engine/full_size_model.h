#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <functional>
#include <string>

#include "engine/model_parts.h"
#include "gpu/device.h"

namespace wan::test {

/// The 14B model's sizes, with few blocks.
inline checkpoint::TransformerConfig full_width(std::int64_t blocks) {
  return {.model_type = "t2v",
          .dim = 5120,
          .ffn_dim = 13824,
          .freq_dim = 256,
          .in_dim = 16,
          .out_dim = 16,
          .text_dim = 4096,
          .text_len = 512,
          .num_heads = 40,
          .num_layers = blocks,
          .eps = 1e-6};
}

/// fp32 normal values, the same on every GPU of a kind.
inline at::Tensor drawn(at::IntArrayRef shape, std::uint64_t seed, int gpu = 0) {
  return at::randn(
      shape, gpu::make_generator(gpu, seed),
      at::TensorOptions(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu))).dtype(at::kFloat));
}

/// An expert whose values do not depend on when and in which type they are read. They are drawn from a seed
/// made from the name. bf16 represents them exactly, so all precisions have the same weights.
inline engine::ExpertModel full_width_expert(std::int64_t blocks, int gpu = 0) {
  const auto read = [gpu](const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
    const std::int64_t inputs = parameter.shape.size() < 2 ? 2500 : parameter.elements() / parameter.shape[0];
    const bool is_norm =
        parameter.name.find("norm") != std::string::npos && parameter.name.ends_with("weight");
    const at::Tensor all = drawn({parameter.elements()}, std::hash<std::string>()(parameter.name), gpu) /
                               std::sqrt(static_cast<double>(inputs)) +
                           (is_norm ? 1.0 : 0.0);
    out.copy_(all.narrow(0, first, out.numel()).to(at::kBFloat16));
  };
  return {.config = full_width(blocks), .read = read};
}

}  // namespace wan::test
