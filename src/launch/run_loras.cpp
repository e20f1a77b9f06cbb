#include "launch/run_loras.h"

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "comm/first_message.h"
#include "core/check.h"
#include "core/checksum.h"
#include "core/printable.h"
#include "launch/agreement.h"
#include "launch/distilled_model.h"
#include "launch/option_names.h"
#include "model/distilled.h"
#include "model/model_kind.h"

namespace wan::launch {
namespace {

constexpr char between_errors = '\0';

using Choices = std::vector<LoraChoice>;

/// The set that the choices mean, without a place among those of the run.
RowLoras resolve(const Options& options, const RunInput& input, const Choices& choices) {
  RowLoras found;
  found.loras = lora::resolve_loras(choices, model::model_kind(input.checkpoint.task.name), found.notes);
  found.distilled = find_distilled_model(options, input.checkpoint, found.loras);
  return found;
}

void fail_row(manifest::ManifestRow& row, const std::string& message, const std::string& manifest) {
  row.error = manifest::with_place(ItemError("lora", message), row, manifest).what();
}

/// The set's index among those of the run.
int add_set(RowLoras set, std::vector<RowLoras>& sets) {
  const auto known = std::ranges::find(sets, set.loras, &RowLoras::loras);
  if (known != sets.end()) {
    known->is_of_rows = known->is_of_rows && set.is_of_rows;
    return static_cast<int>(known - sets.begin());
  }
  sets.push_back(std::move(set));
  return static_cast<int>(sets.size()) - 1;
}

/// Takes a distilled model's defaults for a row that neither gives its own values nor gets the command
/// line's.
void take_defaults(const TaskDefaults& defaults, const RequestOverrides& command_line,
                   RequestOverrides& row) {
  if (!row.sample_steps && !command_line.sample_steps) row.sample_steps = defaults.sample_steps;
  if (!row.solver && !command_line.solver) row.solver = defaults.solver;
  if (!row.sample_shift && !command_line.sample_shift) row.sample_shift = defaults.sample_shift;
  if (!row.guide_scale && !command_line.guide_scale) row.guide_scale = defaults.guide_scale;
}

/// The sets as this rank finds them.
void find_sets(const Options& options, RunInput& input) {
  input.lora_sets.clear();
  const Choices given = input.overrides.loras.value_or(Choices());
  std::vector<std::pair<Choices, int>> known;  // the set of choices; few are distinct
  std::vector<std::pair<Choices, std::string>> broken;
  for (manifest::ManifestRow& row : input.rows) {
    if (row.error) continue;
    const bool is_own = row.overrides.loras.has_value() && *row.overrides.loras != given;
    const Choices choices = row.overrides.loras.value_or(given);
    const auto same = [&](const auto& entry) { return entry.first == choices; };
    if (const auto found = std::ranges::find_if(known, same); found != known.end()) {
      row.lora_set = found->second;
      continue;
    }
    if (const auto found = std::ranges::find_if(broken, same); found != broken.end()) {
      fail_row(row, found->second, input.manifest_name);
      continue;
    }
    try {
      RowLoras set = resolve(options, input, choices);
      set.is_of_rows = is_own;
      row.lora_set = add_set(std::move(set), input.lora_sets);
      known.emplace_back(choices, row.lora_set);
    } catch (const UsageError& error) {
      if (!is_own) throw;
      broken.emplace_back(choices, with_options(error.what()));
      fail_row(row, broken.back().second, input.manifest_name);
    }
  }
  if (input.lora_sets.empty()) input.lora_sets.push_back(resolve(options, input, given));
}

/// Everything of a row that files on this rank's node have decided.
std::string describe(const manifest::ManifestRow& row, const RunInput& input) {
  if (row.error) return fmt::format("error: {}", *row.error);
  const RowLoras& set = input.lora_sets[static_cast<std::size_t>(row.lora_set)];
  std::string text = fmt::format("{} {}", row.image.string(), set.distilled.is_distilled);
  for (const lora::Lora& lora : set.loras)
    text += fmt::format("; {} {} {}", lora.file.string(), lora.strength, to_string(lora.experts));
  return text;
}

/// A file may lie on the disk of one node only. A row with an error on one rank, or for which a rank finds
/// other files than rank 0, gets the error of the lowest such rank on all. Returns whether there was one.
bool share_errors(comm::Communicator& world, RunInput& input) {
  if (world.size() == 1) return false;
  std::string sum;  // a chain, as a manifest may have a million rows
  for (const manifest::ManifestRow& row : input.rows)
    sum = sha256_hex(fmt::format("{}{}", sum, describe(row, input)));
  std::int64_t differs = on_rank_0(world, [&] { return sum; }) == sum ? 0 : 1;
  world.all_reduce(std::span(&differs, 1), comm::ReduceOp::max).wait();
  if (differs == 0) return false;
  std::string own;
  for (const manifest::ManifestRow& row : input.rows) own += describe(row, input) + between_errors;
  const std::string of_rank_0 = on_rank_0(world, [&] { return own; });
  std::vector<std::int64_t> has_error;
  std::size_t begin = 0;
  for (manifest::ManifestRow& row : input.rows) {
    const std::size_t end = of_rank_0.find(between_errors, begin);
    if (!row.error && describe(row, input) != of_rank_0.substr(begin, end - begin)) {
      fail_row(row, "rank 0 finds other files for it than this rank; every node must see the same ones",
               input.manifest_name);
    }
    begin = end + 1;
    has_error.push_back(row.error ? 1 : 0);
  }
  world.all_reduce(std::span(has_error), comm::ReduceOp::max).wait();
  for (std::size_t row = 0; row < input.rows.size(); ++row) {
    if (has_error[row] == 0) continue;
    std::optional<std::string>& error = input.rows[row].error;
    input.rows[row].lora_set = 0;
    const auto said = comm::first_message(world, error);
    error = said->rank == 0 ? said->text : fmt::format("{} (rank {})", said->text, said->rank);
  }
  return true;
}

/// The run's model is distilled if each set says so. Else rows of a set that says so get its defaults.
void find_defaults(RunInput& input) {
  TaskDefaults& defaults = input.checkpoint.task.defaults;
  const auto is_distilled = [](const RowLoras& set) { return set.distilled.is_distilled; };
  input.distilled = input.lora_sets.front().distilled;
  if (std::ranges::all_of(input.lora_sets, is_distilled)) {
    defaults = model::distilled_defaults(defaults);
    return;
  }
  const auto noted =
      std::ranges::find_if(input.lora_sets, [](const RowLoras& set) { return !set.distilled.note.empty(); });
  input.distilled = {.is_distilled = false,
                     .rule = "",
                     .note = noted == input.lora_sets.end() ? std::string() : noted->distilled.note};
  const TaskDefaults distilled = model::distilled_defaults(defaults);
  for (manifest::ManifestRow& row : input.rows) {
    if (!row.error && is_distilled(input.lora_sets[static_cast<std::size_t>(row.lora_set)]))
      take_defaults(distilled, input.overrides, row.overrides);
  }
}

/// The error of each set, empty if it has none, and the notes on each file.
std::vector<std::string> inspect(const RunInput& input, const checkpoint::TransformerConfig& transformer,
                                 bool reads_values, LoraNotes& notes) {
  std::vector<Expert> experts;
  for (const model::ExpertKind& expert : model::model_kind(input.checkpoint.task.name).experts)
    experts.push_back(expert.expert);
  std::map<std::pair<std::filesystem::path, LoraExperts>, std::string> known;  // errors of files
  std::vector<std::string> errors;
  for (const RowLoras& set : input.lora_sets) {
    std::string& error = errors.emplace_back();
    for (const lora::Lora& one : set.loras) {
      const auto [found, is_new] = known.try_emplace({one.file, one.experts});
      if (is_new) {
        try {
          for (lora::LoraSummary& summary :
               lora::inspect_loras({one}, transformer, experts, reads_values || set.is_of_rows)) {
            notes.lines.push_back(std::move(summary.line));
            std::ranges::move(summary.notes, std::back_inserter(notes.warnings));
          }
        } catch (const UsageError& problem) {
          if (!set.is_of_rows) throw UsageError(fmt::format("{} (--lora)", problem.what()));
          found->second = problem.what();
        }
      }
      if (!found->second.empty() && !set.is_of_rows)
        throw UsageError(fmt::format("{} (--lora)", found->second));
      if (error.empty()) error = found->second;
    }
  }
  return errors;
}

}  // namespace

void find_lora_sets(comm::Communicator& world, const Options& options, RunInput& input) {
  agree(world, [&] { find_sets(options, input); });
  if (share_errors(world, input)) agree(world, [&] { find_sets(options, input); });
  find_defaults(input);
}

LoraNotes check_loras(comm::Communicator& world, const checkpoint::TransformerConfig& transformer,
                      bool reads_values, RunInput& input) {
  LoraNotes notes;
  const std::string all = on_rank_0(world, [&] {
    std::string text;
    for (const std::string& error : inspect(input, transformer, reads_values, notes))
      text += error + between_errors;
    return text;
  });
  std::size_t begin = 0;
  for (std::size_t set = 0; set < input.lora_sets.size(); ++set) {
    const std::size_t end = all.find(between_errors, begin);
    const std::string error = all.substr(begin, end - begin);
    begin = end + 1;
    if (error.empty()) continue;
    input.lora_sets[set].loras.clear();  // nobody asks for it any more
    for (manifest::ManifestRow& row : input.rows)
      if (!row.error && row.lora_set == static_cast<int>(set)) fail_row(row, error, input.manifest_name);
  }
  return notes;
}

int first_lora_set(const RunInput& input, std::int64_t group, std::int64_t groups) {
  std::vector<double> rows(input.lora_sets.size());
  for (const manifest::ManifestRow& row : input.rows)
    if (!row.error) ++rows[static_cast<std::size_t>(row.lora_set)];
  std::vector<double> holders(rows.size());
  std::size_t chosen = 0;
  for (std::int64_t each = 0; each <= std::min(group, groups - 1); ++each) {
    const auto rows_each = [&](std::size_t set) {
      return std::pair(rows[set] / (holders[set] + 1), -holders[set]);
    };
    for (std::size_t set = chosen = 0; set < rows.size(); ++set)
      if (rows_each(set) > rows_each(chosen)) chosen = set;
    ++holders[chosen];
  }
  return static_cast<int>(chosen);
}

}  // namespace wan::launch
