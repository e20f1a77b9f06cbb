#include "engine/model_parts.h"

#include <ATen/ATen.h>

#include "core/check.h"

namespace wan::engine {
namespace {

at::Tensor read_whole(const checkpoint::Checkpoint& from, const std::string& name) {
  const checkpoint::TensorEntry& entry = from.entry(name);
  at::Tensor tensor = at::empty(entry.shape, at::kFloat);
  from.read_floats(entry, 0, {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())});
  return tensor;
}

}  // namespace

parallel::ParameterReader checkpoint_reader(const checkpoint::Checkpoint& from) {
  return parallel::ParameterReader::of_files(
      [&from](const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
        const checkpoint::TensorEntry& entry = from.entry(parameter.name);
        const bool is_bf16 = out.scalar_type() == at::kBFloat16;
        WAN_CHECK(is_bf16 || out.scalar_type() == at::kFloat, "weights are read as bf16 or fp32");
        const auto count = static_cast<std::size_t>(out.numel());
        if (is_bf16) {
          from.read_bf16(entry, first, {static_cast<std::uint16_t*>(out.data_ptr()), count});
        } else {
          from.read_floats(entry, first, {out.data_ptr<float>(), count});
        }
      });
}

checkpoint::UnitLayout vae_unit(const vae::VaeConfig& config) {
  checkpoint::UnitLayout unit{.name = "vae", .parameters = {}};
  for (const vae::ExpectedShape& tensor : vae::vae_tensors(config))
    unit.parameters.push_back({.name = tensor.name, .shape = tensor.shape, .offset = unit.elements()});
  return unit;
}

ExpertFiles open_expert(const std::filesystem::path& folder) {
  checkpoint::Checkpoint weights = checkpoint::Checkpoint::open_safetensors_folder(folder);
  checkpoint::TransformerConfig config = checkpoint::read_transformer_config(folder, weights);
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
