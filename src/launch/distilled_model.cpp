#include "launch/distilled_model.h"

#include <algorithm>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shard_index.h"
#include "core/printable.h"
#include "model/distilled.h"
#include "model/guidance.h"
#include "model/model_kind.h"

namespace wan::launch {
namespace {

namespace fs = std::filesystem;

constexpr int most_distilled_steps = 16;  // distilled models are made for 4, and some for 8
constexpr int fewest_base_steps = 9;

/// The file or folder of an expert as the user named it: its own, or the checkpoint folder.
const fs::path& named_place(const Options& options, Expert expert) {
  const checkpoint::GivenParts& parts = options.parts;
  if (!parts.has_experts()) return options.ckpt_dir;
  if (!parts.model.empty()) return parts.model;
  return expert == Expert::low_noise ? parts.low_noise_model : parts.high_noise_model;
}

bool is_for(const lora::Lora& lora, Expert expert) {
  if (expert == Expert::single || lora.experts == LoraExperts::both) return true;
  return (lora.experts == LoraExperts::high_noise) == (expert == Expert::high_noise);
}

/// The first file of weights of an expert, if it has metadata at all.
fs::path file_with_metadata(const fs::path& expert) {
  std::error_code error;
  if (!fs::is_directory(expert, error)) return expert.extension() == ".safetensors" ? expert : fs::path();
  fs::path entry = checkpoint::part_entry_file(expert);
  if (entry.extension() != ".json") return entry;
  const std::vector<std::string> shards = checkpoint::read_shard_index(entry).shards();
  return shards.empty() ? fs::path() : expert / shards.front();
}

std::string sign_in_metadata(const fs::path& place) {
  const fs::path file = file_with_metadata(place);
  if (file.empty()) return {};
  const std::string entry = model::distilled_entry_in(checkpoint::read_safetensors_metadata(file));
  return entry.empty() ? entry
                       : fmt::format("the metadata of {}, {}", printable(file.filename().string()), entry);
}

std::string sign_in_name(const fs::path& place) {
  const std::string name = model::distilled_name_in(place);
  return name.empty() ? name : fmt::format("the name {}", printable(name));
}

/// The sign that an expert is distilled: of its own place, or of a LoRA for it; empty if there is none.
std::string sign_of(Expert expert, const fs::path& place, const lora::LoraSet& loras,
                    std::string (*find)(const fs::path&)) {
  std::string sign = find(place);
  for (const lora::Lora& lora : loras)
    if (sign.empty() && is_for(lora, expert)) sign = find(lora.file);
  return sign;
}

/// Distilled if the signs are there for all experts; a note if they are there for one of two.
DistilledModel judge(const std::vector<std::string>& signs) {
  const auto is_sign = [](const std::string& sign) { return !sign.empty(); };
  const auto sign = std::ranges::find_if(signs, is_sign);
  if (sign == signs.end()) return {};
  if (std::ranges::all_of(signs, is_sign)) return {.is_distilled = true, .rule = *sign, .note = ""};
  return {.is_distilled = false,
          .rule = "",
          .note = fmt::format("{} says that one expert is distilled, and nothing says it of the other: the "
                              "defaults stay those of the base model; --lightning takes those of a distilled "
                              "one, --lightning=off ends this warning",
                              *sign)};
}

/// The model with a row's LoRAs.
const DistilledModel& distilled_for(const RunInput& input, const manifest::ManifestRow& row) {
  const bool is_known = static_cast<std::size_t>(row.lora_set) < input.lora_sets.size();
  return is_known ? input.lora_sets[static_cast<std::size_t>(row.lora_set)].distilled : input.distilled;
}

std::string steps_text(std::int64_t rows, std::size_t of_rows) {
  if (of_rows == 1) return "the item takes";
  return fmt::format("{} of {} items take", rows, of_rows);
}

}  // namespace

DistilledModel find_distilled_model(const Options& options, const checkpoint::CheckpointFolder& checkpoint,
                                    const lora::LoraSet& loras) {
  if (options.lightning == Switch::on) return {.is_distilled = true, .rule = "--lightning", .note = ""};
  if (options.lightning == Switch::off) return {};
  std::vector<std::string> in_metadata;
  std::vector<std::string> in_names;
  for (const checkpoint::ExpertFolder& expert : checkpoint.experts) {
    in_metadata.push_back(sign_of(expert.expert, expert.path, loras, sign_in_metadata));
    in_names.push_back(sign_of(expert.expert, named_place(options, expert.expert), loras, sign_in_name));
  }
  DistilledModel by_metadata = judge(in_metadata);
  if (by_metadata.is_distilled) return by_metadata;
  DistilledModel by_name = judge(in_names);
  if (by_name.note.empty() && !by_name.is_distilled) by_name.note = by_metadata.note;
  return by_name;
}

std::string describe_distilled_model(const RunInput& input) {
  if (input.distilled.is_distilled) {
    return fmt::format("a distilled model by {}: {} where nothing else is given", input.distilled.rule,
                       model::describe_sampling(input.checkpoint.task.defaults));
  }
  std::int64_t rows = 0;
  const DistilledModel* first = nullptr;
  for (const manifest::ManifestRow& row : input.rows) {
    if (row.error || !distilled_for(input, row).is_distilled) continue;
    if (rows++ == 0) first = &distilled_for(input, row);
  }
  if (first == nullptr) return {};
  return fmt::format("{} of {} items have LoRAs of a distilled model, by {}: {} where nothing else is given",
                     rows, input.rows.size(), first->rule,
                     model::describe_sampling(model::distilled_defaults(input.checkpoint.task.defaults)));
}

std::string unusual_steps(const RunInput& input) {
  std::int64_t unusual = 0;
  Request first;
  const DistilledModel* model = nullptr;  // of the first
  for (const manifest::ManifestRow& row : input.rows) {
    if (row.error) continue;
    const Request request = resolve_row(input, row);
    const GuideScale& guide = request.guide_scale;
    const bool is_guided_throughout = model::is_guided(guide.low_noise) && model::is_guided(guide.high_noise);
    const bool is_unusual = distilled_for(input, row).is_distilled
                                ? request.sample_steps > most_distilled_steps || is_guided_throughout
                                : request.sample_steps < fewest_base_steps;
    if (!is_unusual) continue;
    if (unusual == 0) first = request;
    if (unusual == 0) model = &distilled_for(input, row);
    if (distilled_for(input, row).is_distilled == model->is_distilled) ++unusual;
  }
  if (unusual == 0) return {};
  TaskDefaults taken;
  taken.sample_steps = first.sample_steps;
  taken.solver = first.solver;
  taken.sample_shift = first.sample_shift;
  taken.guide_scale = first.guide_scale;
  const std::string text =
      fmt::format("{} {}", steps_text(unusual, input.rows.size()), model::describe_sampling(taken));
  const TaskDefaults& defaults = input.checkpoint.task.defaults;
  if (model->is_distilled) {
    return fmt::format("{}, but the model is distilled by {}: it is made for {}", text, model->rule,
                       model::describe_sampling(
                           input.distilled.is_distilled ? defaults : model::distilled_defaults(defaults)));
  }
  return fmt::format(
      "{}, but nothing says that the model is distilled: it is made for {}; if it is distilled, "
      "give --lightning",
      text, model::describe_sampling(defaults));
}

}  // namespace wan::launch
