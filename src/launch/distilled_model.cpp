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

/// The files or folders of the experts as the user named them: one for each expert, or the checkpoint folder.
std::vector<fs::path> named_places(const Options& options) {
  const checkpoint::GivenParts& parts = options.parts;
  if (!parts.has_experts()) return {options.ckpt_dir};
  if (!parts.model.empty()) return {parts.model};
  return {parts.high_noise_model, parts.low_noise_model};
}

/// The first file of weights of an expert, if it has metadata at all.
fs::path file_with_metadata(const fs::path& expert) {
  std::error_code error;
  if (!fs::is_directory(expert, error)) return expert.extension() == ".safetensors" ? expert : fs::path();
  const fs::path entry = checkpoint::part_entry_file(expert);
  if (entry.extension() != ".json") return entry;
  const std::vector<std::string> shards = checkpoint::read_shard_index(entry).shards();
  return shards.empty() ? fs::path() : expert / shards.front();
}

/// For each place the sign that it is distilled, or an empty text.
template <typename Places, typename Find>
std::vector<std::string> signs_of(const Places& places, Find find) {
  std::vector<std::string> signs;
  std::ranges::transform(places, std::back_inserter(signs), find);
  return signs;
}

std::string sign_in_metadata(const checkpoint::ExpertFolder& expert) {
  const fs::path file = file_with_metadata(expert.path);
  if (file.empty()) return {};
  const std::string entry = model::distilled_entry_in(checkpoint::read_safetensors_metadata(file));
  return entry.empty() ? entry
                       : fmt::format("the metadata of {}, {}", printable(file.filename().string()), entry);
}

std::string sign_in_name(const fs::path& place) {
  const std::string name = model::distilled_name_in(place);
  return name.empty() ? name : fmt::format("the name {}", printable(name));
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
                              "one, --lightning off ends this warning",
                              *sign)};
}

std::string steps_text(std::int64_t rows, std::size_t of_rows) {
  if (of_rows == 1) return "the item takes";
  return fmt::format("{} of {} items take", rows, of_rows);
}

}  // namespace

DistilledModel find_distilled_model(const Options& options, const checkpoint::CheckpointFolder& checkpoint) {
  if (options.lightning == Switch::on) return {.is_distilled = true, .rule = "--lightning", .note = ""};
  if (options.lightning == Switch::off) return {};
  const DistilledModel by_metadata = judge(signs_of(checkpoint.experts, sign_in_metadata));
  if (by_metadata.is_distilled) return by_metadata;
  DistilledModel by_name = judge(signs_of(named_places(options), sign_in_name));
  if (by_name.note.empty() && !by_name.is_distilled) by_name.note = by_metadata.note;
  return by_name;
}

std::string describe_distilled_model(const RunInput& input) {
  if (!input.distilled.is_distilled) return {};
  return fmt::format("a distilled model by {}: {} where nothing else is given", input.distilled.rule,
                     model::describe_sampling(input.checkpoint.task.defaults));
}

std::string unusual_steps(const RunInput& input) {
  const bool is_distilled = input.distilled.is_distilled;
  std::int64_t unusual = 0;
  Request first;
  for (const manifest::ManifestRow& row : input.rows) {
    if (row.error) continue;
    const Request request = resolve_row(input, row);
    const GuideScale& guide = request.guide_scale;
    const bool is_guided_throughout = model::is_guided(guide.low_noise) && model::is_guided(guide.high_noise);
    const bool is_unusual = is_distilled ? request.sample_steps > most_distilled_steps || is_guided_throughout
                                         : request.sample_steps < fewest_base_steps;
    if (is_unusual && unusual++ == 0) first = request;
  }
  if (unusual == 0) return {};
  TaskDefaults taken;
  taken.sample_steps = first.sample_steps;
  taken.solver = first.solver;
  taken.sample_shift = first.sample_shift;
  taken.guide_scale = first.guide_scale;
  const std::string text =
      fmt::format("{} {}", steps_text(unusual, input.rows.size()), model::describe_sampling(taken));
  if (is_distilled) {
    return fmt::format("{}, but the model is distilled by {}: it is made for {}", text, input.distilled.rule,
                       model::describe_sampling(input.checkpoint.task.defaults));
  }
  return fmt::format(
      "{}, but nothing says that the model is distilled: it is made for {}; if it is distilled, "
      "give --lightning",
      text, model::describe_sampling(input.checkpoint.task.defaults));
}

}  // namespace wan::launch
