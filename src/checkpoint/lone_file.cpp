#include "checkpoint/lone_file.h"

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>
#include <vector>

#include "checkpoint/dialects/dialect.h"
#include "checkpoint/locate.h"
#include "checkpoint/model_config.h"
#include "checkpoint/noise_name.h"
#include "core/setting_error.h"
#include "model/model_kind.h"

namespace wan::checkpoint {
namespace {

namespace fs = std::filesystem;

/// The ways in which a transformer in a file of its own may be meant, with the options for each.
std::string readings_of(const fs::path& file) {
  const Checkpoint weights = Checkpoint::open_part(Part::transformer, file);
  const TransformerConfig config = read_transformer_config(file, weights);
  const model::ModelKind& single = *model::find_single(config.model_type, config.dim);
  const auto is_pair = [&](const model::ModelKind& kind) {
    return !kind.has_one_expert() && kind.model_type == config.model_type && kind.official.dim == config.dim;
  };
  const auto pair = std::ranges::find_if(model::model_kinds(), is_pair);
  const std::string as_single = fmt::format("setting 'model' {}", file.string());
  const std::string as_pair = "setting 'high-noise model' FILE setting 'low-noise model' FILE";
  if (pair == model::model_kinds().end() || config.image_dim > 0)
    return fmt::format("the transformer of {}: {}", single.task, as_single);
  if (single.has_image_encoder()) return fmt::format("one of the two experts of {}: {}", pair->task, as_pair);
  return fmt::format(
      "either the transformer of {} (Wan 2.1): {}, or one of the two experts of {} (Wan 2.2): {}. Their "
      "tensors have equal names and shapes, so the file does not say which",
      single.task, as_single, pair->task, as_pair);
}

/// The part in a file and the option for it; empty if it holds no weights of a part.
std::string describe(const fs::path& file) {
  try {
    const std::optional<Part> part = part_in(file);
    if (!part) return {};
    if (*part == Part::transformer) return readings_of(file);
    return fmt::format("{}: {} {}", with_article(*part), setting_of(*part), file.string());
  } catch (const UsageError& error) {
    return error.what();
  }
}

bool holds_weights(const fs::path& file) {
  constexpr std::array<std::string_view, 6> endings{".safetensors", ".pth", ".pt", ".gguf", ".bin", ".ckpt"};
  const std::string name = file.filename().string();
  return std::ranges::any_of(endings, [&](std::string_view ending) { return name.ends_with(ending); });
}

}  // namespace

void refuse_lone_file(const fs::path& file) {
  const std::string what = describe(file);
  if (what.empty()) {
    fail_setting(folder_setting,
                 "{} is a file, and no part of a model that this program knows; give the folder "
                 "of a checkpoint",
                 file.string());
  }
  fail_setting(folder_setting,
               "{} is a file, but a checkpoint is a folder. Name a file by its own option. It is {}",
               file.string(), what);
}

std::string describe_loose_files(const fs::path& folder, const std::vector<fs::path>& used) {
  constexpr std::size_t most = 12;
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    std::error_code unreadable;
    if (files.size() < most && at->is_regular_file(unreadable) && holds_weights(at->path()) &&
        std::ranges::find(used, at->path()) == used.end())
      files.push_back(at->path());
  }
  std::ranges::sort(files);
  std::string text;
  for (const fs::path& file : files) {
    const std::string what = describe(file);
    if (!what.empty()) text += fmt::format("\n  {}: {}", in_quotes(file.filename().string()), what);
  }
  return text;
}

void check_given_experts(const GivenParts& parts) {
  const bool is_pair = !parts.high_noise_model.empty() || !parts.low_noise_model.empty();
  if (!parts.model.empty() && is_pair) {
    fail<UsageError>(
        "setting 'model' names the only expert of a model, setting 'high-noise model' and setting 'low-noise "
        "model' those of a model with two: give one or the other");
  }
  if (!is_pair) return;
  if (parts.high_noise_model.empty() || parts.low_noise_model.empty()) {
    const bool lacks_low = parts.low_noise_model.empty();
    fail<UsageError>(
        "{} is given without {}: a model with two experts needs both (one with one expert: setting 'model')",
        lacks_low ? "setting 'high-noise model'" : "setting 'low-noise model'",
        lacks_low ? "setting 'low-noise model'" : "setting 'high-noise model'");
  }
  const auto refuse = [](std::string_view option, const fs::path& path, std::string_view says) {
    fail<UsageError>(
        "{} {}: the name says that it is the {}-noise expert. Are the two swapped? If not, rename it", option,
        path.string(), says);
  };
  if (noise_in_name(parts.high_noise_model) == Noise::low)
    refuse("setting 'high-noise model'", parts.high_noise_model, "low");
  if (noise_in_name(parts.low_noise_model) == Noise::high)
    refuse("setting 'low-noise model'", parts.low_noise_model, "high");
  std::error_code error;
  if (fs::equivalent(parts.high_noise_model, parts.low_noise_model, error)) {
    fail<UsageError>(
        "setting 'high-noise model' and setting 'low-noise model' are the same, {}: the two experts differ",
        parts.high_noise_model.string());
  }
}

}  // namespace wan::checkpoint
