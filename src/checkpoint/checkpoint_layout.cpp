#include "checkpoint/checkpoint_layout.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>

#include "checkpoint/file_kind.h"
#include "checkpoint/json_file.h"
#include "checkpoint/tensor_file.h"
#include "checkpoint/transformer_config_file.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view weights_files =
    "config.json, diffusion_pytorch_model*.safetensors (and .index.json)";

bool is_file(const fs::path& path) {
  std::error_code unreadable;
  return fs::is_regular_file(path, unreadable);
}

bool is_folder(const fs::path& path) {
  std::error_code unreadable;
  return fs::is_directory(path, unreadable);
}

bool has_expert_folders(const fs::path& root) {
  for (const model::ModelKind& kind : model::model_kinds()) {
    for (const model::ExpertKind& expert : kind.experts)
      if (!expert.folder.empty() && is_folder(root / expert.folder)) return true;
  }
  return false;
}

/// Whether a checkpoint's only transformer lies in its root.
bool has_transformer_in_root(const fs::path& root) {
  return !has_expert_folders(root) && is_file(root / "config.json");
}

/// The kind with one expert of this type and width, or the wanted one where the width is of no official
/// model.
const model::ModelKind& single_kind(const std::string& type, std::int64_t dim, std::string_view wanted_task,
                                    const fs::path& where) {
  const model::ModelKind* kind = model::find_single(type, dim);
  if (kind == nullptr) {
    fail<UsageError>(
        "{}: the checkpoint's root has a transformer of model_type {}, and no supported task has one there; "
        "this program supports {}",
        where.string(), in_quotes(type), model::known_tasks());
  }
  if (kind->official.dim == dim) return *kind;
  for (const model::ModelKind& other : model::model_kinds())
    if (other.task == wanted_task && model::have_same_files(*kind, other)) return other;
  return *kind;
}

/// The type and the width of a transformer.
struct Traits {
  std::string type;
  std::int64_t dim = 0;  ///< 0: not known; the weights are checked later
  bool has_image_branch = false;
};

Traits traits_of(const fs::path& expert) {
  if (is_file(expert)) {
    const Checkpoint weights = Checkpoint::open_part(Part::transformer, expert);
    const TransformerConfig config = read_transformer_config(expert, weights);
    return {.type = config.model_type, .dim = config.dim, .has_image_branch = config.image_dim > 0};
  }
  const TransformerConfigFile config(expert / "config.json");
  return {.type = config.model_type(), .dim = config.contains("dim") ? config.size("dim") : 0};
}

/// model_index.json of a Diffusers repository; null if it has none.
nlohmann::json model_index(const fs::path& root) {
  constexpr std::uint64_t max_index_bytes = 1 << 20;
  const fs::path path = root / "model_index.json";
  if (!is_file(path)) return {};
  nlohmann::json index = read_json_object(path, max_index_bytes);
  constexpr std::array<std::string_view, 3> known{"WanPipeline", "WanImageToVideoPipeline",
                                                  "WanVideoToVideoPipeline"};
  const nlohmann::json name = index.value("_class_name", nlohmann::json());
  if (!name.is_string() || std::ranges::find(known, name.get_ref<const std::string&>()) == known.end()) {
    fail<UsageError>(
        "{}: _class_name is {}; expected 'WanPipeline' or 'WanImageToVideoPipeline': the repository holds "
        "another model. This program supports {}",
        path.string(), in_quotes(name.dump()), model::known_tasks());
  }
  return index;
}

/// Whether a repository has this network, as its index says, or else its folders.
bool has_component(const fs::path& root, const nlohmann::json& index, const char* name) {
  const auto found = index.find(name);
  if (!index.is_object() || found == index.end()) return is_folder(root / name);
  return found->is_array() && !found->empty() && !found->front().is_null();
}

const model::ModelKind& kind_of_repository(const fs::path& root, std::string_view wanted_task) {
  const nlohmann::json index = model_index(root);
  const fs::path transformer = root / "transformer";
  if (!is_file(transformer / "config.json")) {
    fail<UsageError>("the Diffusers repository {} lacks transformer/config.json{}: fetch it again",
                     root.string(), dangling_note(transformer / "config.json"));
  }
  return kind_of_expert(transformer, has_component(root, index, "transformer_2"), wanted_task);
}

/// The part's file of the official name, or one with the same name in safetensors.
fs::path official_or_safetensors(const fs::path& official) {
  fs::path other = official;
  other.replace_extension(".safetensors");
  return !is_file(official) && is_file(other) ? other : official;
}

/// Names of an expert's missing files, relative to the checkpoint. Shards are checked when the expert is
/// opened.
std::vector<std::string> missing_of_expert(const fs::path& root, const ExpertFolder& expert) {
  const fs::path& place = expert.path;
  if (is_file(place)) return {};
  const std::string name = place == root ? "" : place.filename().string() + "/";
  if (!is_folder(place)) return {name + dangling_note(place)};
  std::vector<std::string> missing;
  const auto missing_file = [&](const char* file) {
    return fmt::format("{}{}{}", name, file, dangling_note(place / file));
  };
  if (!is_file(place / "config.json")) missing.push_back(missing_file("config.json"));
  if (part_entry_file(place).empty())
    missing.push_back(missing_file("diffusion_pytorch_model.safetensors.index.json"));
  return missing;
}

bool has_weights(const fs::path& place) {
  return is_file(place) || (is_folder(place) && !part_entry_file(place).empty());
}

}  // namespace

