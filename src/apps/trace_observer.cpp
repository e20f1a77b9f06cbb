#include "apps/trace_observer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <utility>

#include "core/check.h"
#include "core/utc_time.h"
#include "engine/validate.h"
#include "parallel/weight_placement.h"
#include "trace/trace_index.h"
#include "wan/storage_error.h"

namespace wan::apps {
namespace {

trace::RunAttributes run_attributes(const TraceRun& run) {
  trace::RunAttributes attributes = program_attributes(run.device);
  attributes.insert({{"format", trace::format_number},
                     {"program", run.program},
                     {"run", run.run},
                     {"started", run.started},
                     {"host", run.host},
                     {"task", run.task},
                     {"layout", run.layout},
                     {"group", std::int64_t{run.group_index}},
                     {"groups", std::int64_t{run.group_count}},
                     {"ranks", std::int64_t{run.ranks}},
                     {"world_ranks", std::int64_t{run.world_ranks}},
                     {"command", fmt::format("{}", fmt::join(run.arguments, " "))}});
  return attributes;
}

bool is_of_run(const std::string& phase) {
  constexpr std::array<std::string_view, 5> of_run{"start_up", "load", "join", "idle", "finish"};
  return std::ranges::find(of_run, phase) != of_run.end();
}

/// The layout as a group's own is written: "cfg2 x ulysses2, fsdp4, one expert on the host".
std::string item_layout(const StretchEvent& stretch, std::size_t experts) {
  std::string text = stretch.layout;
  constexpr std::string_view sharded = "sharded over ";
  if (stretch.placement.starts_with(sharded)) {
    const std::string parts = stretch.placement.substr(sharded.size());
    text += ", fsdp" + parts.substr(0, parts.find(','));
  }
  parallel::NetworkPlacement placement;
  if (stretch.placement.ends_with("offloaded")) placement.residence = parallel::Residence::waits_on_host;
  if (stretch.placement.ends_with("in turns")) placement.residence = parallel::Residence::takes_turns;
  const std::string residence = parallel::describe_residence(placement, static_cast<int>(experts));
  return residence.empty() ? text : text + ", " + residence;
}

std::string outcome_text(batch::ItemStatus status) {
  return status == batch::ItemStatus::open ? "stopped" : std::string(batch::to_string(status));
}

/// The message of `problem`, and whether the storage is at fault.
std::pair<std::string, bool> describe(const std::exception_ptr& problem) {
  try {
    std::rethrow_exception(problem);
  } catch (const StorageError& error) {
    return {error.what(), true};
  } catch (const std::exception& error) {
    return {error.what(), false};
  }
}

}  // namespace

TraceObserver::TraceObserver(const TraceRun& run, const Stopwatch& clock)
    : log_(run.log),
      clock_(clock),
      kind_(*run.kind),
      layout_(run.layout),
      world_rank_(run.world_rank),
      first_rank_(run.group_index * run.ranks),
      ranks_(run.ranks),
      fps_(run.fps),
      warm_up_steps_(run.warm_up_steps),
      publishes_(run.program == "wan_batch"),
      ledger_(run.world_rank) {
  const std::filesystem::path folder = run.index.parent_path() / run.index.stem();
  const std::filesystem::path file = folder / fmt::format("{}-g{:02}.h5", run.run, run.group_index);
  try {
    if (const std::string problem = trace::in_the_way_of_trace(run.index); !problem.empty())
      fail("{}", problem);
    std::filesystem::create_directories(folder);
    std::string no_lock;
    const trace::TraceWriter::Options options{
        .clock = &clock_, .when_made = [&] { no_lock = trace::add_to_index(run.index, file); }};
    writer_ = std::make_unique<trace::TraceWriter>(file, run_attributes(run), options);
    if (!no_lock.empty() && run.group_index == 0) {
      log_->warn(
          "{}; the index of traces is made without a lock. Mount the file system with locks (Lustre: flock) "
          "if jobs that start in one folder in the same second lose each other's traces",
          no_lock);
    }
  } catch (const std::exception& error) {
    // No item has begun, so a wrong place for the trace is a matter of configuration.
    fail<UsageError>("the trace cannot be written: {}; choose another place with --trace", error.what());
  }
}

template <typename Write>
void TraceObserver::guarded(Write&& write) {
  if (!writer_) return;
  write(*writer_);
  warn_once();
}

void TraceObserver::warn_once() {
  if (const std::exception_ptr problem = writer_->problem(); problem && !has_warned_of_end_) {
    has_warned_of_end_ = true;
    log_->warn("the trace ends here: {}", describe(problem).first);
  }
  if (writer_->dropped_rows() > 0 && !has_warned_of_drops_) {
    has_warned_of_drops_ = true;
    log_->warn(
        "the trace's disk is too slow: rows of the trace are dropped, and counted in its table /drops; "
        "choose "
        "a faster place with --trace");
  }
}

std::string TraceObserver::storage_problem() const {
  const std::exception_ptr problem = writer_ ? writer_->problem() : nullptr;
  if (!problem) return {};
  const auto [message, is_of_storage] = describe(problem);
  return is_of_storage ? message : std::string();
}

void TraceObserver::begin(std::span<const RankReport> reports) {
  for (const RankReport& report : reports) {
    const trace::RankRecord rank = report.rank_record();
    guarded([&](trace::TraceWriter& writer) { writer.add_ranks(std::span(&rank, 1)); });
  }
  add_reports(reports);
}

void TraceObserver::add_reports(std::span<const RankReport> reports) {
  for (const RankReport& report : reports) {
    const trace::ClockRecord clock = report.clock_record();
    const std::vector<trace::PhaseRecord> phases = report.phase_records();
    ledger_.set_clock(report.world_rank, clock.offset_s);
    for (const trace::PhaseRecord& phase : phases) ledger_.add_phase(phase.event, /*is_of_item=*/false);
    guarded([&](trace::TraceWriter& writer) {
      writer.add_clocks(std::span(&clock, 1));
      writer.add_phases(phases);
    });
  }
}

void TraceObserver::add_account(const display::RunAccount& account, std::span<const display::Note> notes) {
  std::vector<trace::AccountRecord> rows;
  for (int rank = first_rank_; rank < first_rank_ + ranks_; ++rank) {
    const display::RankTimes& times = account.ranks.at(static_cast<std::size_t>(rank));
    for (std::size_t i = 0; i < times.size(); ++i) {
      rows.push_back({.world_rank = rank,
                      .name = std::string(display::to_string(static_cast<display::TimeName>(i))),
                      .calls = times[i].calls,
                      .wall_s = times[i].seconds});
    }
  }
  std::vector<trace::NoteRecord> written;
  for (const display::Note& note : notes)
    written.push_back({.kind = note.kind, .text = note.text, .share = note.share, .gain = note.gain});
  guarded([&](trace::TraceWriter& writer) {
    writer.add_account(rows);
    if (first_rank_ == 0) writer.add_notes(written);
    writer.add_attributes({{"items_made", account.sums.items},
                           {"idle_share", account.idle_share()},
                           {"items_per_rank_hour", account.items_per_rank_hour()},
                           {"video_s_per_rank_hour", account.video_s_per_rank_hour()},
                           {"wh_per_item", account.wh_per_item()}});
  });
}

void TraceObserver::end(const std::string& exit_reason) {
  guarded([&](trace::TraceWriter& writer) {
    writer.add_attributes({{"ended", utc_text_us(std::chrono::system_clock::now())},
                           {"ended_s", clock_.elapsed_s()},
                           {"exit_reason", exit_reason},
                           {"dropped_rows", writer.dropped_rows()}});
    writer.close();
  });
  writer_.reset();
}

trace::PhaseRecord TraceObserver::record_of(const PhaseEvent& event) {
  ledger_.add_phase(event, !is_of_run(event.phase));
  if (is_of_run(event.phase)) return {.item = -1, .event = event};
  if (event.world_rank == world_rank_)
    current_.last_phase_end_s = std::max(current_.last_phase_end_s, event.start_s + event.wall_s);
  return {.item = current_.item, .event = event};
}

void TraceObserver::on_phase(const PhaseEvent& event) {
  const trace::PhaseRecord record = record_of(event);
  guarded([&](trace::TraceWriter& writer) { writer.add_phases(std::span(&record, 1)); });
}

void TraceObserver::on_rank_phases(std::span<const PhaseEvent> events) {
  std::vector<trace::PhaseRecord> records;
  for (const PhaseEvent& event : events) {
    if (event.wall_s > 0) records.push_back(record_of(event));
  }
  guarded([&](trace::TraceWriter& writer) { writer.add_phases(records); });
}

std::string TraceObserver::conditions_of(const StretchEvent& stretch) const {
  return fmt::format("{}x{}x{} by ranks {}+{}, {}", current_.record.size.width, current_.record.size.height,
                     current_.record.frames, stretch.first_rank, stretch.ranks, stretch.placement);
}

void TraceObserver::on_stretch(const StretchEvent& stretch) {
  if (stretch.team_width != current_.team_width) begin_team_row(stretch);
  guarded([&](trace::TraceWriter& writer) {
    current_.stretch = writer.begin_stretch({.item = current_.item, .event = stretch});
  });
  current_.steps_done = stretch.first_step;
  std::string conditions = conditions_of(stretch);
  current_.next_is_warm_up = conditions != conditions_;
  conditions_ = std::move(conditions);
}

/// A stretch of the item made by a team of another width has a row of its own.
void TraceObserver::begin_team_row(const StretchEvent& stretch) {
  guarded([&](trace::TraceWriter& writer) {
    writer.end_item({.item = current_.item,
                     .time_s = current_.last_phase_end_s >= 0 ? current_.last_phase_end_s : stretch.start_s,
                     .outcome = "handed over",
                     .steps_done = stretch.first_step});
    current_.team_width = stretch.team_width;
    current_.record.layout = item_layout(stretch, kind_.experts.size());
    current_.item = writer.begin_item(current_.record);
  });
  ledger_.begin_item();
}

void TraceObserver::on_step(const StepEvent& event) {
  ledger_.add_step(event);
  const bool is_warm_up = warm_up_steps_ ? event.step < *warm_up_steps_ : current_.next_is_warm_up;
  step_.push_back({.item = current_.item,
                   .stretch = current_.stretch,
                   .warm_up = static_cast<std::int8_t>(is_warm_up ? 1 : 0),
                   .event = event});
  if (step_.size() < static_cast<std::size_t>(event.group_ranks)) return;
  guarded([&](trace::TraceWriter& writer) { writer.add_steps(step_); });
  step_.clear();
  current_.next_is_warm_up = false;
  current_.steps_done = std::max(current_.steps_done, event.step + 1);
}

void TraceObserver::on_samples(std::span<const DeviceSample> samples) {
  ledger_.add_samples(samples);
  guarded([&](trace::TraceWriter& writer) { writer.add_samples(samples); });
}

void TraceObserver::on_item_start(const batch::ItemStart& start) {
  PixelSize size = start.request.size;
  try {
    size = engine::video_size(start.request, kind_);
  } catch (const ItemError&) {
    // The engine finds the same problem and reports it. The trace keeps the size that was asked for.
    size = start.request.size;
  }
  step_.clear();
  current_ = {.record = {.id = start.request.id,
                         .seed = start.request.seed,
                         .size = size,
                         .frames = start.request.frame_num,
                         .steps = start.request.sample_steps,
                         .layout = layout_}};
  guarded([&](trace::TraceWriter& writer) { current_.item = writer.begin_item(current_.record); });
  ledger_.begin_item();
}

void TraceObserver::count_video(const batch::ItemOutcome& outcome) {
  const bool has_video =
      outcome.status == batch::ItemStatus::done || outcome.status == batch::ItemStatus::drafted;
  if (publishes_ && has_video) ledger_.add_video(static_cast<double>(outcome.frames) / fps_);
}

void TraceObserver::on_writing(const std::string& id) {
  step_.clear();
  if (current_.record.id == id) written_.insert_or_assign(id, std::exchange(current_, {}));
}

/// The later steps have a row of their own.
void TraceObserver::on_item_waits(const std::string& id) {
  step_.clear();
  if (current_.record.id != id) return;
  const Current item = std::exchange(current_, {});
  guarded([&](trace::TraceWriter& writer) {
    writer.end_item({.item = item.item,
                     .time_s = item.last_phase_end_s >= 0 ? item.last_phase_end_s : clock_.elapsed_s(),
                     .outcome = "handed over",
                     .steps_done = item.steps_done});
  });
}

/// The phases of the threads that wrote the item.
void TraceObserver::end_written_item(const Current& item, const batch::ItemOutcome& outcome) {
  const double now_s = clock_.elapsed_s();
  const auto now = std::chrono::steady_clock::now();
  const auto seconds_at = [&](std::chrono::steady_clock::time_point time) {
    return now_s - std::chrono::duration<double>(now - time).count();
  };
  std::vector<trace::PhaseRecord> phases;
  double end_s = item.last_phase_end_s;
  for (const batch::BackgroundPhase& phase : outcome.background) {
    end_s = seconds_at(phase.end);
    phases.push_back({.item = item.item,
                      .event = {.phase = phase.phase,
                                .start_s = seconds_at(phase.begin),
                                .wall_s = end_s - seconds_at(phase.begin),
                                .world_rank = world_rank_,
                                .is_background = true}});
    ledger_.add_phase(phases.back().event, /*is_of_item=*/true);
  }
  guarded([&](trace::TraceWriter& writer) {
    writer.add_phases(phases);
    writer.end_item(
        {.item = item.item,
         .time_s = end_s >= 0 ? end_s : now_s,
         .outcome = outcome_text(outcome.status),
         .steps_done = outcome.status == batch::ItemStatus::drafted ? item.steps_done : item.record.steps});
  });
}

void TraceObserver::on_item_end(const batch::ItemOutcome& outcome) {
  count_video(outcome);
  if (const auto written = written_.find(outcome.id); written != written_.end()) {
    end_written_item(written->second, outcome);
    written_.erase(written);
    return;
  }
  step_.clear();
  if (current_.record.id != outcome.id) return;  // a row that was never begun
  const double now_s = clock_.elapsed_s();
  guarded([&](trace::TraceWriter& writer) {
    if (current_.last_phase_end_s >= 0 && publishes_) {
      const trace::PhaseRecord publish{.item = current_.item,
                                       .event = {.phase = "publish",
                                                 .start_s = current_.last_phase_end_s,
                                                 .wall_s = now_s - current_.last_phase_end_s,
                                                 .world_rank = world_rank_}};
      ledger_.add_phase(publish.event, /*is_of_item=*/true);
      writer.add_phases(std::span(&publish, 1));
    }
    writer.end_item({.item = current_.item,
                     .time_s = now_s,
                     .outcome = outcome_text(outcome.status),
                     .steps_done = outcome.status == batch::ItemStatus::done ? current_.record.steps
                                                                             : current_.steps_done});
  });
  current_ = {};
}

}  // namespace wan::apps
