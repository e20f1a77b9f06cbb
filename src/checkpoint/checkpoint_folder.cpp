#include <fmt/ranges.h>

#include <array>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint_layout.h"
#include "checkpoint/file_kind.h"
#include "checkpoint/locate.h"
#include "checkpoint/lone_file.h"
#include "checkpoint/model_config.h"
#include "checkpoint/transformer_config_file.h"
#include "checkpoint/unsupported_model.h"
#include "core/check.h"
#include "core/setting_error.h"
#include "model/model_kind.h"

namespace wan::checkpoint {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code unreadable;
  return fs::is_regular_file(path, unreadable);
}

bool is_folder(const fs::path& path) {
  std::error_code unreadable;
  return fs::is_directory(path, unreadable);
}

/// A named part's path. Throws UsageError if nothing is there.
const fs::path& existing(const char* option, const fs::path& path) {
  if (!path.empty() && !is_file(path) && !is_folder(path)) {
    fail<UsageError>("{} {}: there is no such file or folder{}", option, path.string(), dangling_note(path));
  }
  return path;
}

void require_existing(const GivenParts& parts) {
  for (const auto& [option, path] :
       {std::pair{"setting 'model'", &parts.model},
        std::pair{"setting 'high-noise model'", &parts.high_noise_model},
        std::pair{"setting 'low-noise model'", &parts.low_noise_model},
        std::pair{"setting 'VAE'", &parts.vae}, std::pair{"setting 'text encoder'", &parts.text_encoder},
        std::pair{"setting 'image encoder'", &parts.image_encoder},
        std::pair{"setting 'tokenizer'", &parts.tokenizer}}) {
    existing(option, *path);
  }
}

/// Replaces the places of the parts that are named.
void put_given(const GivenParts& parts, const model::ModelKind& kind, CheckpointFolder& folder) {
  if (parts.has_experts()) {
    folder.experts.clear();
    for (const model::ExpertKind& expert : kind.experts) {
      const fs::path& place = expert.expert == Expert::single       ? parts.model
                              : expert.expert == Expert::high_noise ? parts.high_noise_model
                                                                    : parts.low_noise_model;
      folder.experts.push_back({.expert = expert.expert, .path = place});
    }
  }
  if (!parts.vae.empty()) folder.vae = parts.vae;
  if (!parts.text_encoder.empty()) folder.text_encoder = parts.text_encoder;
  if (!parts.tokenizer.empty())
    folder.tokenizer = is_file(parts.tokenizer) ? parts.tokenizer.parent_path() : parts.tokenizer;
  if (parts.image_encoder.empty()) return;
  if (!kind.has_image_encoder())
    fail<UsageError>("setting 'image encoder': {} has no image encoder; leave the option out", kind.task);
  folder.image_encoder = parts.image_encoder;
}

/// Throws unless every part of a model without a checkpoint folder is named.
void require_all_named(const CheckpointFolder& folder, const model::ModelKind& kind) {
  std::vector<std::string> missing;
  if (folder.text_encoder.empty()) missing.emplace_back("setting 'text encoder'");
  if (folder.vae.empty()) missing.emplace_back("setting 'VAE'");
  if (kind.has_image_encoder() && folder.image_encoder.empty())
    missing.emplace_back("setting 'image encoder'");
  if (folder.tokenizer.empty()) missing.emplace_back("setting 'tokenizer'");
  if (missing.empty()) return;
  fail<UsageError>(
      "{} needs {} as well, or setting 'checkpoint folder' with a folder that has the parts that are not "
      "named",
      kind.task, fmt::join(missing, ", "));
}

void require_parts(const CheckpointFolder& folder, const model::ModelKind& kind) {
  const std::vector<std::string> missing = missing_parts(folder, kind);
  if (missing.empty()) return;
  if (folder.lies_apart) {
    fail<UsageError>("parts of {} are missing: {}. Each must be a file of weights or a folder with one",
                     kind.task, fmt::join(missing, ", "));
  }
  const std::string loose = describe_loose_files(
      folder.root, {folder.text_encoder, folder.vae, folder.image_encoder,
                    folder.experts.front().path / "diffusion_pytorch_model.safetensors"});
  fail<UsageError>(
      "the checkpoint folder {} lacks {}. Expected in it:\n{}{}{}", folder.root.string(),
      fmt::join(missing, ", "), expected_layout(folder.root, kind),
      loose.empty() ? "" : "\nParts that lie elsewhere or have other names are named by options:", loose);
}

/// Type of an expert in a folder; empty for a lone file, whose kind was looked at before.
std::string type_of(const ExpertFolder& expert) {
  return is_file(expert.path) ? std::string()
                              : TransformerConfigFile(expert.path / "config.json").model_type();
}

/// The task of a checkpoint of two experts of one type. Throws UsageError if their types differ.
Task task_of_pair(const CheckpointFolder& folder, const model::ModelKind& kind) {
  const ExpertFolder& first = folder.experts.front();
  const std::string type = type_of(first);
  for (const ExpertFolder& other : folder.experts) {
    const std::string other_type = type_of(other);
    if (!type.empty() && !other_type.empty() && other_type != type) {
      fail<UsageError>("{}: {} has type {}, {} has type {}; they belong to two checkpoints",
                       folder.root.string(), first.name(), type, other.name(), other_type);
    }
  }
  if (type.empty() || folder.lies_apart) return kind.as_task();
  return model::find_model_type(type)->as_task();  // type_of() refuses every other type
}

}  // namespace

CheckpointFolder inspect_checkpoint(const fs::path& given, const GivenParts& parts,
                                    std::string_view wanted_task) {
  check_given_experts(parts);
  require_existing(parts);
  fs::path root;
  if (!given.empty()) {
    root = locate_checkpoint(given);
    refuse_unsupported_folder(root);
  } else if (!parts.has_experts()) {
    fail<UsageError>(
        "no model is named: give setting 'checkpoint folder', setting 'model', or setting 'high-noise model' "
        "and setting 'low-noise model'");
  }
  const bool is_pair = parts.model.empty();
  const model::ModelKind& kind =
      parts.has_experts()
          ? kind_of_expert(is_pair ? parts.high_noise_model : parts.model, is_pair, wanted_task)
          : kind_in_folder(root, wanted_task);
  CheckpointFolder folder;
  if (!root.empty()) folder = places_in(root, kind);
  put_given(parts, kind, folder);
  if (root.empty()) {
    folder.lies_apart = true;
    folder.root = fs::absolute(folder.experts.front().path).parent_path();
    require_all_named(folder, kind);
  }
  require_parts(folder, kind);
  folder.task = kind.has_one_expert() ? kind.as_task() : task_of_pair(folder, kind);
  return folder;
}

CheckpointFolder inspect_checkpoint(const fs::path& given, std::string_view wanted_task) {
  return inspect_checkpoint(given, GivenParts{}, wanted_task);
}

}  // namespace wan::checkpoint