bool is_diffusers_repository(const fs::path& root) {
  if (has_expert_folders(root)) return false;
  return is_file(root / "model_index.json") || is_file(root / "transformer" / "config.json");
}

const model::ModelKind& kind_of_expert(const fs::path& expert, bool is_pair, std::string_view wanted_task) {
  const Traits traits = traits_of(expert);
  if (!is_pair) return single_kind(traits.type, traits.dim, wanted_task, expert);
  const auto has_two = [&](const model::ModelKind& kind) {
    return !kind.has_one_expert() && kind.model_type == traits.type;
  };
  const auto kind = std::ranges::find_if(model::model_kinds(), has_two);
  if (kind == model::model_kinds().end() || traits.has_image_branch) {
    fail<UsageError>(
        "{}: it is the transformer of {}, a model with one expert; give it alone, as setting 'model'",
        expert.string(), single_kind(traits.type, traits.dim, {}, expert).task);
  }
  return *kind;
}

const model::ModelKind& kind_in_folder(const fs::path& root, std::string_view wanted_task) {
  if (is_diffusers_repository(root)) return kind_of_repository(root, wanted_task);
  if (!has_transformer_in_root(root)) return model::model_kinds().front();
  const Traits traits = traits_of(root);
  return single_kind(traits.type, traits.dim, wanted_task, root / "config.json");
}

CheckpointFolder places_in(const fs::path& root, const model::ModelKind& kind) {
  CheckpointFolder folder;
  folder.root = root;
  if (is_diffusers_repository(root)) {
    for (const model::ExpertKind& expert : kind.experts) {
      const char* name = folder.experts.empty() ? "transformer" : "transformer_2";
      folder.experts.push_back({.expert = expert.expert, .path = root / name});
    }
    folder.text_encoder = root / "text_encoder";
    folder.vae = root / "vae";
    folder.tokenizer = root / "tokenizer";
    if (kind.has_image_encoder()) folder.image_encoder = root / "image_encoder";
    return folder;
  }
  for (const model::ExpertKind& expert : kind.experts) {
    folder.experts.push_back(
        {.expert = expert.expert, .path = expert.folder.empty() ? root : root / expert.folder});
  }
  folder.text_encoder = official_or_safetensors(root / kind.text_encoder_file);
  folder.vae = official_or_safetensors(root / kind.vae_file);
  folder.tokenizer = root / kind.tokenizer_folder;
  if (kind.has_image_encoder())
    folder.image_encoder = official_or_safetensors(root / kind.image_encoder_file);
  return folder;
}

std::vector<std::string> missing_parts(const CheckpointFolder& folder, const model::ModelKind& kind) {
  std::vector<std::string> missing;
  const auto name_of = [&](const fs::path& place) {
    const bool is_inside = place.parent_path() == folder.root;
    return (is_inside ? place.filename() : place).string();
  };
  for (const ExpertFolder& expert : folder.experts)
    std::ranges::move(missing_of_expert(folder.root, expert), std::back_inserter(missing));
  const auto look = [&](const fs::path& place, std::string_view file, const char* note) {
    if (has_weights(place)) return;
    const std::string inside = is_folder(place) ? fmt::format("/{}", file) : "";
    missing.push_back(name_of(place) + inside + note + dangling_note(inside.empty() ? place : place / file));
  };
  look(folder.text_encoder, "model.safetensors", "");
  look(folder.vae, "diffusion_pytorch_model.safetensors", "");
  if (kind.has_image_encoder()) look(folder.image_encoder, "model.safetensors", " (CLIP)");
  if (!is_folder(folder.tokenizer)) {
    const fs::path relative = folder.tokenizer.lexically_relative(folder.root);
    const bool is_inside = !relative.empty() && *relative.begin() != "..";
    missing.push_back(fmt::format("{}/{}", (is_inside ? relative : folder.tokenizer).string(),
                                  dangling_note(folder.tokenizer)));
  }
  return missing;
}

std::string expected_layout(const fs::path& root, const model::ModelKind& kind) {
  if (is_diffusers_repository(root)) {
    std::string text = fmt::format("  {:<15} {}\n", "transformer/", weights_files);
    if (!kind.has_one_expert()) text += fmt::format("  {:<15} the same\n", "transformer_2/");
    text += fmt::format("  {:<15} model*.safetensors (and .index.json)\n", "text_encoder/");
    if (kind.has_image_encoder()) text += fmt::format("  {:<15} model.safetensors\n", "image_encoder/");
    return text + fmt::format("  {:<15} diffusion_pytorch_model.safetensors\n  {:<15} tokenizer.json", "vae/",
                              "tokenizer/");
  }
  std::string text;
  if (kind.has_one_expert()) text = fmt::format("  {}\n", weights_files);
  for (const model::ExpertKind& expert : kind.experts) {
    if (expert.folder.empty()) continue;
    text += fmt::format("  {:<18} {}\n", std::string(expert.folder) + "/",
                        text.empty() ? weights_files : std::string_view("the same"));
  }
  if (kind.has_image_encoder()) text += fmt::format("  {}   or .safetensors\n", kind.image_encoder_file);
  return text + fmt::format("  {}   or .safetensors\n  {}   or .safetensors\n  {}/   tokenizer files",
                            kind.text_encoder_file, kind.vae_file, kind.tokenizer_folder);
}

}  // namespace wan::checkpoint
