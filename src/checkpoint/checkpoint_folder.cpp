#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
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
#include "model/model_kind.h"

namespace wan::checkpoint {
namespace {

constexpr std::uint64_t max_config_bytes = 1 << 20;

/// The parts of a checkpoint of this kind, one on each line, for a message.
std::string expected_layout(const model::ModelKind& kind) {
  std::string text;
  if (kind.has_one_expert()) text = "  config.json, diffusion_pytorch_model*.safetensors (and .index.json)\n";
  for (const model::ExpertKind& expert : kind.experts) {
    if (expert.folder.empty()) continue;
    text += fmt::format(
        "  {:<18} {}\n", std::string(expert.folder) + "/",
        text.empty() ? "config.json, diffusion_pytorch_model*.safetensors (and .index.json)" : "the same");
  }
  if (kind.has_image_encoder()) text += fmt::format("  {}   or .safetensors\n", kind.image_encoder_file);
  return text + fmt::format("  {}\n  {}\n  {}/   tokenizer files", kind.text_encoder_file, kind.vae_file,
                            kind.tokenizer_folder);
}

bool is_file(const std::filesystem::path& path) {
  std::error_code unreadable;
  return std::filesystem::is_regular_file(path, unreadable);
}

bool is_folder(const std::filesystem::path& path) {
  std::error_code unreadable;
  return std::filesystem::is_directory(path, unreadable);
}

/// Names of an expert's missing files, relative to the checkpoint. Shards are checked when the expert is
/// opened.
std::vector<std::string> missing_of_expert(const ExpertFolder& expert) {
  const std::filesystem::path& folder = expert.path;
  const std::string name = expert.expert == Expert::single ? "" : expert.name() + "/";
  if (!is_folder(folder)) return {name + dangling_note(folder)};
  std::vector<std::string> missing;
  const auto missing_file = [&](const char* file) {
    return fmt::format("{}{}{}", name, file, dangling_note(folder / file));
  };
  if (!is_file(folder / "config.json")) missing.push_back(missing_file("config.json"));
  if (!is_file(folder / "diffusion_pytorch_model.safetensors.index.json") &&
      !is_file(folder / "diffusion_pytorch_model.safetensors")) {
    missing.push_back(missing_file("diffusion_pytorch_model.safetensors.index.json"));
  }
  return missing;
}

nlohmann::json supported_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  nlohmann::json config = read_json_object(path, max_config_bytes);
  refuse_unsupported_config(config, path);
  return config;
}

std::string model_type(const std::filesystem::path& folder) {
  return supported_config(folder).at("model_type").get<std::string>();
}

/// Whether a checkpoint's only transformer lies in its root.
bool has_transformer_in_root(const std::filesystem::path& root) {
  for (const model::ModelKind& kind : model::model_kinds()) {
    for (const model::ExpertKind& expert : kind.experts)
      if (!expert.folder.empty() && is_folder(root / expert.folder)) return false;
  }
  return is_file(root / "config.json");
}

/// The kind of a checkpoint with a transformer in its root: by the type and the width in config.json, and by
/// the wanted task where the width is of no official model.
const model::ModelKind& kind_in_root(const std::filesystem::path& root, std::string_view wanted_task) {
  const nlohmann::json config = supported_config(root);
  const auto type = config.at("model_type").get<std::string>();
  const auto width = config.find("dim");
  const bool has_width = width != config.end() && width->is_number_unsigned();
  const auto dim = has_width ? width->get<std::int64_t>() : std::int64_t{0};  // the weights are checked later
  const model::ModelKind* kind = model::find_single(type, dim);
  if (kind == nullptr) {
    fail<UsageError>(
        "{}: a transformer of model_type {} in the checkpoint's root; there is no supported task with one: "
        "this program supports {}",
        (root / "config.json").string(), in_quotes(type), model::known_tasks());
  }
  if (kind->official.dim == dim) return *kind;
  for (const model::ModelKind& other : model::model_kinds())
    if (other.task == wanted_task && model::have_same_files(*kind, other)) return other;
  return *kind;
}

/// The kind of a checkpoint, by the places of its files. Kinds with the same places and names are told apart
/// by the type in config.json.
const model::ModelKind& layout_of(const std::filesystem::path& root, std::string_view wanted_task) {
  return has_transformer_in_root(root) ? kind_in_root(root, wanted_task) : model::model_kinds().front();
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
      "\nIt contains {}: this program does not read parts in this form; use the official files, as "
      "jobs/model_cache.py download does",
      fmt::join(found, ", "));
}

/// The file of the image encoder: the official one, or one with the same name in safetensors.
std::filesystem::path find_image_encoder(const std::filesystem::path& root, const model::ModelKind& kind) {
  if (!kind.has_image_encoder()) return {};
  std::filesystem::path official = root / kind.image_encoder_file;
  std::filesystem::path other = official;
  other.replace_extension(".safetensors");
  return !is_file(official) && is_file(other) ? other : official;
}

}  // namespace

CheckpointFolder inspect_checkpoint(const std::filesystem::path& given, std::string_view wanted_task) {
  const std::filesystem::path root = locate_checkpoint(given);
  refuse_unsupported_folder(root);
  const model::ModelKind& layout = layout_of(root, wanted_task);
  CheckpointFolder folder{.root = root,
                          .experts = {},
                          .text_encoder = root / layout.text_encoder_file,
                          .vae = root / layout.vae_file,
                          .tokenizer = root / layout.tokenizer_folder,
                          .image_encoder = find_image_encoder(root, layout),
                          .task = {}};
  std::vector<std::string> missing;
  for (const model::ExpertKind& expert : layout.experts) {
    folder.experts.push_back(
        {.expert = expert.expert, .path = expert.folder.empty() ? root : root / expert.folder});
    std::ranges::move(missing_of_expert(folder.experts.back()), std::back_inserter(missing));
  }
  if (!is_file(folder.text_encoder))
    missing.push_back(folder.text_encoder.filename().string() + dangling_note(folder.text_encoder));
  if (!is_file(folder.vae)) missing.push_back(folder.vae.filename().string() + dangling_note(folder.vae));
  if (layout.has_image_encoder() && !is_file(folder.image_encoder)) {
    missing.push_back(folder.image_encoder.filename().string() + " (CLIP)" +
                      dangling_note(folder.image_encoder));
  }
  if (!is_folder(folder.tokenizer))
    missing.push_back(fmt::format("{}/{}", layout.tokenizer_folder, dangling_note(folder.tokenizer)));
  if (!missing.empty()) {
    fail<UsageError>("the checkpoint folder {} lacks {}. Expected in it:\n{}{}", root.string(),
                     fmt::join(missing, ", "), expected_layout(layout), other_forms(root));
  }
  folder.task = layout.as_task();
  if (layout.has_one_expert()) return folder;
  const ExpertFolder& first = folder.experts.front();
  const std::string type = model_type(first.path);
  for (const ExpertFolder& other : folder.experts) {
    if (const std::string other_type = model_type(other.path); other_type != type) {
      fail<UsageError>("{}: {} has type {}, {} has type {}; they belong to two checkpoints", root.string(),
                       first.name(), type, other.name(), other_type);
    }
  }
  folder.task = model::find_model_type(type)->as_task();  // model_type() refuses every other type
  return folder;
}

}  // namespace wan::checkpoint
