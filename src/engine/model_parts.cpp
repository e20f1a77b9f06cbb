#include "engine/model_parts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "core/check.h"
#include "engine/lora_on_gpu.h"

namespace wan::engine {
namespace {

at::Tensor read_whole(const checkpoint::Checkpoint& from, const std::string& name) {
  const checkpoint::TensorEntry& entry = from.entry(name);
  at::Tensor tensor = at::empty(entry.shape, at::kFloat);
  from.read_floats(entry, 0, {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())});
  return tensor;
}

/// Rounds values to fp16. Throws UsageError for one that fp16 cannot hold.
void round_to_fp16(const checkpoint::TensorEntry& entry, std::span<const float> values,
                   std::span<at::Half> out) {
  constexpr float largest = 65504;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!(std::abs(values[i]) <= largest)) {
      fail<UsageError>(
          "tensor {} of {} holds the value {}, and the numbers of fp16 end at 65504; compute in bf16 or "
          "fp32",
          checkpoint::in_quotes(entry.name), entry.file.string(), values[i]);
    }
    out[i] = static_cast<at::Half>(values[i]);
  }
}

/// Reads elements from `first` on as fp16, likewise.
void read_fp16(const checkpoint::Checkpoint& from, const checkpoint::TensorEntry& entry, std::int64_t first,
               std::span<at::Half> out) {
  constexpr std::size_t elements_at_a_time = std::size_t{1} << 18;
  std::vector<float> wide(std::min(out.size(), elements_at_a_time));
  for (std::size_t done = 0; done < out.size(); done += wide.size()) {
    const std::span<float> part(wide.data(), std::min(wide.size(), out.size() - done));
    from.read_floats(entry, first + static_cast<std::int64_t>(done), part);
    round_to_fp16(entry, part, out.subspan(done, part.size()));
  }
}

[[noreturn]] void fail_type(at::ScalarType type) {
  fail("weights are read as bf16, fp16 or fp32, not as {}", at::toString(type));
}

/// Rounds values to the type of `out`.
void round_to(const checkpoint::TensorEntry& entry, std::span<const float> values, const at::Tensor& out) {
  switch (out.scalar_type()) {
    case at::kBFloat16:
      checkpoint::convert_to_bf16(checkpoint::DType::f32, std::as_bytes(values),
                                  {static_cast<std::uint16_t*>(out.data_ptr()), values.size()});
      return;
    case at::kHalf:
      return round_to_fp16(entry, values, {out.data_ptr<at::Half>(), values.size()});
    default:
      fail_type(out.scalar_type());
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
            fail_type(out.scalar_type());
        }
      });
}

parallel::ParameterReader merging_reader(const checkpoint::Checkpoint& from,
                                         std::shared_ptr<const lora::LoraMerge> loras) {
  std::shared_ptr<const parallel::DeviceMerge> on_gpu = lora_on_gpu(from, loras);
  return parallel::ParameterReader::of_files(
      [&from, loras = std::move(loras), plain = checkpoint_reader(from)](
          const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
        if (!loras->changes(parameter.name)) return plain(parameter, first, out);
        const checkpoint::TensorEntry& entry = from.entry(parameter.name);
        const auto count = static_cast<std::size_t>(out.numel());
        const auto merge_into = [&](std::span<float> values) {
          from.read_floats(entry, first, values);
          loras->add(parameter.name, parameter.shape, first, values);
        };
        if (out.scalar_type() == at::kFloat) return merge_into({out.data_ptr<float>(), count});
        std::vector<float> wide(count);
        merge_into(wide);
        round_to(entry, wide, out);
      },
      std::move(on_gpu));
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
