#include "apps/batch_program.h"

#include <ATen/Parallel.h>

#include <cstdlib>
#include <memory>
#include <numeric>

#include "apps/dry_run.h"
#include "apps/input_notes.h"
#include "apps/item_work.h"
#include "apps/options.h"
#include "apps/run_description.h"
#include "apps/run_engine.h"
#include "apps/run_id.h"
#include "apps/run_identity.h"
#include "apps/run_output.h"
#include "apps/run_places.h"
#include "apps/trace_observer.h"
#include "apps/upcoming_rows.h"
#include "apps/version_report.h"
#include "batch/runner.h"
#include "batch/summary.h"
#include "checkpoint/fingerprint.h"
#include "checkpoint/folder_notes.h"
#include "comm/mailbox.h"
#include "comm/mpi/mpi.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/console.h"
#include "core/log.h"
#include "core/strings.h"
#include "display/item_log.h"
#include "display/progress.h"
#include "engine/wan_engine.h"
#include "launch/agreement.h"
#include "launch/plan_report.h"
#include "launch/run_communicators.h"
#include "launch/run_device.h"
#include "launch/run_input.h"
#include "launch/run_layout.h"
#include "store/batch_record.h"
#include "store/job_starts.h"
#include "store/start_mark.h"

namespace wan::apps {
namespace {

constexpr double start_timeout_s = 600;
constexpr double step_timeout_s = 120;
// What an item must gain for other groups to join: as long as that takes, NCCL's connecting on GPUs most of
// it.
constexpr double join_worth_gpu_s = 5;
constexpr double join_worth_cpu_s = 0.5;
// Between items ranks wait as long as the others work: for the leader's next order, and for the other groups
// at the end. A rank that dies meanwhile is the launcher's to notice.
constexpr double no_timeout_s = 1e9;

/// One run of the program on one rank.
class BatchProgram {
 public:
  BatchProgram(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
               StopSignals& stop_signals)
      : mpi_(mpi),
        stop_signals_(stop_signals),
        arguments_(arguments.begin(), arguments.end()),
        world_(comm::make_mpi_world(mpi, {.timeout_s = start_timeout_s})) {}

  ExitCode run();

 private:
  bool is_rank_0() const { return mpi_.rank() == 0; }
  ExitCode show_plan();
  ExitCode dry_run();
  ExitCode run_batch();
  void load_engine();
  batch::GroupCounts work_through(const batch::RunContext& context);
  void mark_start();
  void open_records(const batch::RunContext& context);
  void make_control_groups();
  void connect_groups();
  batch::RunContext make_context();
  void warn_of_checkpoint() const;
  void check_environment();
  std::string stop_reason();

