#include "lora/lora_set.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <map>
#include <system_error>
#include <utility>

#include "checkpoint/noise_name.h"
#include "core/check.h"
#include "core/checksum.h"

namespace wan::lora {
namespace {

namespace fs = std::filesystem;

/// The files of a folder of Wan2.2-Lightning, as it is downloaded.
constexpr std::array<std::pair<std::string_view, LoraExperts>, 2> folder_files{
    {{"high_noise_model.safetensors", LoraExperts::high_noise},
     {"low_noise_model.safetensors", LoraExperts::low_noise}}};

std::string_view expert_name(LoraExperts experts) {
  return experts == LoraExperts::high_noise ? "high-noise" : "low-noise";
}

void add_folder(const LoraChoice& choice, const model::ModelKind& kind, LoraSet& loras) {
  for (const auto& [name, experts] : folder_files) {
    std::error_code unreadable;
    if (fs::exists(choice.path / name, unreadable)) continue;
    fail<UsageError>(
        "setting 'LoRA' {}: the folder has no {}; a folder holds one LoRA for each expert, in {} and {}. "
        "Name a "
        "single LoRA by its file",
        choice.path.string(), name, folder_files[0].first, folder_files[1].first);
  }
  if (kind.has_one_expert()) {
    fail<UsageError>(
        "setting 'LoRA' {}: the folder holds LoRAs for two experts, and {} has one; name one of its files",
        choice.path.string(), kind.task);
  }
  for (const auto& [name, experts] : folder_files) {
    const bool is_wanted = choice.experts == LoraExperts::automatic || choice.experts == LoraExperts::both ||
                           choice.experts == experts;
    if (is_wanted)
      loras.push_back({.file = choice.path / name, .strength = choice.strength, .experts = experts});
  }
}

/// The experts of a file for a model with two.
LoraExperts experts_of(const LoraChoice& choice, std::vector<std::string>& notes) {
  const checkpoint::Noise noise = checkpoint::noise_in_name(choice.path.stem());
  const LoraExperts named = noise == checkpoint::Noise::high  ? LoraExperts::high_noise
                            : noise == checkpoint::Noise::low ? LoraExperts::low_noise
                                                              : LoraExperts::both;
  if (noise == checkpoint::Noise::unknown)
    return choice.experts == LoraExperts::automatic ? LoraExperts::both : choice.experts;
  const std::string file = choice.path.filename().string();
  if (choice.experts == LoraExperts::automatic) {
    notes.push_back(fmt::format(
        "LoRA {}: its name says that it is for the {} expert, so it changes that one only (FILE@both: both)",
        file, expert_name(named)));
    return named;
  }
  if (choice.experts != named && choice.experts != LoraExperts::both) {
    notes.push_back(fmt::format("LoRA {}: it is given for the {} expert, and its name says the {} one", file,
                                expert_name(choice.experts), expert_name(named)));
  }
  return choice.experts;
}

std::string experts_text(const Lora& lora, std::span<const Expert> experts) {
  if (experts.size() == 1) return "";
  if (lora.experts == LoraExperts::both) return ", both experts";
  return fmt::format(", {} expert", expert_name(lora.experts));
}

LoraSummary inspect(const Lora& lora, const checkpoint::TransformerConfig& config,
                    std::span<const Expert> experts, bool reads_values) {
  const LoraFile file(lora.file, config);
  if (experts.size() == 1 && file.names_second_expert()) {
    fail<UsageError>(
        "{}: names of its tensors begin with 'transformer_2.', so they are of a second expert, and the model "
        "has one",
        lora.file.string());
  }
  if (reads_values) file.check_values();
  std::string counts;
  std::size_t all = 0;
  for (const Expert expert : experts) {
    const std::size_t count = file.changes(expert, lora.experts).size();
    counts += fmt::format("{}{}", counts.empty() ? "" : " + ", count);
    all += count;
  }
  if (all == 0) {
    fail<UsageError>(
        "{}: none of its tensors is for the expert that it is given for; names that begin with "
        "'transformer_2.' are "
        "of the low-noise expert",
        lora.file.string());
  }
  const std::string skipped =
      file.skipped_keys() > 0 ? fmt::format(", {} keys left out", file.skipped_keys()) : "";
  LoraSummary summary{
      .line = fmt::format("LoRA {}: {}{}, strength {}: {} tensors changed{}", lora.file.string(),
                          file.dialect(), experts_text(lora, experts), lora.strength, counts, skipped),
      .notes = {}};
  for (const std::string& note : file.notes())
    summary.notes.push_back(fmt::format("LoRA {}: {}", lora.file.filename().string(), note));
  return summary;
}

}  // namespace

LoraSet resolve_loras(std::span<const LoraChoice> choices, const model::ModelKind& kind,
                      std::vector<std::string>& notes) {
  LoraSet loras;
  for (const LoraChoice& choice : choices) {
    if (kind.has_one_expert() && choice.experts != LoraExperts::automatic &&
        choice.experts != LoraExperts::both) {
      fail<UsageError>("setting 'LoRA' {}: {} has one expert; leave '@{}' out", choice.path.string(),
                       kind.task, to_string(choice.experts));
    }
    std::error_code unreadable;
    if (fs::is_directory(choice.path, unreadable)) {
      add_folder(choice, kind, loras);
      continue;
    }
    loras.push_back({.file = choice.path,
                     .strength = choice.strength,
                     .experts = kind.has_one_expert() ? LoraExperts::both : experts_of(choice, notes)});
  }
  return loras;
}

void take_checksums(std::span<LoraSet> sets) {
  std::map<fs::path, std::string> sums;
  for (const LoraSet& set : sets)
    for (const Lora& lora : set) sums.try_emplace(lora.file);
  std::vector<std::pair<const fs::path, std::string>*> files;
  files.reserve(sums.size());
  for (auto& file : sums) files.push_back(&file);
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++)
      files[i]->second = sha256_file_hex(files[i]->first);
  };
  constexpr std::size_t most_threads = 4;  // beside those that read weights
  std::vector<std::future<void>> workers;
  for (std::size_t i = 0; i < std::min(most_threads, files.size()); ++i)
    workers.push_back(std::async(std::launch::async, work));
  try {
    for (std::future<void>& worker : workers) worker.get();
  } catch (const Error& error) {
    fail<UsageError>("cannot use the LoRA: {}", error.what());
  }
  for (LoraSet& set : sets)
    for (Lora& lora : set) lora.sha256 = sums.at(lora.file);
}

std::string identity_text(const LoraSet& loras) {
  std::string text;
  for (const Lora& lora : loras)
    text += fmt::format(", LoRA {} x {} on {}", lora.sha256, lora.strength, to_string(lora.experts));
  return text;
}

std::vector<LoraSummary> inspect_loras(const LoraSet& loras, const checkpoint::TransformerConfig& config,
                                       std::span<const Expert> experts, bool reads_values) {
  std::vector<LoraSummary> summaries;
  summaries.reserve(loras.size());
  for (const Lora& lora : loras) summaries.push_back(inspect(lora, config, experts, reads_values));
  return summaries;
}

}  // namespace wan::lora
