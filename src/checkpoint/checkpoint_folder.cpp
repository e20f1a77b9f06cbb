#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "checkpoint/file_kind.h"
#include "checkpoint/json_file.h"
#include "checkpoint/locate.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_file.h"
#include "checkpoint/unsupported_model.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::uint64_t max_config_bytes = 1 << 20;

constexpr std::string_view expected_layout =
    "  high_noise_model/  config.json, diffusion_pytorch_model*.safetensors (and .index.json)\n"
    "  low_noise_model/   the same\n"
    "  models_t5_umt5-xxl-enc-bf16.pth\n"
    "  Wan2.1_VAE.pth\n"
    "  google/umt5-xxl/   tokenizer files";

bool is_file(const std::filesystem::path& path) {
  std::error_code unreadable;
  return std::filesystem::is_regular_file(path, unreadable);
}

bool is_folder(const std::filesystem::path& path) {
  std::error_code unreadable;
  return std::filesystem::is_directory(path, unreadable);
}

/// Names, relative to the checkpoint, of what an expert lacks. Shards are checked when it is opened.
std::vector<std::string> missing_of_expert(const std::filesystem::path& folder) {
  const std::string name = folder.filename().string();
  if (!is_folder(folder)) return {name + "/" + dangling_note(folder)};
  std::vector<std::string> missing;
  const auto missing_file = [&](const char* file) {
    return fmt::format("{}/{}{}", name, file, dangling_note(folder / file));
  };
  if (!is_file(folder / "config.json")) missing.push_back(missing_file("config.json"));
  if (!is_file(folder / "diffusion_pytorch_model.safetensors.index.json") &&
      !is_file(folder / "diffusion_pytorch_model.safetensors")) {
    missing.push_back(missing_file("diffusion_pytorch_model.safetensors.index.json"));
  }
  return missing;
}

std::string model_type(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  const nlohmann::json config = read_json_object(path, max_config_bytes);
  refuse_unsupported_config(config, path);
  return config.at("model_type").get<std::string>();
}

/// Files that hold a missing part in a form that is not read, for a message.
std::string other_forms(const std::filesystem::path& root) {
  std::vector<std::string> found;
  std::error_code error;
  for (std::filesystem::directory_iterator at(root, error);
       !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (found.size() < 5 && (name.ends_with(".safetensors") || name.ends_with(".gguf")))
      found.push_back(in_quotes(name));
  }
  if (found.empty()) return {};
  std::ranges::sort(found);
  return fmt::format(
      "\nIt holds {}: parts in this form are not read; take the official files, as jobs/model_cache.py "
      "download does",
      fmt::join(found, ", "));
}

}  // namespace

CheckpointFolder inspect_checkpoint(const std::filesystem::path& given) {
  const std::filesystem::path root = locate_checkpoint(given);
  refuse_unsupported_folder(root);
  CheckpointFolder folder{.root = root,
                          .high_noise_model = root / "high_noise_model",
                          .low_noise_model = root / "low_noise_model",
                          .text_encoder = root / "models_t5_umt5-xxl-enc-bf16.pth",
                          .vae = root / "Wan2.1_VAE.pth",
                          .tokenizer = root / "google" / "umt5-xxl",
                          .task = {}};
  std::vector<std::string> missing = missing_of_expert(folder.high_noise_model);
  const std::vector<std::string> missing_low = missing_of_expert(folder.low_noise_model);
  missing.insert(missing.end(), missing_low.begin(), missing_low.end());
  if (!is_file(folder.text_encoder))
    missing.push_back(folder.text_encoder.filename().string() + dangling_note(folder.text_encoder));
  if (!is_file(folder.vae)) missing.push_back(folder.vae.filename().string() + dangling_note(folder.vae));
  if (!is_folder(folder.tokenizer)) missing.push_back("google/umt5-xxl/" + dangling_note(folder.tokenizer));
  if (!missing.empty()) {
    fail<UsageError>("the checkpoint folder {} lacks {}. Expected in it:\n{}{}", root.string(),
                     fmt::join(missing, ", "), expected_layout, other_forms(root));
  }
  const std::string type = model_type(folder.high_noise_model);
  if (const std::string low_type = model_type(folder.low_noise_model); low_type != type) {
    fail<UsageError>(
        "{}: high_noise_model is of type {}, low_noise_model of type {}; they are of two checkpoints",
        root.string(), type, low_type);
  }
  const TaskKind kind = type == "i2v" ? TaskKind::i2v : TaskKind::t2v;
  folder.task = {.kind = kind, .name = type + "-A14B", .defaults = default_parameters(kind)};
  return folder;
}

}  // namespace wan::checkpoint
