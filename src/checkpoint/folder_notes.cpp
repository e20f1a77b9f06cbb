#include "checkpoint/folder_notes.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <string_view>
#include <system_error>

#include "checkpoint/checkpoint.h"
#include "checkpoint/shard_index.h"
#include "checkpoint/tensor_file.h"
#include "core/check.h"
#include "model/model_kind.h"

namespace wan::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view index_name = "diffusion_pytorch_model.safetensors.index.json";
constexpr std::string_view expert_stem = "diffusion_pytorch_model";  // names of an expert's files begin so
constexpr std::string_view single_name = "diffusion_pytorch_model.safetensors";

/// Names of the regular files in a folder. Empty if the folder cannot be read.
std::set<std::string> files_of(const fs::path& folder) {
  constexpr std::size_t most = 10'000;
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    std::error_code unreadable;
    if (names.size() < most && at->is_regular_file(unreadable)) names.insert(at->path().filename().string());
  }
  return names;
}

bool holds_weights(const std::string& name) {
  constexpr std::array<std::string_view, 6> endings{".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".gguf"};
  return std::ranges::any_of(endings, [&](std::string_view ending) { return name.ends_with(ending); });
}

/// The weight files of a part that a run reads, by their names in its folder.
std::vector<std::string> used_files(const fs::path& part) {
  std::error_code unreadable;
  if (!fs::is_directory(part, unreadable)) return {part.filename().string()};
  const fs::path entry_file = part_entry_file(part);
  if (entry_file.extension() == ".json") return read_shard_index(entry_file).shards();
  return {entry_file.filename().string()};
}

/// The folder in which a part's files lie.
fs::path folder_of(const fs::path& part) {
  std::error_code unreadable;
  return fs::is_directory(part, unreadable) ? part : part.parent_path();
}

/// Whether a file in the checkpoint's root is a part in whose place the user named another.
bool is_replaced(const std::string& name, const CheckpointFolder& folder) {
  const model::ModelKind& kind = model::model_kind(folder.task.name);
  if (name == kind.vae_file || name == kind.text_encoder_file || name == kind.image_encoder_file) return true;
  const fs::path& expert = folder.experts.front().path;
  return kind.has_one_expert() && name.starts_with(expert_stem) && expert != folder.root &&
         expert != folder.root / "transformer";
}

void note_unused(const fs::path& place, const CheckpointFolder& folder, const std::vector<std::string>& used,
                 std::vector<std::string>& notes) {
  for (const std::string& name : files_of(place)) {
    if (!holds_weights(name) || std::ranges::find(used, name) != used.end()) continue;
    const std::string shown = in_quotes((place / name).lexically_relative(folder.root).string());
    if (place == folder.root && is_replaced(name, folder)) {
      notes.push_back(fmt::format("not used: {}; another file was named in its place", shown));
    } else if (name == single_name) {
      notes.push_back(fmt::format("not used: {}; the files that {} lists are read", shown, index_name));
    } else {
      notes.push_back(fmt::format(
          "not used: {}; it does not belong to the checkpoint (a LoRA is given by its own option)", shown));
    }
  }
}

/// Whether two files are the same file, or agree in size and in all sampled bytes.
bool are_alike(const fs::path& a, const fs::path& b) {
  constexpr std::uint64_t samples = 16;
  constexpr std::uint64_t sample_bytes = 64 << 10;
  std::error_code error;
  if (fs::equivalent(a, b, error)) return true;
  const UniqueFd first = open_checkpoint_file(a);
  const UniqueFd second = open_checkpoint_file(b);
  const std::uint64_t size = file_size_bytes(first, a);
  if (size != file_size_bytes(second, b)) return false;
  std::vector<std::byte> of_first(std::min(size, sample_bytes));
  std::vector<std::byte> of_second(of_first.size());
  for (std::uint64_t i = 0; i < samples; ++i) {
    const std::uint64_t at = (size - of_first.size()) * i / (samples - 1);
    read_at(first, a, at, of_first);
    read_at(second, b, at, of_second);
    if (of_first != of_second) return false;
  }
  return true;
}

bool same_weights(const fs::path& folder, const std::vector<std::string>& files, const fs::path& other,
                  const std::vector<std::string>& other_files) {
  if (files.size() != other_files.size()) return false;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const fs::path a = folder / files[i];
    const fs::path b = other / other_files[i];
    std::error_code unreadable;
    if (!fs::is_regular_file(a, unreadable) || !fs::is_regular_file(b, unreadable))
      return false;  // another check reports it
    if (!are_alike(a, b)) return false;
  }
  return true;
}

}  // namespace