  const comm::MpiEnvironment& mpi_;
  StopSignals& stop_signals_;
  std::vector<std::string> arguments_;
  double age_at_start_s_ = process_age_s();  ///< of the process, when clock_ began
  Stopwatch clock_;
  std::unique_ptr<comm::Communicator> world_;
  launch::Options options_;
  launch::RunDevice device_;
  launch::RunInput input_;
  store::OutputProbe probe_;  ///< on the first rank of each node
  std::string weights_;       ///< the checkpoint's fingerprint
  launch::MachineSize machine_;
  std::int64_t oversized_rows_ = 0;  ///< that fit into the GPUs with no layout
  parallel::PlanInput plan_;
  launch::RunLayout layout_;
  std::unique_ptr<Log> log_;
  std::string run_id_;
  std::string job_;                               ///< the scheduler's; may be empty
  std::unique_ptr<store::StartMark> start_mark_;  ///< on rank 0, while the checkpoint is loaded
  std::unique_ptr<launch::RunCommunicators> communicators_;
  std::unique_ptr<comm::Communicator> meeting_;  ///< all ranks, at the end
  std::unique_ptr<comm::Communicator> orders_;   ///< a group's leader to its ranks
  std::unique_ptr<comm::Mailbox> mailbox_;       ///< between the leaders, where there are several groups
  std::unique_ptr<engine::WanEngine> engine_;
  PhaseEvent load_;
};

ExitCode BatchProgram::run() {
  ParsedCommandLine parsed;
  launch::agree(*world_, [&] { parsed = parse_options(arguments_); });
  if (parsed.action != Action::run) {
    if (is_rank_0()) print_result(parsed.action == Action::help ? help_text() : version_report());
    return ExitCode::done;
  }
  options_ = parsed.options;
  log_ = std::make_unique<Log>(mpi_.rank(), is_rank_0() ? options_.log_level : LogLevel::quiet, stderr);
  if (parsed.demo && is_rank_0())
    log_->info("no arguments: running the demo of {} (see --help)", demo_config_file);
  if (options_.save_file) {
    options_.output_dir = options_.save_file->has_parent_path() ? options_.save_file->parent_path() : ".";
  }
  device_ = launch::choose_device(*world_, mpi_, options_);
  input_ = launch::read_run_input(*world_, options_, device_.compute.on_gpu());
  if (options_.shard && input_.rows.empty()) {
    log_->info("{}: shard {}/{} of {} row{} is empty: nothing to do", printable(input_.manifest_name),
               options_.shard->index, options_.shard->count, input_.whole_rows,
               input_.whole_rows == 1 ? "" : "s");
    return ExitCode::done;
  }
  launch::agree(*world_, [&] {
    machine_ = launch::machine_size(options_, mpi_.size(), device_);
    plan_ = launch::describe_model(input_, options_, device_.compute.on_gpu());
    oversized_rows_ = launch::leave_out_oversized(input_, options_, machine_, plan_);
    layout_ = launch::choose_layout(options_, machine_, plan_);
  });
  if (options_.plan) return show_plan();
  check_environment();
  if (options_.dry_run) return dry_run();
  return run_batch();
}

ExitCode BatchProgram::show_plan() {
  if (is_rank_0()) {
    print_result(launch::plan_report(
        {.model = plan_,
         .choice = launch::weigh_layouts(options_, machine_, plan_),
         .machine = machine_,
         .manifest = launch::expected_manifest_time(input_, plan_, layout_, machine_.ranks),
         .objective = options_.objective}));
  }
  return ExitCode::done;
}

ExitCode BatchProgram::dry_run() {
  const std::string failed = launch::on_rank_0(*world_, [&] {
    warn_of_checkpoint();
    const engine::HostUse use = launch::host_use(options_, input_.checkpoint);
    check_space_and_lacks(probe_, input_, options_, use, *log_);
    return std::to_string(check_rows(options_, input_, plan_.text_encoder, parallel::describe(layout_.guided),
                                     launch::rows_beyond_gpus(input_, options_, mpi_), use, *log_));
  });
  return failed == "0" ? ExitCode::done : ExitCode::some_failed;
}

void BatchProgram::make_control_groups() {
  std::vector<int> everyone(static_cast<std::size_t>(mpi_.size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  meeting_ = communicators_->make_control(everyone, "meeting", no_timeout_s);
  orders_ =
      communicators_->make_control(comm::group_members(layout_.guided, mpi_.rank()), "orders", no_timeout_s);
}

/// What can be known to fail later on is found before anything is loaded or made, on every node.
void BatchProgram::check_environment() {
  launch::agree(*world_, [&] {
    if (is_rank_0()) require_free_names(options_, input_);  // touches nothing, unlike the probe
    if (mpi_.local_rank() == 0) probe_ = check_run_places(options_);
  });
}

batch::RunContext BatchProgram::make_context() {
  std::unique_ptr<store::OutputFolder> folder;
  launch::agree(*world_, [&] { folder = std::make_unique<store::OutputFolder>(options_.output_dir); });
  const std::vector<std::string> earlier = earlier_runs_of_job(*world_, *folder, job_, run_id_);
  if (!earlier.empty() && (!options_.resume || options_.retry_failed)) {
    log_->info("start {} of job {}: --no-resume and --retry-failed were for its first start",
               earlier.size() + 1, job_);
  }
  batch::RunContext context{
      .folder = *folder,
      .command_line = input_.overrides,
      .settings = input_.settings,
      .model = model_identity(weights_, device_.compute),
      .origin = {.run = run_id_,
                 .host = mpi_.host_name(),
                 .manifest = input_.manifest_name,
                 .line = 0,
                 .command = command_again(options_, layout_, device_.compute),
                 .started = store::utc_now(),
                 .ranks = layout_.guided.group_size,
                 .libraries = library_versions(),
                 .attention = attention_name(options_, device_.compute, plan_.transformer)},
      .job = job_,
      .runs_of_job = earlier,
      .resume = options_.resume,
      .retry_failed = options_.retry_failed,
      .save_latents = options_.save_latents,
      .group_index = mpi_.rank() / layout_.guided.group_size,
      .group_count = mpi_.size() / layout_.guided.group_size,
      .world_rank = mpi_.rank(),
      .timing = {},
      .stop_requested = [this] { return stop_signals_.have_come(); },
      .stop_is_pending = [this] { return stop_signals_.are_pending(); },
      .elapsed_s = [this] { return age_at_start_s_ + clock_.elapsed_s(); },
      .time_limit_s = options_.time_limit_s,
      .checkpoint_interval_s = options_.checkpoint_interval_s,
      .join_worth_s = device_.compute.on_gpu() ? join_worth_gpu_s : join_worth_cpu_s,
      .on_gpu = device_.compute.on_gpu(),
      .run_record = options_.run_record.value_or(std::filesystem::path()),
      .log = log_.get(),
      .row_work = work_of_rows(input_, input_.rows, plan_)};
  return context;
}

/// From now on `wan_batch status` shows this run.
void BatchProgram::mark_start() {
  const char* job = std::getenv("SLURM_JOB_ID");  // NOLINT(concurrency-mt-unsafe)
  if (job != nullptr) job_ = job;
  run_id_ = launch::on_rank_0(*world_, [] { return new_run_id(); });
  launch::agree(*world_, [&] {
    if (!is_rank_0()) return;
    start_mark_ =
        std::make_unique<store::StartMark>(options_.output_dir, run_id_, job_, store::ClaimTiming());
  });
}

/// The log of every group, and what there is to do.
void BatchProgram::open_records(const batch::RunContext& context) {
  launch::agree(*world_, [&] {
    if (orders_->rank() == 0) log_->open_file(context.folder.path() / "wan_batch.log");
    if (!is_rank_0()) return;
    start_mark_->keep_folder();
    if (options_.manifest) write_manifest_record(input_, plan_, context);
  });
  if (!is_rank_0()) return;
  log_->detail("run {}: {}", run_id_, headline(options_, input_, layout_, mpi_.size(), device_.name()));
  log_->info("checkpoint loaded in {:.1f} s", load_.wall_s);
}

void BatchProgram::warn_of_checkpoint() const {
  if (!is_rank_0()) return;
  for (const std::string& note : checkpoint::folder_notes(input_.checkpoint)) {
    log_->warn("the checkpoint {}: {}", input_.checkpoint.root.string(), note);
  }
}

std::string BatchProgram::stop_reason() {
  if (stop_signals_.have_come()) return fmt::format("stopped: {} came", stop_signals_.name());
  if (options_.time_limit_s) {
    return fmt::format("stopped: the time limit of {} is near",
                       display::format_duration(*options_.time_limit_s));
  }
  return "stopped: another rank was told to";
}

void BatchProgram::load_engine() {
  if (std::getenv("OMP_NUM_THREADS") == nullptr)
    at::set_num_threads(launch::threads_per_rank(mpi_));  // NOLINT(concurrency-mt-unsafe)
  communicators_ = std::make_unique<launch::RunCommunicators>(mpi_, *world_, device_);
  make_control_groups();
  // Nobody waits for it against the clock: a slow file system takes its time.
  weights_ = launch::on_rank_0(*meeting_, [&] { return fingerprint_of(input_.checkpoint); });
  parallel::GroupCommunicators communicators =
      communicators_->make_group(layout_, options_.collective_timeout_s.value_or(step_timeout_s));
  load_.phase = "load";
  load_.start_s = clock_.elapsed_s();
  launch::agree(*world_, [&] {
    engine_ = std::make_unique<engine::WanEngine>(
        input_.checkpoint,
        engine_options(options_, layout_,
                       {.device = device_, .machine = machine_, .weights = weights_, .log = *log_}),
        std::move(communicators), clock_);
  });
  connect_groups();
  load_.wall_s = clock_.elapsed_s() - load_.start_s;
}

/// Lets leaders write to each other, and groups without work join others unless the user wants groups of a
/// certain shape.
void BatchProgram::connect_groups() {
  if (mpi_.size() == layout_.guided.group_size) return;
  mailbox_ = comm::make_mpi_mailbox(*world_);
  if (!options_.join_groups || options_.cfg_size || options_.ulysses_size) return;
  const double timeout_s = options_.collective_timeout_s.value_or(step_timeout_s);
  const int widest = communicators_->prepare_teams(layout_, timeout_s);
  engine_->allow_teams(
      [this, timeout_s](int width) {
        return communicators_->make_team(engine_->communicators(), width, plan_.transformer.num_heads,
                                         timeout_s);
      },
      widest);
}

/// This rank's part in its group's items, with trace and progress where they belong.
batch::GroupCounts BatchProgram::work_through(const batch::RunContext& context) {
  std::unique_ptr<TraceObserver> trace;
  launch::agree(*world_, [&] {
    if (orders_->rank() != 0) return;
    const TraceRun run{.run = context.origin.run,
                       .started = context.origin.started,
                       .host = context.origin.host,
                       .job = context.job,
                       .group_index = context.group_index,
                       .group_count = context.group_count,
                       .ranks = context.origin.ranks,
                       .log = context.log,
                       .layout = describe(layout_),
                       .arguments = arguments_,
                       .task = input_.checkpoint.task,
                       .device = device_.compute.on_gpu() ? "cuda" : "cpu",
                       .gpu_model = device_.gpu.name,
                       .index = trace_index(options_)};
    trace = std::make_unique<TraceObserver>(run);
    trace->on_phase(load_);
  });
  std::unique_ptr<display::Progress> progress;
  if (is_rank_0())
    progress = make_progress(options_, context.group_count, [this] { return clock_.elapsed_s(); });
  display::ItemLog item_log(*log_);
  std::vector<batch::ItemObserver*> listening{&item_log};
  if (trace) listening.push_back(trace.get());
  if (progress) listening.push_back(progress.get());
  batch::ObserverList observers(listening);
  batch::TeamBoard teams;
  if (mailbox_) {
    teams = batch::TeamBoard(*mailbox_, context.group_index, context.group_count, context.origin.ranks);
  }
  start_mark_.reset();
  return batch::run_group(*engine_, *orders_, input_.rows, context, observers, teams);
}

ExitCode BatchProgram::run_batch() {
  log_->info("{}", headline(options_, input_, layout_, mpi_.size(), device_.name()));
  if (oversized_rows_ > 0 && is_rank_0()) {
    log_->warn("{} of {} rows {} too large for these GPUs and will fail; --plan shows by how much",
               oversized_rows_, input_.rows.size(), oversized_rows_ == 1 ? "is" : "are");
  }
  if (is_rank_0()) warn_of_input(input_, *log_);
  warn_of_checkpoint();
  mark_start();
  load_engine();
  if (is_rank_0()) warn_of_lost_texts(input_, engine_->tokenizer(), *log_);
  const batch::RunContext context = make_context();
  engine_->look_ahead({.upcoming = upcoming_requests(input_.rows, context, input_.checkpoint.task),
                       .groups = context.group_count});
  open_records(context);
  const batch::GroupCounts mine = work_through(context);
  if (mine.stopped && mine.problem.empty()) log_->info("{}", stop_reason());
  const batch::RunResult result =
      batch::finish_run(*meeting_, mine, input_.rows, context, input_.checkpoint.task);
  const ExitCode exit_code = batch::exit_code(result.counts);
  if (is_rank_0() && exit_code != ExitCode::stopped_early && result.counts.problem.empty()) {
    store::forget_starts(context.folder, context.job);
  }
  if (is_rank_0() && !result.counts.problem.empty()) {
    log_->error("nothing can be written any more: {}", printable(result.counts.problem));
  }
  if (is_rank_0() && options_.log_level != LogLevel::quiet) {
    write_console(stdout, batch::format_summary(result.outcomes, result.counts, context.folder.path()) +
                              places_text(options_, clock_.elapsed_s()));
  }
  return exit_code;
}

}  // namespace

ExitCode run_batch_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments,
                           StopSignals& stop_signals) {
  return BatchProgram(mpi, arguments, stop_signals).run();
}

}  // namespace wan::apps
