#include "batch/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/strings.h"
#include "store/stop_file.h"

namespace wan::batch {
namespace {

constexpr std::size_t max_id_columns = 40;

/// The items to show, in the manifest's order. If not all can be shown, failures and open ones come first.
std::vector<const ItemOutcome*> choose(std::span<const ItemOutcome> outcomes, std::size_t max_lines) {
  std::vector<const ItemOutcome*> shown;
  for (const ItemOutcome& outcome : outcomes) shown.push_back(&outcome);
  if (shown.size() <= max_lines) return shown;
  // NOLINTNEXTLINE(modernize-use-ranges): Clang 14 refuses the subrange of std::ranges
  std::stable_partition(shown.begin(), shown.end(), [](const ItemOutcome* o) {
    return o->status == ItemStatus::failed || o->status == ItemStatus::open;
  });
  shown.resize(max_lines);
  return shown;
}

std::string status_text(const ItemOutcome& outcome) {
  if (outcome.status == ItemStatus::open) return "open";
  if (outcome.of_this_run || outcome.status == ItemStatus::drafted)
    return std::string(to_string(outcome.status));
  return outcome.status == ItemStatus::done ? "kept" : "failed before";
}

std::string item_line(const ItemOutcome& outcome, std::size_t id_columns) {
  const std::string id = printable(outcome.id, id_columns);
  if (outcome.status == ItemStatus::open || outcome.status == ItemStatus::failed) {
    const std::string reason = outcome.stage.empty()
                                   ? printable(outcome.holder)
                                   : fmt::format("{}: {}", outcome.stage, printable(outcome.message));
    return fmt::format("{:<{}}  {:<13}  {}\n", id, id_columns, status_text(outcome), reason);
  }
  constexpr double short_step_s = 0.1;
  return fmt::format("{:<{}}  {:<13}  {:>9}  {:>6}  {:>5}  {:>9.1f}  {:>8.{}f}\n", id, id_columns,
                     status_text(outcome), fmt::format("{}*{}", outcome.size.width, outcome.size.height),
                     outcome.frames, outcome.steps, outcome.seconds, outcome.median_step_s,
                     outcome.median_step_s < short_step_s ? 4 : 2);
}

std::string count_line(const RunCounts& counts) {
  std::string text = fmt::format("{} of {} done", counts.made + counts.kept, counts.rows());
  if (counts.kept > 0) text += fmt::format(" ({} from before)", counts.kept);
  if (const auto failed = counts.failed + counts.failed_before; failed > 0)
    text += fmt::format(", {} failed", failed);
  if (counts.drafted > 0) text += fmt::format(", {} drafted", counts.drafted);
  if (counts.open > 0) text += fmt::format(", {} open", counts.open);
  return text + "\n";
}

std::string hints(std::span<const ItemOutcome> outcomes, const RunCounts& counts,
                  const std::filesystem::path& output_folder, const SettingNames& names) {
  std::string text;
  if (const auto failed = counts.failed + counts.failed_before; failed > 0) {
    const auto has_record = [](const ItemOutcome& o) {
      return o.status == ItemStatus::failed && o.stage != conflict_stage;
    };
    const auto first = std::ranges::find_if(outcomes, has_record);
    if (first != outcomes.end()) {
      const std::string path = (output_folder / fmt::format("{}.failed.json", first->id)).string();
      text +=
          fmt::format("{} failed: see {}{}; run again with {}\n", std::ranges::count_if(outcomes, has_record),
                      printable(path), failed > 1 ? " and the like" : "", names.retry_failed);
    }
  }
  if (counts.drafted > 0) {
    text += fmt::format(
        "{} drafted: look at {}, write the ids to go on with to a file, and run again with {} FILE in place "
        "of "
        "the draft's options\n",
        counts.drafted, printable((output_folder / "*.draft.mp4").string()), names.continue_chosen);
  }
  const auto held = std::ranges::find_if(outcomes, [](const ItemOutcome& o) { return !o.holder.empty(); });
  if (!counts.problem.empty()) {
    text += fmt::format(
        "{} open, because nothing could be written any more: {}\nmake room or mend the storage, and run the "
        "same command again: what is done is kept, and items go on from their saved states\n",
        counts.open, printable(counts.problem));
  } else if (counts.stopped && counts.open > 0) {
    const std::string first =
        counts.stop_cause == StopCause::stop_file
            ? fmt::format("remove {} and ", printable(store::stop_file(output_folder).string()))
            : "";
    text += fmt::format("stopped early with {} open: {}run the same command again to go on\n", counts.open,
                        first);
  } else if (counts.open > counts.held) {
    text += fmt::format("{} open and nobody works on {}: run the same command again\n",
                        counts.open - counts.held, counts.open - counts.held == 1 ? "it" : "them");
  }
  if (held != outcomes.end()) {
    text += fmt::format("{} open: another job is working on {} ({}); see {}\n", counts.held,
                        counts.held == 1 ? "it" : "them", held->holder,
                        printable((output_folder / ".claims").string()));
  }
  return text;
}

}  // namespace

std::string format_summary(std::span<const ItemOutcome> outcomes, const RunCounts& counts,
                           const std::filesystem::path& output_folder, const SettingNames& names,
                           std::size_t max_lines) {
  const std::vector<const ItemOutcome*> shown = choose(outcomes, max_lines);
  std::size_t id_columns = 2;
  for (const ItemOutcome* outcome : shown) {
    id_columns = std::max(id_columns, std::min(outcome->id.size(), max_id_columns));
  }
  std::string text = fmt::format("{:<{}}  {:<13}  {:>9}  {:>6}  {:>5}  {:>9}  {:>8}\n", "id", id_columns,
                                 "status", "size", "frames", "steps", "seconds", "s/step");
  for (const ItemOutcome* outcome : shown) text += item_line(*outcome, id_columns);
  if (shown.size() < outcomes.size())
    text += fmt::format("... and {} more\n", outcomes.size() - shown.size());
  return text + count_line(counts) + hints(outcomes, counts, output_folder, names);
}

}  // namespace wan::batch