std::vector<std::string> folder_notes(const CheckpointFolder& folder) {
  std::vector<std::string> notes;
  std::vector<std::string> used_in_root{folder.text_encoder.filename().string(),
                                        folder.vae.filename().string(),
                                        folder.image_encoder.filename().string()};
  for (const ExpertFolder& expert : folder.experts) {
    if (expert.path == folder.root)
      std::ranges::copy(used_files(expert.path), std::back_inserter(used_in_root));
  }
  if (!folder.lies_apart) note_unused(folder.root, folder, used_in_root, notes);
  const ExpertFolder* before = nullptr;
  std::vector<std::string> files_before;
  for (const ExpertFolder& expert : folder.experts) {
    const std::vector<std::string> files = used_files(expert.path);
    std::error_code unreadable;
    const bool has_folder = fs::is_directory(expert.path, unreadable) && expert.path != folder.root;
    if (has_folder && !folder.lies_apart) note_unused(expert.path, folder, files, notes);
    if (before != nullptr &&
        same_weights(folder_of(before->path), files_before, folder_of(expert.path), files)) {
      notes.push_back(
          fmt::format("{} and {} contain the same weights, but the official checkpoints have {} different "
                      "experts. Was one of "
                      "them copied to both places?",
                      before->name(), expert.name(), folder.experts.size()));
    }
    before = &expert;
    files_before = files;
  }
  return notes;
}

std::string widened_note(const CheckpointFolder& folder) {
  std::vector<std::pair<Part, fs::path>> parts;
  parts.reserve(folder.experts.size() + 3);
  for (const ExpertFolder& expert : folder.experts) parts.emplace_back(Part::transformer, expert.path);
  parts.emplace_back(Part::text_encoder, folder.text_encoder);
  parts.emplace_back(Part::vae, folder.vae);
  if (!folder.image_encoder.empty()) parts.emplace_back(Part::image_encoder, folder.image_encoder);
  std::string names;
  for (const auto& [part, path] : parts) {
    const Checkpoint weights = Checkpoint::open_part(part, path);
    const auto is_widened = [](const auto& item) { return is_fp8(item.second.dtype); };
    if (std::ranges::any_of(weights.entries(), is_widened))
      names += (names.empty() ? "" : ", ") + path.filename().string();
  }
  return names.empty() ? names : "fp8 widened to bf16: " + names;
}

std::uintmax_t parts_bytes(const CheckpointFolder& folder) {
  std::uintmax_t bytes = 0;
  const auto add = [&bytes](const fs::path& file) {
    std::error_code error;
    const std::uintmax_t size = fs::file_size(file, error);
    if (!error) bytes += size;
  };
  const auto add_folder = [&](const fs::path& part) {
    for (const std::string& name : files_of(part)) add(part / name);
  };
  for (const ExpertFolder& expert : folder.experts) {
    if (expert.path == folder.root) {
      for (const std::string& name : files_of(expert.path))
        if (name == "config.json" || name.starts_with("diffusion_pytorch_model")) add(expert.path / name);
    } else if (std::error_code error; !fs::is_directory(expert.path, error)) {
      add(expert.path);
    } else {
      add_folder(expert.path);
    }
  }
  add_folder(folder.tokenizer);
  for (const fs::path& part : {folder.text_encoder, folder.vae, folder.image_encoder}) {
    std::error_code error;
    if (fs::is_directory(part, error)) {
      add_folder(part);
    } else if (!part.empty()) {
      add(part);
    }
  }
  return bytes;
}

}  // namespace wan::checkpoint
