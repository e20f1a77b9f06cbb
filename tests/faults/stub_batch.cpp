// wan_batch with a stub instead of the model. Manifest, claims, resume, sidecars, records and exit codes are
// the real ones, over real MPI ranks, without weights. The fault tests use it; `--help` lists the options.
#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <sstream>

#include "apps/program_main.h"
#include "batch/run_record.h"
#include "batch/runner.h"
#include "batch/summary.h"
#include "comm/mpi/mpi.h"
#include "comm/rank_grid.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/stop_signals.h"
#include "core/strings.h"
#include "display/progress.h"
#include "faults/stub_engine.h"
#include "launch/agreement.h"
#include "launch/control_groups.h"
#include "manifest/manifest.h"

namespace wan::faults {
namespace {

namespace po = boost::program_options;

struct Options {
  std::string manifest;
  std::string output_dir;
  int group_size = 1;
  int sample_steps = 4;
  double heartbeat_s = 0.05;
  double stale_after_s = 0.5;
  double collective_timeout_s = 20;
  double checkpoint_interval_s = 300;
  double time_limit_s = 0;  ///< 0: no limit
  int writers = 0;
  int draft_after = 0;  ///< 0: no drafts
  int items_in_turn = 0;
  bool save_latents = false;
  bool no_resume = false;
  bool retry_failed = false;
  bool help = false;
  StubOptions stub;
};

po::options_description describe(Options& options, std::string& journal) {
  po::options_description table("stub_batch [options]");
  auto add = table.add_options();
  add("help", po::bool_switch(&options.help), "this text");
  add("manifest", po::value(&options.manifest), "as wan_batch's");
  add("output-dir", po::value(&options.output_dir), "as wan_batch's");
  add("group-size", po::value(&options.group_size), "ranks per group");
  add("sample-steps", po::value(&options.sample_steps), "steps per item, half of them high-noise");
  add("step-seconds", po::value(&options.stub.step_s), "duration of a step");
  add("video-bytes", po::value(&options.stub.video_bytes)->default_value(100'000), "size of a video");
  add("journal", po::value(&journal), "file that gets a line for every item that an engine begins");
  add("heartbeat", po::value(&options.heartbeat_s), "seconds between beats of an owner of claims");
  add("stale-after", po::value(&options.stale_after_s), "seconds of silence after which an owner is dead");
  add("collective-timeout", po::value(&options.collective_timeout_s),
      "seconds that a collective inside an item may take");
  add("checkpoint-interval", po::value(&options.checkpoint_interval_s),
      "seconds between saved states of the item in flight");
  add("time-limit", po::value(&options.time_limit_s), "seconds that the job may take");
  add("writers", po::value(&options.writers),
      "threads of a leader that write videos beside its group's work");
  add("draft-after", po::value(&options.draft_after), "make drafts after so many steps");
  add("items-in-turn", po::value(&options.items_in_turn),
      "items that go through the high-noise steps before the low-noise steps begin; 0: experts take no "
      "turns");
  add("hold-at-steps", po::value(&options.stub.hold_at_steps),
      "begin no step with so many lines in JOURNAL.steps and no file JOURNAL.go_on; 0: never wait");
  add("write-seconds", po::value(&options.stub.write_s), "duration of writing a video");
  add("save-latents", po::bool_switch(&options.save_latents), "as wan_batch's");
  add("no-resume", po::bool_switch(&options.no_resume), "as wan_batch's");
  add("retry-failed", po::bool_switch(&options.retry_failed), "as wan_batch's");
  return table;
}

Options parse(std::span<const std::string> arguments) {
  Options options;
  std::string journal;
  const po::options_description table = describe(options, journal);
  try {
    po::variables_map given;
    po::store(po::command_line_parser(std::vector<std::string>(arguments.begin(), arguments.end()))
                  .options(table)
                  .run(),
              given);
    po::notify(given);
  } catch (const po::error& error) {
    fail<UsageError>("{}; see stub_batch --help", error.what());
  }
  options.stub.journal = journal;
  if (!journal.empty()) options.stub.steps_journal = journal + ".steps";
  if (!options.help && (options.manifest.empty() || options.output_dir.empty())) {
    fail<UsageError>("--manifest and --output-dir are needed");
  }
  return options;
}

std::string help_text() {
  Options options;
  std::string journal;
  std::ostringstream text;
  text << describe(options, journal);
  return text.str();
}

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

/// One run on one rank, as in apps/batch_program.cpp, but without a checkpoint.
class StubProgram {
 public:
  StubProgram(const comm::MpiEnvironment& mpi, const Options& options, comm::Communicator& world,
              StopSignals& stop_signals)
      : mpi_(mpi),
        stop_signals_(stop_signals),
        options_(options),
        world_(world),
        shape_{.group_size = options.group_size, .cfg = 1, .ulysses = options.group_size} {}

  ExitCode run();

 private:
  batch::RunContext make_context(const std::shared_ptr<Log>& log);

  const comm::MpiEnvironment& mpi_;
  StopSignals& stop_signals_;
  const Options& options_;
  comm::Communicator& world_;
  comm::GridShape shape_;
  double age_at_start_s_ = process_age_s();
  Stopwatch clock_;
};

batch::RunContext StubProgram::make_context(const std::shared_ptr<Log>& log) {
  std::unique_ptr<store::OutputFolder> folder;
  launch::agree(world_, [&] { folder = std::make_unique<store::OutputFolder>(options_.output_dir); });
  const std::string run = launch::on_rank_0(world_, [] { return random_token().substr(0, 8); });
  batch::RunContext context{.folder = *folder,
                            .requests = {},
                            .results = {},
                            .origin = {},
                            .job = {},
                            .place = {},
                            .stop = {},
                            .timing = {}};
  context.requests.command_line.sample_steps = options_.sample_steps;
  context.requests.settings.base_seed = 1;
  context.requests.model = {.weights = "stub", .precision = "fp32"};
  context.origin.run = run;
  context.origin.host = mpi_.host_name();
  context.origin.manifest = options_.manifest;
  context.origin.command = {"stub_batch"};
  context.origin.started = store::utc_now();
  context.origin.ranks = options_.group_size;
  context.results.resume = !options_.no_resume;
  context.results.retry_failed = options_.retry_failed;
  context.results.save_latents = options_.save_latents;
  context.place.group_index = mpi_.rank() / options_.group_size;
  context.place.group_count = mpi_.size() / options_.group_size;
  context.place.world_rank = mpi_.rank();
  context.timing = {.heartbeat = milliseconds(options_.heartbeat_s),
                    .stale_after = milliseconds(options_.stale_after_s)};
  context.stop.is_requested = [this] { return stop_signals_.have_come(); };
  context.stop.is_pending = [this] { return stop_signals_.have_come(); };
  context.stop.elapsed_s = [this] { return age_at_start_s_ + clock_.elapsed_s(); };
  if (options_.time_limit_s > 0) context.stop.time_limit_s = options_.time_limit_s;
  context.writers = options_.writers;
  context.items_in_turn = options_.items_in_turn;
  context.results.draft.after_step = options_.draft_after;
  context.checkpoint_interval_s = options_.checkpoint_interval_s;
  context.log = log;
  return context;
}

ExitCode StubProgram::run() {
  launch::agree(world_, [&] { comm::check_shape(shape_, mpi_.size()); });
  const std::string text =
      launch::on_rank_0(world_, [&] { return manifest::read_manifest(options_.manifest); });
  std::vector<manifest::ManifestRow> rows;
  launch::agree(world_, [&] { rows = manifest::parse_manifest(text, options_.manifest, TaskKind::i2v); });
  const launch::ControlGroups control = launch::make_control_groups(world_, shape_);
  const auto tensors = launch::make_control_group(world_, comm::group_members(shape_, mpi_.rank()), "group",
                                                  options_.collective_timeout_s);
  announce("load", "engine", mpi_.rank());
  world_.barrier().wait();

  const auto log =
      std::make_shared<Log>(mpi_.rank(), mpi_.rank() == 0 ? LogLevel::normal : LogLevel::quiet, stderr);
  const batch::RunContext context = make_context(log);
  launch::agree(world_, [&] {
    if (mpi_.rank() == 0) log->open_file(context.folder.path() / "wan_batch.log");
  });
  StubOptions stub = options_.stub;
  stub.run = context.origin.run;
  StubEngine engine(*tensors, stub);
  std::unique_ptr<display::Progress> progress;
  const auto style = display::progress_style_of(stderr, ProgressMode::automatic);
  if (mpi_.rank() == 0 && style) {
    progress = std::make_unique<display::Progress>(stderr, *style, context.place.group_count,
                                                   [this] { return clock_.elapsed_s(); });
  }
  std::vector<batch::ItemObserver*> listening;
  if (progress) listening.push_back(progress.get());
  batch::ObserverList observers(listening);
  batch::TeamLetters teams;
  if (control.mailbox) {
    teams = batch::TeamLetters(*control.mailbox, context.place.group_index, context.place.group_count,
                               options_.group_size);
  }
  const batch::GroupCounts mine = batch::run_group(engine, *control.orders, rows, context, observers, teams);
  progress.reset();
  const batch::RunResult result = batch::finish_run(*control.meeting, mine, rows, context, engine.task());
  if (mpi_.rank() == 0) {
    if (!result.counts.problem.empty()) {
      log->error("nothing can be written any more: {}", result.counts.problem);
    }
    fmt::print("{}", batch::format_summary(result.outcomes, result.counts, context.folder.path()));
  }
  return batch::exit_code(result.counts);
}

ExitCode stub_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
                      StopSignals& stop_signals) {
  const auto world = comm::make_mpi_world(mpi, {.timeout_s = 60});
  Options options;
  launch::agree(*world, [&] { options = parse(arguments); });
  if (options.help) {
    if (mpi.rank() == 0) fmt::print("{}", help_text());
    return ExitCode::done;
  }
  return StubProgram(mpi, options, *world, stop_signals).run();
}

}  // namespace
}  // namespace wan::faults

int main(int argc, char** argv) {
  try {
    wan::StopSignals stop_signals;
    return wan::apps::run_program(
        argc, argv, [&](const wan::comm::MpiEnvironment& mpi, std::span<const std::string> arguments) {
          return wan::faults::stub_program(mpi, arguments, stop_signals);
        });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(wan::ExitCode::failure);
  }
}
