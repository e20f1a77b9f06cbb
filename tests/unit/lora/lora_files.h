#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "checkpoint/safetensors.h"

namespace wan::lora::test {

/// Values of a tensor, to be written in any floating-point type.
struct Numbers {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  std::optional<checkpoint::DType> type = {};  ///< in the file, if not that of the others
};
using NumbersByName = std::map<std::string, Numbers>;

/// A small transformer.
inline checkpoint::TransformerConfig small_config(std::string type = "t2v", std::int64_t image_dim = 0) {
  return {.model_type = std::move(type),
          .dim = 24,
          .ffn_dim = 40,
          .freq_dim = 8,
          .in_dim = image_dim > 0 ? 36 : 16,
          .out_dim = 16,
          .text_dim = 12,
          .text_len = 8,
          .num_heads = 2,
          .num_layers = 12,
          .eps = 1e-6,
          .image_dim = image_dim};
}

/// Numbers that fp16 and bf16 hold as they are.
inline Numbers draw(std::vector<std::int64_t> shape, std::mt19937& random) {
  std::uniform_int_distribution<int> number(-127, 127);
  Numbers drawn{.shape = std::move(shape), .values = {}};
  std::int64_t count = 1;
  for (const std::int64_t size : drawn.shape) count *= size;
  for (std::int64_t i = 0; i < count; ++i) drawn.values.push_back(static_cast<float>(number(random)) / 128);
  return drawn;
}

/// A LoRA without names: what it changes, by official names.
struct PlainLora {
  struct Pair {
    Numbers down, up;
    std::optional<float> alpha = {};
  };
  std::map<std::string, Pair> pairs;           ///< by module
  std::map<std::string, Numbers> differences;  ///< by tensor
};

/// A pair for a matrix of the model.
inline PlainLora::Pair draw_pair(std::int64_t out, std::int64_t in, std::int64_t rank,
                                 std::optional<float> alpha, std::mt19937& random) {
  return {.down = draw({rank, in}, random), .up = draw({out, rank}, random), .alpha = alpha};
}

/// Pairs of several ranks, with alpha, without, and with 0; no difference.
inline PlainLora pairs_of(const checkpoint::TransformerConfig& config, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  PlainLora lora;
  int count = 0;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::transformer_tensors(config)) {
    constexpr std::string_view weight = ".weight";
    if (tensor.shape.size() != 2 || !tensor.name.ends_with(weight)) continue;
    const std::string module = tensor.name.substr(0, tensor.name.size() - weight.size());
    const std::int64_t rank = 2 + count % 3;
    const std::optional<float> alpha =
        count % 4 == 0 ? std::nullopt : std::optional(static_cast<float>(count % 4 - 1));
    lora.pairs.emplace(module, draw_pair(tensor.shape[0], tensor.shape[1], rank, alpha, random));
    ++count;
  }
  return lora;
}

/// Adds differences of biases, norms, modulations and the patch embedding.
inline void add_differences(const checkpoint::TransformerConfig& config, PlainLora& lora) {
  std::mt19937 random(7);
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::transformer_tensors(config))
    if (tensor.shape.size() != 2) lora.differences.emplace(tensor.name, draw(tensor.shape, random));
}

/// Bits of fp16, for numbers that it holds as they are and that are not below its normal ones.
inline std::uint16_t f16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t exponent = (bits >> 23) & 0xFFU;
  if (exponent == 0) return static_cast<std::uint16_t>(sign);
  const std::uint32_t narrow = exponent == 0xFF ? 0x1FU : exponent - (127 - 15);
  return static_cast<std::uint16_t>(sign | (narrow << 10) | ((bits >> 13) & 0x3FFU));
}

/// Writes tensors in one type, or in their own.
inline void write_numbers(const std::filesystem::path& path, const NumbersByName& tensors,
                          checkpoint::DType common = checkpoint::DType::f32) {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<checkpoint::TensorView> views;
  bytes.reserve(tensors.size());
  for (const auto& [name, numbers] : tensors) {
    const checkpoint::DType type = numbers.type.value_or(common);
    std::vector<std::byte>& content =
        bytes.emplace_back(numbers.values.size() * checkpoint::size_bytes(type));
    for (std::size_t i = 0; i < numbers.values.size(); ++i) {
      const std::uint16_t narrow = checkpoint::bf16_from_float(numbers.values[i]);
      if (type == checkpoint::DType::f32) std::memcpy(content.data() + 4 * i, &numbers.values[i], 4);
      const std::uint16_t half = f16_bits(numbers.values[i]);
      if (type == checkpoint::DType::bf16) std::memcpy(content.data() + 2 * i, &narrow, 2);
      if (type == checkpoint::DType::f16) std::memcpy(content.data() + 2 * i, &half, 2);
      const auto whole =
          static_cast<std::int64_t>(numbers.values[i]);  // little-endian: its begin is narrower
      if (!checkpoint::is_floating(type))
        std::memcpy(content.data() + checkpoint::size_bytes(type) * i, &whole, checkpoint::size_bytes(type));
    }
    views.push_back({.name = name, .dtype = type, .shape = numbers.shape, .bytes = content});
  }
  checkpoint::write_safetensors(path, views);
}

/// The weight plus the LoRA, computed in fp64 from the definition (model.md 1.9).
inline std::vector<double> plainly_merged(const PlainLora& lora, const checkpoint::ExpectedTensor& tensor,
                                          const std::vector<float>& weight, double strength) {
  std::vector<double> result(weight.begin(), weight.end());
  constexpr std::string_view ending = ".weight";
  const auto pair = tensor.name.ends_with(ending)
                        ? lora.pairs.find(tensor.name.substr(0, tensor.name.size() - ending.size()))
                        : lora.pairs.end();
  if (pair != lora.pairs.end()) {
    const auto& [down, up, alpha] = pair->second;
    const auto rank = static_cast<std::size_t>(down.shape[0]);
    const std::size_t in = down.values.size() / rank;
    const double scale = alpha.value_or(0) != 0 ? *alpha / static_cast<double>(rank) : 1.0;
    for (std::size_t row = 0; row < up.values.size() / rank; ++row) {
      for (std::size_t column = 0; column < in; ++column) {
        double sum = 0;
        for (std::size_t k = 0; k < rank; ++k)
          sum += static_cast<double>(up.values[row * rank + k]) * down.values[k * in + column];
        result[row * in + column] += strength * scale * sum;
      }
    }
  }
  if (const auto found = lora.differences.find(tensor.name); found != lora.differences.end())
    for (std::size_t i = 0; i < result.size(); ++i) result[i] += strength * found->second.values[i];
  return result;
}

}  // namespace wan::lora::test
