#include "batch/run_record.h"

#include <algorithm>
#include <array>
#include <exception>
#include <nlohmann/json.hpp>

#include "batch/item_deaths.h"
#include "comm/first_message.h"
#include "core/check.h"
#include "core/file.h"
#include "core/strings.h"
#include "store/abandoned.h"
#include "store/earlier.h"
#include "store/holders.h"
#include "store/saved_states.h"
#include "wan/version.h"

namespace wan::batch {

RunCounts count(std::span<const ItemOutcome> outcomes, bool stopped, StopCause stop_cause) {
  RunCounts counts;
  counts.stopped = stopped;
  if (stopped) counts.stop_cause = stop_cause;
  for (const ItemOutcome& outcome : outcomes) {
    switch (outcome.status) {
      case ItemStatus::done:
        ++(outcome.of_this_run ? counts.made : counts.kept);
        break;
      case ItemStatus::failed:
        ++(outcome.of_this_run ? counts.failed : counts.failed_before);
        break;
      case ItemStatus::drafted:
        ++counts.drafted;
        break;
      case ItemStatus::open:
        ++counts.open;
        if (!outcome.holder.empty()) ++counts.held;
        break;
    }
  }
  return counts;
}

ExitCode exit_code(const RunCounts& counts) {
  if (!counts.problem.empty()) return ExitCode::failure;
  if (counts.stopped && counts.open > 0) return ExitCode::stopped_early;
  if (counts.failed + counts.failed_before > 0) return ExitCode::some_failed;
  return counts.open > counts.held ? ExitCode::failure : ExitCode::done;
}

std::string_view exit_reason(const RunCounts& counts) {
  if (!counts.problem.empty()) return counts.problem;
  switch (exit_code(counts)) {
    case ExitCode::stopped_early:
      return counts.stop_cause == StopCause::stop_file
                 ? "stopped early by the file STOP: remove it and run again to go on"
                 : "stopped early: run again to go on";
    case ExitCode::some_failed:
      return "some items failed";
    case ExitCode::failure:
      return "items are left: run again to go on";
    default:
      return "done";
  }
}

std::string run_record(const RunCounts& counts, const RunContext& context) {
  const nlohmann::json fields{
      {"run", context.origin.run},
      {"version", version()},
      {"host", context.origin.host},
      {"job", context.job.id},
      {"manifest", context.origin.manifest},
      {"started", context.origin.started},
      {"ended", store::utc_now()},
      {"exit_code", static_cast<int>(exit_code(counts))},
      {"exit_reason", exit_reason(counts)},
      {"stopped_by", to_string(counts.stop_cause)},
      {"counts",
       {{"rows", counts.rows()},
        {"made", counts.made},
        {"kept", counts.kept},
        {"failed", counts.failed},
        {"failed_before", counts.failed_before},
        {"drafted", counts.drafted},
        {"open", counts.open},
        {"held_by_others", counts.held}}},
      {"steps_gained", counts.steps_gained},
  };
  return fields.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

namespace {

void write_run_record(const RunCounts& counts, const RunContext& context) {
  const std::string text = run_record(counts, context);
  const std::filesystem::path record = context.folder.path() / "run.json";
  context.folder.publish_text(record, text, random_token());
  store::remove_abandoned(context.folder, record, context.timing.stale_after);
  if (!context.run_record.empty()) write_file_atomically(context.run_record, text);
  if (!context.job_start.empty()) write_file_atomically(context.job_start.string() + ".run.json", text);
}

/// A run that was killed just after it finished an item leaves the item's state and its deaths behind.
void clear_states(std::span<const ItemOutcome> outcomes, const RunContext& context) {
  const store::SavedStates states(context.folder.states());
  const ItemDeaths deaths(context.folder.states());
  for (const ItemOutcome& outcome : outcomes) {
    if (outcome.status != ItemStatus::open) deaths.clear(outcome.id);
    if (outcome.status != ItemStatus::done) continue;
    if (states.has_record(outcome.id)) states.remove(outcome.id);
    store::remove_note(context.folder, outcome.id);
  }
}

/// Gathers from all groups, on every rank, whether a row's id belongs to another job. By row; empty if no row
/// has such an id.
std::vector<std::int64_t> gather_conflicts(comm::Communicator& world, const GroupCounts& mine,
                                           std::size_t rows) {
  std::array<std::int64_t, 1> count{std::ssize(mine.conflicts)};
  world.all_reduce(std::span<std::int64_t>(count), comm::ReduceOp::sum).wait();
  if (count[0] == 0) return {};
  std::vector<std::int64_t> marked(rows);
  for (const std::int64_t row : mine.conflicts) marked.at(static_cast<std::size_t>(row)) = 1;
  world.all_reduce(std::span(marked), comm::ReduceOp::max).wait();
  return marked;
}

/// Adds to open items what the first look at the folder does not show: another job has the id, another job
/// makes the item, or another job has finished it since.
void complete(std::vector<ItemOutcome>& outcomes, const std::vector<std::int64_t>& conflicts,
              std::span<const manifest::ManifestRow> rows, const RunContext& context, const Task& task) {
  const auto is_open = [](const ItemOutcome& outcome) { return outcome.status == ItemStatus::open; };
  if (std::ranges::none_of(outcomes, is_open)) return;
  for (std::size_t row = 0; row < outcomes.size(); ++row) {
    ItemOutcome& outcome = outcomes[row];
    if (!is_open(outcome)) continue;
    if (!conflicts.empty() && conflicts[row] != 0) {
      outcome.status = ItemStatus::failed;
      outcome.of_this_run = true;
      outcome.stage = conflict_stage;
      outcome.message = "another job made this id with other values; give the row another id";
      continue;
    }
    const auto holder = store::find_holder(context.folder.claims(), outcome.id, context.timing.stale_after);
    if (holder) {
      outcome.holder = *holder;
    } else {
      outcome = to_outcome(rows[row], look_up(rows[row], context, task, false), context.origin.run);
    }
  }
}

}  // namespace

RunResult finish_run(comm::Communicator& world, const GroupCounts& mine,
                     std::span<const manifest::ManifestRow> rows, const RunContext& context,
                     const Task& task) {
  std::array<std::int64_t, 2> stopped{mine.stopped ? 1 : 0, static_cast<std::int64_t>(mine.stop_cause)};
  world.all_reduce(std::span<std::int64_t>(stopped), comm::ReduceOp::max).wait();
  const auto stop_cause = stopped[0] != 0 ? static_cast<StopCause>(stopped[1]) : StopCause::none;
  std::array<std::int64_t, 1> steps_gained{mine.steps_gained};
  world.all_reduce(std::span<std::int64_t>(steps_gained), comm::ReduceOp::sum).wait();
  const auto problem =
      comm::first_message(world, mine.problem.empty() ? std::nullopt : std::optional(mine.problem));
  const std::vector<std::int64_t> conflicts = gather_conflicts(world, mine, rows.size());
  RunResult result;
  std::exception_ptr error;
  std::optional<std::string> record_problem;
  if (world.rank() == 0) {
    try {
      result.outcomes = survey(rows, context, task);
      complete(result.outcomes, conflicts, rows, context, task);
      result.counts = count(result.outcomes, stopped[0] != 0, stop_cause);
      result.counts.steps_gained = steps_gained[0];
      if (problem) result.counts.problem = problem->text;
      write_run_record(result.counts, context);
      clear_states(result.outcomes, context);
    } catch (const StorageError& storage) {
      record_problem = storage.what();
    } catch (...) {
      error = std::current_exception();
    }
  }
  // The others must learn of an error too, or they would wait for counts that never come.
  const RunCounts& own = result.counts;
  std::array<std::int64_t, 8> numbers{own.made, own.kept,      own.failed, own.failed_before,
                                      own.open, error ? 1 : 0, own.held,   own.drafted};
  world.broadcast(std::as_writable_bytes(std::span(numbers)), 0).wait();
  if (error) std::rethrow_exception(error);
  if (numbers[5] != 0) fail("rank 0 could not write the run's record; its message says why");
  const auto late_problem = comm::first_message(world, record_problem);
  result.counts = {.made = numbers[0],
                   .kept = numbers[1],
                   .failed = numbers[2],
                   .failed_before = numbers[3],
                   .drafted = numbers[7],
                   .open = numbers[4],
                   .held = numbers[6],
                   .steps_gained = steps_gained[0],
                   .stopped = stopped[0] != 0,
                   .stop_cause = stop_cause};
  if (problem) {
    result.counts.problem = problem->text;
  } else if (late_problem) {
    result.counts.problem = late_problem->text;
  }
  return result;
}

}  // namespace wan::batch
