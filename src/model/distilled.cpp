#include "model/distilled.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <span>
#include <vector>

#include "core/printable.h"

namespace wan::model {
namespace {

namespace fs = std::filesystem;

/// The runs of letters and digits, in small letters.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words{""};
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0) {
      words.back().push_back(static_cast<char>(std::tolower(byte)));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  return words;
}

bool is_one_of(std::string_view word, std::span<const std::string_view> known) {
  return std::ranges::find(known, word) != known.end();
}

/// Whether every model has a file or folder of this name, so that it says nothing of one.
bool is_common_name(std::string_view stem) {
  constexpr std::array<std::string_view, 2> starts{"diffusion_pytorch_model", "model-"};
  constexpr std::array<std::string_view, 6> names{"high_noise_model", "low_noise_model", "model",
                                                  "transformer",      "transformer_2",   "adapter_model"};
  return is_one_of(stem, names) ||
         std::ranges::any_of(starts, [&](std::string_view start) { return stem.starts_with(start); });
}

}  // namespace

bool is_distilled_name(std::string_view name) {
  constexpr std::array<std::string_view, 4> alone{"4step", "4steps", "lightning", "stepdistill"};
  constexpr std::array<std::string_view, 2> steps{"step", "steps"};
  constexpr std::array<std::string_view, 2> distill{"distill", "distilled"};
  std::string before;
  for (const std::string& word : words_of(name)) {
    if (is_one_of(word, alone)) return true;
    if (before == "4" && is_one_of(word, steps)) return true;
    if (before == "step" && is_one_of(word, distill)) return true;
    before = word;
  }
  return false;
}

std::string distilled_name_in(const fs::path& path) {
  if (path.empty()) return {};
  const fs::path own = path.has_filename() ? path : path.parent_path();
  const auto named = [](const fs::path& place) {
    const std::string name = place.filename().string();
    return is_distilled_name(name) ? name : std::string();
  };
  if (std::string name = named(own); !name.empty()) return name;
  const fs::path folder = own.parent_path();
  if (folder.filename() == "snapshots") return named(folder.parent_path());  // models--ORG--NAME
  return is_common_name(own.stem().string()) ? named(folder) : std::string();
}

std::string distilled_entry_in(const std::map<std::string, std::string>& metadata) {
  constexpr std::array<std::string_view, 5> naming{"modelspec.title", "ss_output_name", "title", "name",
                                                   "model_name"};
  for (const std::string_view key : naming) {
    const auto found = metadata.find(std::string(key));
    if (found != metadata.end() && is_distilled_name(found->second))
      return fmt::format("{}: {}", key, printable(found->second, 80));
  }
  return {};
}

TaskDefaults distilled_defaults(TaskDefaults base) {
  base.sample_steps = 4;
  base.solver = Solver::euler;
  base.sample_shift = 5.0;
  base.sample_shift_480p.reset();
  base.guide_scale = {.low_noise = 1.0, .high_noise = 1.0};
  return base;
}

std::string describe_sampling(const TaskDefaults& defaults) {
  const GuideScale& guide = defaults.guide_scale;
  const std::string scale = guide.low_noise == guide.high_noise
                                ? fmt::format("{}", guide.low_noise)
                                : fmt::format("{}:{}", guide.low_noise, guide.high_noise);
  return fmt::format("{} step{}, {}, shift {}, guidance {}", defaults.sample_steps,
                     defaults.sample_steps == 1 ? "" : "s", to_string(defaults.solver), defaults.sample_shift,
                     scale);
}

}  // namespace wan::model
