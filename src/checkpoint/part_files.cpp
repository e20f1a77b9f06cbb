#include <array>
#include <string_view>
#include <system_error>

#include "checkpoint/checkpoint.h"
#include "checkpoint/dialects/dialect.h"
#include "checkpoint/dialects/scales.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

/// Names of a part's file without its ending: Diffusers' for its own networks, transformers' for its.
constexpr std::array<std::string_view, 2> stems{"diffusion_pytorch_model", "model"};

bool is_there(const std::filesystem::path& path) {
  std::error_code unreadable;
  return std::filesystem::exists(path, unreadable);
}

}  // namespace

std::filesystem::path part_entry_file(const std::filesystem::path& folder) {
  for (const std::string_view stem : stems) {
    for (const std::string_view ending : {".safetensors.index.json", ".safetensors"}) {
      std::filesystem::path file = folder / (std::string(stem) + std::string(ending));
      if (is_there(file)) return file;
    }
  }
  return {};
}

Checkpoint Checkpoint::open_part(Part part, const std::filesystem::path& path) {
  std::error_code unreadable;
  Checkpoint checkpoint = std::filesystem::is_directory(path, unreadable) ? open_safetensors_folder(path)
                                                                          : open_weights_file(path);
  TensorEntries entries = without_prefix(std::move(checkpoint.entries_), path);
  refuse_other_contents(part, entries, path);
  checkpoint.entries_ = with_official_names(part, with_scales(std::move(entries), path), path);
  return checkpoint;
}

std::optional<Part> part_in(const std::filesystem::path& file) {
  const Checkpoint weights = Checkpoint::open_weights_file(file);
  const TensorEntries entries = without_prefix(TensorEntries(weights.entries()), file);
  const std::optional<Part> part = part_of(entries);
  refuse_other_contents(part.value_or(Part::transformer), entries, file);
  return part;
}

}  // namespace wan::checkpoint
