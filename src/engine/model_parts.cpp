#include "engine/model_parts.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <memory>

#include "core/check.h"
#include "gpu/upload.h"

namespace wan::engine {
namespace {

constexpr std::int64_t elements_per_task = std::int64_t{1} << 21;

/// Reads elements [first, first + piece.numel()) of a tensor into host memory, on all of this rank's threads.
void read_piece(const checkpoint::Checkpoint& from, const checkpoint::TensorEntry& entry, std::int64_t first,
                const at::Tensor& piece) {
  const bool is_bf16 = piece.scalar_type() == at::kBFloat16;
  WAN_CHECK(is_bf16 || piece.scalar_type() == at::kFloat, "weights are read as bf16 or fp32");
  void* const memory = piece.data_ptr();
  at::parallel_for(0, piece.numel(), elements_per_task, [&](std::int64_t begin, std::int64_t end) {
    const auto count = static_cast<std::size_t>(end - begin);
    if (is_bf16) {
      from.read_bf16(entry, first + begin, {static_cast<std::uint16_t*>(memory) + begin, count});
    } else {
      from.read_floats(entry, first + begin, {static_cast<float*>(memory) + begin, count});
    }
  });
}

/// Reads parameters by their names.
parallel::ParameterReader checkpoint_reader(const checkpoint::Checkpoint& from) {
  // Made at the first use on a GPU, shared by the copies of the function object.
  auto upload = std::make_shared<std::unique_ptr<gpu::Upload>>();
  return [&from, upload](const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
    const checkpoint::TensorEntry& entry = from.entry(parameter.name);
    if (out.is_cpu()) {
      read_piece(from, entry, first, out);
      return;
    }
    if (!*upload) *upload = std::make_unique<gpu::Upload>();
    (*upload)->fill(
        out, [&](std::int64_t at, const at::Tensor& piece) { read_piece(from, entry, first + at, piece); });
  };
}

at::Tensor read_whole(const checkpoint::Checkpoint& from, const std::string& name) {
  const checkpoint::TensorEntry& entry = from.entry(name);
  at::Tensor tensor = at::empty(entry.shape, at::kFloat);
  from.read_floats(entry, 0, {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())});
  return tensor;
}

}  // namespace

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
