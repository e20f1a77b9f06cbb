#include "apps/batch_program.h"

#include <chrono>
#include <cstdlib>
#include <memory>

#include "apps/dry_run.h"
#include "apps/input_notes.h"
#include "apps/item_work.h"
#include "apps/job_observer.h"
#include "apps/options.h"
#include "apps/run_account.h"
#include "apps/run_description.h"
#include "apps/run_id.h"
#include "apps/run_identity.h"
#include "apps/run_output.h"
#include "apps/run_places.h"
#include "apps/run_trace.h"
#include "apps/stop_limit.h"
#include "apps/upcoming_rows.h"
#include "apps/version_report.h"
#include "batch/run_record.h"
#include "batch/runner.h"
#include "batch/summary.h"
#include "checkpoint/folder_notes.h"
#include "comm/mpi/mpi.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/console.h"
#include "core/environment.h"
#include "core/log.h"
#include "core/strings.h"
#include "core/utc_time.h"
#include "display/item_log.h"
#include "display/progress.h"
#include "launch/agreement.h"
#include "launch/control_groups.h"
#include "launch/engine_host.h"
#include "launch/run_device.h"
#include "launch/run_input.h"
#include "launch/run_layout.h"
#include "launch/run_loras.h"
#include "launch/writer_count.h"
#include "model/model_kind.h"
#include "store/batch_record.h"
#include "store/job_record.h"
#include "store/job_starts.h"
#include "store/start_mark.h"

namespace wan::apps {
namespace {

// Other groups join an item only if it gains this much. Joining takes about as long.
constexpr double join_worth_gpu_s = 5;
constexpr double join_worth_cpu_s = 0.5;

/// This start of the program: its name, and the time since it began.
struct Start {
  double age_s = process_age_s();  ///< of the process, when the clock began
  std::chrono::system_clock::time_point began = std::chrono::system_clock::now();
  Stopwatch clock;
  std::string run_id;
  std::string job;                         ///< the scheduler's; may be empty
  std::unique_ptr<store::StartMark> mark;  ///< on rank 0, while the checkpoint is loaded
};

/// One run of the program on one rank.
class BatchProgram {
 public:
  BatchProgram(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
               StopSignals& stop_signals)
      : mpi_(mpi),
        stop_signals_(stop_signals),
        arguments_(arguments.begin(), arguments.end()),
        world_(comm::make_mpi_world(mpi, {.timeout_s = launch::start_timeout_s})) {}

  ExitCode run();

 private:
  bool is_rank_0() const { return mpi_.rank() == 0; }
  ExitCode dry_run();
  ExitCode list_rows();
  ExitCode run_batch();
  void load_engine();
  ExitCode finish(const batch::GroupCounts& mine, const batch::RunContext& context);
  batch::GroupCounts work_through(const batch::RunContext& context);
  TraceRun trace_run(const batch::RunContext& context) const;
  std::string exit_reason(const batch::RunCounts& counts) const;
  std::string reason_of(batch::StopCause cause) const {
    return stop_reason(cause, stop_signals_.name(), options_.output_dir, limit_);
  }
  void mark_start();
  void open_records(const batch::RunContext& context);
  void allow_teams();
  batch::RunContext make_context();
  void check_environment();

