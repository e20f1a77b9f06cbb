#include "engine/model_parts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "core/check.h"

namespace wan::engine {
namespace {

at::Tensor read_whole(const checkpoint::Checkpoint& from, const std::string& name) {
  const checkpoint::TensorEntry& entry = from.entry(name);
  at::Tensor tensor = at::empty(entry.shape, at::kFloat);
  from.read_floats(entry, 0, {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())});
  return tensor;
}

/// Reads elements from `first` on as fp16. Throws UsageError for a value that fp16 cannot hold.
void read_fp16(const checkpoint::Checkpoint& from, const checkpoint::TensorEntry& entry, std::int64_t first,
               std::span<at::Half> out) {
  constexpr std::size_t elements_at_a_time = std::size_t{1} << 18;
  constexpr float largest = 65504;
  std::vector<float> wide(std::min(out.size(), elements_at_a_time));
  for (std::size_t done = 0; done < out.size(); done += wide.size()) {
    const std::span<float> part(wide.data(), std::min(wide.size(), out.size() - done));
    from.read_floats(entry, first + static_cast<std::int64_t>(done), part);
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (!(std::abs(part[i]) <= largest)) {
        fail<UsageError>(
            "tensor {} of {} holds the value {}, and the numbers of fp16 end at 65504; compute in bf16 or "
            "fp32",
            checkpoint::in_quotes(entry.name), entry.file.string(), part[i]);
      }
      out[done + i] = static_cast<at::Half>(part[i]);
    }
  }
}

}  // namespace

parallel::ParameterReader checkpoint_reader(const checkpoint::Checkpoint& from) {
  return parallel::ParameterReader::of_files(
      [&from](const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
        const checkpoint::TensorEntry& entry = from.entry(parameter.name);
        const auto count = static_cast<std::size_t>(out.numel());
        switch (out.scalar_type()) {
          case at::kBFloat16:
            return from.read_bf16(entry, first, {static_cast<std::uint16_t*>(out.data_ptr()), count});
          case at::kHalf:
            return read_fp16(from, entry, first, {out.data_ptr<at::Half>(), count});
          case at::kFloat:
            return from.read_floats(entry, first, {out.data_ptr<float>(), count});
          default:
            fail("weights are read as bf16, fp16 or fp32, not as {}", at::toString(out.scalar_type()));
        }
      });
}

checkpoint::UnitLayout vae_unit(const vae::VaeConfig& config) {
  checkpoint::UnitLayout unit{.name = "vae", .parameters = {}};
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(config))
    unit.parameters.push_back({.name = tensor.name, .shape = tensor.shape, .offset = unit.elements()});
  return unit;
}

ExpertFiles open_expert(const std::filesystem::path& place) {
  checkpoint::Checkpoint weights = checkpoint::Checkpoint::open_part(checkpoint::Part::transformer, place);
  checkpoint::TransformerConfig config = checkpoint::read_transformer_config(place, weights);
  checkpoint::expect_tensors(weights, checkpoint::transformer_tensors(config));
  return {.weights = std::move(weights), .config = std::move(config)};
}

ExpertModel expert_model(Expert expert, const ExpertFiles& files) {
  return {.expert = expert, .config = files.config, .read = checkpoint_reader(files.weights)};
}

TextEncoderModel text_encoder_model(const checkpoint::Checkpoint& files) {
  const checkpoint::TextEncoderConfig config = checkpoint::read_text_encoder_config(files);
  checkpoint::expect_tensors(files, checkpoint::text_encoder_tensors(config));
  return {.config = config, .read = checkpoint_reader(files)};
}

ImageEncoderModel image_encoder_model(const checkpoint::Checkpoint& files) {
  const checkpoint::ImageEncoderConfig config = checkpoint::read_image_encoder_config(files);
  checkpoint::expect_tensors(files, checkpoint::image_encoder_tensors(config),
                             checkpoint::ExtraTensors::ignored);
  return {.config = config, .read = checkpoint_reader(files)};
}

VaeModel vae_model(const checkpoint::Checkpoint& files) {
  const vae::VaeConfig config =
      vae::infer_vae_config([&](const std::string& name) { return files.entry(name).shape; });
  std::vector<checkpoint::ExpectedTensor> expected;
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(config))
    expected.push_back({tensor.name, tensor.shape});
  checkpoint::expect_tensors(files, expected);
  return {.config = config, .read = [&files](const std::string& name) { return read_whole(files, name); }};
}

}  // namespace wan::engine
