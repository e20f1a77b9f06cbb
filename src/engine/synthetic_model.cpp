#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string_view>

#include "core/check.h"
#include "engine/model_parts.h"

namespace wan::engine {
namespace {

/// Scale parameters of norms, which are near one in a trained model.
bool is_norm_scale(std::string_view name) {
  return name.ends_with("gamma") ||
         (name.find("norm") != std::string_view::npos && name.ends_with(".weight"));
}

/// Spread that keeps the size of activations: 1 / sqrt(inputs) for a matrix or a convolution.
double spread(const std::vector<std::int64_t>& shape) {
  if (shape.size() < 2) return 0.02;
  const std::int64_t inputs =
      std::accumulate(shape.begin() + 1, shape.end(), std::int64_t{1}, std::multiplies<>());
  return 1.0 / std::sqrt(static_cast<double>(inputs));
}

/// Normal values; the host, which draws slowly, draws some and repeats them.
void draw(const at::Tensor& out, double deviation) {
  constexpr std::int64_t drawn_on_host = std::int64_t{1} << 20;
  const std::int64_t count = out.is_cpu() ? std::min(out.numel(), drawn_on_host) : out.numel();
  const at::Tensor flat = out.view({-1});
  const at::Tensor drawn = flat.narrow(0, 0, count).normal_(0.0, deviation);
  for (std::int64_t first = count; first < flat.numel(); first += count) {
    const std::int64_t length = std::min(count, flat.numel() - first);
    flat.narrow(0, first, length).copy_(drawn.narrow(0, 0, length));
  }
}

void fill(const std::string& name, const std::vector<std::int64_t>& shape, const at::Tensor& out) {
  if (is_norm_scale(name)) {
    out.fill_(1.0);
  } else {
    draw(out, spread(shape));
  }
}

parallel::ParameterReader synthetic_reader() {
  return [](const checkpoint::Parameter& parameter, std::int64_t /*first*/, const at::Tensor& out) {
    fill(parameter.name, parameter.shape, out);
  };
}

}  // namespace

ExpertModel synthetic_expert(Expert expert, const checkpoint::TransformerConfig& config) {
  return {.expert = expert, .config = config, .read = synthetic_reader()};
}

TextEncoderModel synthetic_text_encoder(const checkpoint::TextEncoderConfig& config) {
  return {.config = config, .read = synthetic_reader()};
}

ImageEncoderModel synthetic_image_encoder(const checkpoint::ImageEncoderConfig& config) {
  return {.config = config, .read = synthetic_reader()};
}

VaeModel synthetic_vae(const vae::VaeConfig& config) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(config)) shapes.emplace(tensor.name, tensor.shape);
  const auto read = [shapes](const std::string& name) {
    const auto found = shapes.find(name);
    WAN_CHECK(found != shapes.end(), "the autoencoder has no tensor {}", name);
    at::Tensor tensor = at::empty(found->second, at::kFloat);
    fill(name, found->second, tensor);
    return tensor;
  };
  return {.config = config, .read = read};
}

}  // namespace wan::engine