  const comm::MpiEnvironment& mpi_;
  StopSignals& stop_signals_;
  std::vector<std::string> arguments_;
  Start start_;
  std::unique_ptr<comm::Communicator> world_;
  launch::Options options_;
  launch::RunDevice device_;
  launch::RunInput input_;
  store::OutputProbe probe_;  ///< on the first rank of each node
  StopLimit limit_;
  launch::RunPlan plan_;
  launch::LoraNotes loras_;
  std::shared_ptr<Log> log_;
  launch::ControlGroups control_;
  std::unique_ptr<launch::EngineHost> host_;
  std::string widened_;  ///< parts of the checkpoint whose weights were stored in fewer bits
  PhaseEvent load_;
  RunTrace trace_{mpi_, start_.clock};
};

ExitCode BatchProgram::run() {
  ParsedCommandLine parsed;
  launch::agree(*world_, [&] { parsed = parse_options(arguments_); });
  if (parsed.action != Action::run) {
    if (is_rank_0()) print_result(parsed.action == Action::help ? help_text() : version_report());
    return ExitCode::done;
  }
  options_ = parsed.options;
  log_ = std::make_shared<Log>(mpi_.rank(), is_rank_0() ? options_.log_level : LogLevel::quiet, stderr);
  if (parsed.demo && is_rank_0())
    log_->info("no arguments: running the demo of {} (see --help)", demo_config_file);
  if (options_.save_file)
    options_.output_dir = options_.save_file->has_parent_path() ? options_.save_file->parent_path() : ".";
  if (options_.list_rows) return list_rows();
  device_ = launch::choose_device(*world_, mpi_, options_);
  for (const std::string& note : device_.notes) log_->info("{}", note);
  input_ = launch::read_run_input(*world_, options_, device_.compute.on_gpu());
  if (options_.shard && input_.rows.empty()) {
    log_->info("{}: shard {}/{} of {} row{} {}: nothing to do", printable(input_.manifest_name),
               options_.shard->index, options_.shard->count, input_.whole_rows,
               input_.whole_rows == 1 ? "" : "s", input_.is_chosen ? "has no chosen row" : "is empty");
    return ExitCode::done;
  }
  plan_ = launch::plan_run(*world_, options_, input_, device_);
  if (options_.plan) {
    if (is_rank_0()) print_plan(options_, input_, plan_);
    return ExitCode::done;
  }
  check_environment();
  loras_ = launch::check_loras(*world_, plan_.model.transformer, options_.dry_run, input_);
  if (options_.dry_run) return dry_run();
  return run_batch();
}

ExitCode BatchProgram::list_rows() {
  launch::agree(*world_, [&] {
    if (is_rank_0()) print_rows(options_);
  });
  return ExitCode::done;
}

ExitCode BatchProgram::dry_run() {
  const std::string failed = launch::on_rank_0(*world_, [&] {
    warn_of_checkpoint(input_.checkpoint, *log_);
    tell_of_loras(input_, loras_, plan_.base, *log_);
    const engine::HostUse use = launch::host_use(options_, input_.checkpoint);
    check_space_and_lacks(probe_, input_, options_, use, *log_);
    return std::to_string(check_rows(options_, input_, plan_.model.text_encoder,
                                     parallel::describe(plan_.layout.guided),
                                     launch::rows_beyond_gpus(input_, options_, mpi_), use, *log_));
  });
  return failed == "0" ? ExitCode::done : ExitCode::some_failed;
}

/// Finds, on every node, the problems that can be known before anything is loaded or made.
void BatchProgram::check_environment() {
  launch::agree(*world_, [&] {
    if (is_rank_0()) require_free_names(options_, input_);  // changes nothing, unlike the probe
    if (mpi_.local_rank() == 0) probe_ = check_run_places(options_);
  });
}

batch::RunContext BatchProgram::make_context() {
  std::unique_ptr<store::OutputFolder> folder;
  launch::agree(*world_, [&] { folder = std::make_unique<store::OutputFolder>(options_.output_dir); });
  widened_ = launch::on_rank_0(*world_, [&] { return checkpoint::widened_note(input_.checkpoint); });
  const batch::JobIdentity job = identify_job(*world_, *folder, start_.job, start_.run_id);
  if (!job.earlier_runs.empty() && (!options_.resume || options_.retry_failed)) {
    log_->info("start {} of job {}: --no-resume and --retry-failed hold for its first start only",
               job.earlier_runs.size() + 1, start_.job);
  }
  const int group = mpi_.rank() / plan_.layout.guided.group_size;
  const int groups = mpi_.size() / plan_.layout.guided.group_size;
  batch::RunContext context{
      .folder = *folder,
      .requests = request_source(input_, *host_, device_),
      .results = {.resume = options_.resume,
                  .retry_failed = options_.retry_failed,
                  .save_latents = options_.save_latents,
                  .step_latents = options_.step_latents,
                  .draft = input_.draft,
                  .names = {.no_resume = "--no-resume",
                            .retry_failed = "--retry-failed",
                            .output_folder = "--output-dir",
                            .continue_chosen = "--continue"}},
      .origin = {.run = start_.run_id,
                 .host = mpi_.host_name(),
                 .manifest = input_.manifest_name,
                 .line = 0,
                 .command = command_again(options_, plan_.layout, device_.compute),
                 .request_options = request_options,
                 .started = utc_text_s(start_.began),
                 .ranks = plan_.layout.guided.group_size,
                 .libraries = library_versions(),
                 .attention = attention_name(options_, device_.compute, plan_.model.transformer),
                 .widened = widened_},
      .job = job,
      .place = {.group_index = group,
                .group_count = groups,
                .world_rank = mpi_.rank(),
                .on_gpu = device_.compute.on_gpu()},
      .stop = {.is_requested = [this] { return stop_signals_.have_come(); },
               .is_pending = [this] { return stop_signals_.have_come(); },
               .elapsed_s = [this] { return start_.age_s + start_.clock.elapsed_s(); },
               .time_limit_s = limit_.limit_s,
               .limit_cause = limit_.cause},
      .timing = {},
      .checkpoint_interval_s = options_.checkpoint_interval_s,
      .writers = launch::writers_of(options_, input_, mpi_),
      .items_in_turn = plan_.layout.items_in_turn,
      .join_worth_s = device_.compute.on_gpu() ? join_worth_gpu_s : join_worth_cpu_s,
      .run_record = options_.run_record.value_or(std::filesystem::path()),
      .job_start = store::job_start_record(read_environment()),
      .log = log_,
      .row_work = work_of_rows(input_, input_.rows, plan_.model)};
  return context;
}

/// From now on `wan_batch status` shows this run.
void BatchProgram::mark_start() {
  const char* job = std::getenv("SLURM_JOB_ID");  // NOLINT(concurrency-mt-unsafe)
  if (job != nullptr) start_.job = job;
  start_.run_id = launch::on_rank_0(*world_, [] { return new_run_id(); });
  launch::agree(*world_, [&] {
    if (!is_rank_0()) return;
    start_.mark = std::make_unique<store::StartMark>(options_.output_dir, start_.run_id, start_.job,
                                                     store::ClaimTiming());
  });
}

/// Opens the log of every group, and records the work of the manifest.
void BatchProgram::open_records(const batch::RunContext& context) {
  launch::agree(*world_, [&] {
    if (control_.orders->rank() == 0) log_->open_file(context.folder.path() / "wan_batch.log");
    if (!is_rank_0()) return;
    start_.mark->keep_folder();
    if (options_.manifest) write_manifest_record(input_, plan_.model, context);
  });
  if (!is_rank_0()) return;
  log_->detail("run {}: {}", start_.run_id,
               description(options_, input_, plan_.layout, mpi_.size(), device_.name()));
  log_->info("checkpoint loaded in {:.1f} s", load_.wall_s);
}

void BatchProgram::load_engine() {
  host_ = std::make_unique<launch::EngineHost>(
      mpi_, *world_, device_,
      launch::EngineHost::Listeners{.on_note = [this](const std::string& note) { log_->warn("{}", note); },
                                    .on_hang = end_for_hang});
  control_ = launch::make_control_groups(*world_, plan_.layout.guided);
  load_.phase = "load";
  load_.start_s = start_.clock.elapsed_s();
  host_->load(input_, options_, plan_, start_.clock);
  allow_teams();
  load_.wall_s = start_.clock.elapsed_s() - load_.start_s;
}

/// Lets groups without work join others, unless the user wants groups of a certain shape.
void BatchProgram::allow_teams() {
  if (!control_.mailbox || !options_.join_groups || options_.cfg_size || options_.ulysses_size) return;
  const double timeout_s = launch::step_timeout_s(options_);
  const int widest = host_->communicators().prepare_teams(plan_.layout, timeout_s);
  host_->engine().allow_teams(
      [this, timeout_s](int width) {
        return host_->communicators().make_team(host_->engine().communicators(), width,
                                                plan_.model.transformer.num_heads, timeout_s);
      },
      widest);
}

TraceRun BatchProgram::trace_run(const batch::RunContext& context) const {
  return {.program = "wan_batch",
          .run = context.origin.run,
          .started = utc_text_us(start_.began),
          .host = context.origin.host,
          .group_index = context.place.group_index,
          .group_count = context.place.group_count,
          .ranks = context.origin.ranks,
          .world_ranks = mpi_.size(),
          .world_rank = mpi_.rank(),
          .log = context.log,
          .layout = describe(plan_.layout),
          .arguments = arguments_,
          .task = input_.checkpoint.task.name,
          .kind = &model::model_kind(input_.checkpoint.task.name),
          .device = device_,
          .index = trace_index(options_),
          .fps = input_.settings.fps};
}

/// Makes this rank's part of its group's items, with trace and progress on the ranks that have them.
batch::GroupCounts BatchProgram::work_through(const batch::RunContext& context) {
  host_->engine().begin_idle_at(trace_.open(*world_, *control_.orders, trace_run(context), load_));
  const auto now_s = [this] { return start_.clock.elapsed_s(); };
  std::unique_ptr<display::Progress> progress;
  if (is_rank_0()) progress = make_progress(options_, context.place.group_count, now_s);
  display::ItemLog item_log(*log_);
  std::vector<batch::ItemObserver*> listening{&item_log};
  if (trace_.observer() != nullptr) listening.push_back(trace_.observer());
  if (progress) listening.push_back(progress.get());
  const auto for_job = observe_for_job(context, input_.rows, input_.checkpoint.task, now_s);
  if (for_job) listening.push_back(for_job.get());
  batch::ObserverList observers(listening);
  batch::TeamLetters teams;
  if (control_.mailbox) {
    teams = batch::TeamLetters(*control_.mailbox, context.place.group_index, context.place.group_count,
                               context.origin.ranks);
  }
  start_.mark.reset();
  stop_signals_.listen(
      [log = log_](StopLevel level, std::string_view signal) { log->info("{}", stop_note(level, signal)); });
  return batch::run_group(host_->engine(), *control_.orders, input_.rows, context, observers, teams);
}

ExitCode BatchProgram::run_batch() {
  log_->info("{}", headline(options_, input_, plan_.layout, mpi_.size(), device_.name()));
  if (plan_.oversized_rows > 0 && is_rank_0()) {
    log_->warn("{} of {} rows {} too large for these GPUs and will fail; --plan shows by how much",
               plan_.oversized_rows, input_.rows.size(), plan_.oversized_rows == 1 ? "is" : "are");
  }
  if (is_rank_0()) warn_of_input(input_, *log_);
  if (is_rank_0()) warn_of_checkpoint(input_.checkpoint, *log_);
  if (is_rank_0()) tell_of_loras(input_, loras_, plan_.base, *log_);
  limit_ = find_stop_limit(*world_, options_, start_.age_s + start_.clock.elapsed_s(), *log_);
  mark_start();
  load_engine();
  if (is_rank_0()) warn_of_lost_texts(input_, host_->engine().tokenizer(), *log_);
  const batch::RunContext context = make_context();
  host_->engine().look_ahead({.upcoming = upcoming_requests(input_.rows, context, input_.checkpoint.task),
                              .groups = context.place.group_count});
  open_records(context);
  try {
    return finish(work_through(context), context);
  } catch (const std::exception& error) {
    trace_.close_after(error);
    throw;
  }
}

/// How the run ended, as its trace says it.
std::string BatchProgram::exit_reason(const batch::RunCounts& counts) const {
  const ExitCode code = batch::exit_code(counts);
  if (code == ExitCode::done) return "done";
  if (code == ExitCode::stopped_early) return reason_of(counts.stop_cause);
  return fmt::format("failed: {}", batch::exit_reason(counts));
}

ExitCode BatchProgram::finish(const batch::GroupCounts& mine, const batch::RunContext& context) {
  const double finish_start_s = host_->engine().idle_since_s();
  if (mine.stopped && mine.problem.empty()) log_->info("{}", reason_of(mine.stop_cause));
  const batch::RunResult result =
      batch::finish_run(*control_.meeting, mine, input_.rows, context, input_.checkpoint.task);
  const auto closing =
      trace_.close(*control_.meeting, *control_.orders,
                   {.finish_start_s = finish_start_s,
                    .exit_reason = exit_reason(result.counts),
                    .notes = [&](const display::RunAccount& account) {
                      return account_notes(account, account_facts(options_, plan_, device_, context.writers));
                    }});
  const ExitCode exit_code = batch::exit_code(result.counts);
  if (is_rank_0() && exit_code != ExitCode::stopped_early && result.counts.problem.empty())
    store::forget_starts(context.folder, context.job.id);
  if (is_rank_0() && !result.counts.problem.empty())
    log_->error("nothing can be written any more: {}", printable(result.counts.problem));
  if (is_rank_0() && options_.log_level != LogLevel::quiet) {
    write_console(stdout, batch::format_summary(result.outcomes, result.counts, context.folder.path(),
                                                context.results.names) +
                              (closing ? display::account_text(closing->account, closing->notes) : "") +
                              places_text(options_, start_.clock.elapsed_s()));
  }
  return exit_code;
}

}  // namespace

ExitCode run_batch_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
                           StopSignals& stop_signals) {
  return BatchProgram(mpi, arguments, stop_signals).run();
}

}  // namespace wan::apps
