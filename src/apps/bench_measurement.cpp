#include "apps/bench_measurement.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "apps/bench_inputs.h"
#include "apps/bench_kernels.h"
#include "apps/bench_observer.h"
#include "apps/run_id.h"
#include "comm/mpi/mpi.h"
#include "comm/watch/watchdog.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/utc_time.h"
#include "engine/autoencoder.h"
#include "engine/denoiser.h"
#include "engine/image_encoder.h"
#include "engine/text_encoder.h"
#include "gpu/memory.h"
#include "launch/agreement.h"
#include "launch/engine_host.h"
#include "launch/engine_options.h"
#include "launch/plan_report.h"
#include "launch/run_communicators.h"
#include "launch/run_device.h"
#include "launch/run_layout.h"

namespace wan::apps {
namespace {

constexpr double sample_period_s = 0.1;

/// One measurement, on one rank.
class BenchMeasurement {
 public:
  explicit BenchMeasurement(const comm::MpiRanks& mpi)
      : mpi_(mpi), world_(comm::make_mpi_world(mpi, {.timeout_s = launch::start_timeout_s})) {}

  BenchResult run(const launch::Options& options, std::span<const std::string> arguments);

 private:
  bool is_rank_0() const { return mpi_.rank() == 0; }
  bool on_gpu() const { return device_.compute.on_gpu(); }
  bool has_image() const { return model_.kind->conditioning != model::Conditioning::none; }
  parallel::PlanInput plan_input() const;
  void set_up(std::span<const std::string> arguments);
  TraceRun trace_run(const std::string& run, std::span<const std::string> arguments) const;
  void open_trace(std::span<const std::string> arguments);
  void close_trace() const;
  /// Runs a phase on all ranks, reports it, and returns its seconds.
  template <typename Work>
  double phase(const char* name, Work&& work);
  void note_memory(const char* when);

  /// The encoders of texts and images are placed alike.
  bool encodes_on_host() const { return options_.t5_cpu || !on_gpu(); }
  engine::EncoderOptions encoder_options() const;
  comm::Communicator& encoder_group() const {
    return encodes_on_host() && on_gpu() ? *group_.group : *group_.fsdp;
  }

  void measure();
  void begin_item() const;
  void measure_text();
  void measure_features();
  void measure_encode(engine::Autoencoder& vae);
  void measure_steps(engine::Denoiser& denoise);
  void measure_decode(engine::Autoencoder& vae);
  void collect_steps();
  void collect_memory();
  std::vector<std::int64_t> latent_shape(std::int64_t channels) const;

  const comm::MpiRanks& mpi_;
  std::unique_ptr<comm::Communicator> world_;
  std::string began_ = utc_text_us(std::chrono::system_clock::now());
  Stopwatch clock_;
  double last_phase_end_s_ = 0;  ///< the time until the next phase is "warm_up" in the trace
  launch::Options options_;
  std::unique_ptr<Log> log_;
  engine::ModelDescription model_;
  launch::RunDevice device_;
  launch::RunLayout layout_;
  std::unique_ptr<launch::RunCommunicators> communicators_;
  parallel::GroupCommunicators group_;
  Reporting reporting_;
  BenchInputs inputs_;
  BenchResult result_;
};

parallel::PlanInput BenchMeasurement::plan_input() const {
  const launch::BenchSettings& bench = options_.bench;
  parallel::PlanInput plan = launch::sizes_of(model_, /*has_files=*/false, options_.vae_precision);
  plan.tokens = plan.geometry.token_grid(bench.frame_num, bench.size);
  plan.guided = is_guided(bench);
  plan.on_gpu = on_gpu();
  plan.placement.text_encoder.residence = parallel::text_encoder_residence(on_gpu(), options_.t5_cpu);
  plan.element_bytes = static_cast<int>(c10::elementSize(device_.compute.type));
  return plan;
}

void BenchMeasurement::set_up(std::span<const std::string> arguments) {
  device_ = launch::choose_device(*world_, mpi_, options_);
  launch::agree(*world_, [&] {
    if (options_.bench.kernels && !on_gpu()) {
      fail<UsageError>("--kernels: only GPUs have kernels that are recorded, and the device is {}",
                       device_.name());
    }
    try {
      model_ = engine::describe_named_model(options_.bench.model);
    } catch (const UsageError& error) {
      fail<UsageError>("--model: {}", error.what());
    }
    if (options_.precision == launch::Precision::fp16)
      model::require_fp16_offered(*model_.kind, "--precision fp16");
    model::require_size_fits(*model_.kind, options_.bench.size, "--size");
    parallel::PlanInput plan = plan_input();
    const launch::MachineSize machine = launch::machine_size(options_, mpi_.size(), device_);
    layout_ = launch::choose_layout(options_, machine, plan);
    require_small_without_gpu(options_, plan);
    launch::share_cores(mpi_);
    result_.expected = parallel::expected_item_time(plan);
    result_.expected_step_s = parallel::make_plan(plan).step_s;
    result_.figures = parallel::describe(machine.figures);
    result_.is_of_measured_gpu = machine.figures.is_measured();
  });
  communicators_ = std::make_unique<launch::RunCommunicators>(mpi_, *world_, device_, comm::end_process);
  group_ = communicators_->make_group(layout_, launch::step_timeout_s(options_));
  if (on_gpu()) {
    reporting_.monitor = std::make_unique<gpu::Monitor>(device_.gpu.bus_id, sample_period_s,
                                                        [this] { return clock_.elapsed_s(); });
  }
  result_.layout = describe(layout_);
  reporting_.trace = std::make_unique<RunTrace>(mpi_, clock_);
  if (options_.trace) open_trace(arguments);
  reporting_.observer =
      std::make_unique<BenchObserver>(reporting_.trace->observer(), options_.bench.trace_cost);
  reporting_.steps = std::make_unique<engine::StepReporter>(group_, 0, reporting_.monitor.get(), clock_,
                                                            *reporting_.observer);
  result_.gpus = mpi_.size();
  result_.gpu_model = device_.name();
  result_.precision = device_.compute.precision_name();
  const std::int64_t tokens = plan_input().tokens.tokens();
  result_.head_chunks = parallel::divide_heads(layout_.head_chunks, model_.transformer.num_heads,
                                               layout_.guided.ulysses, tokens);
  const std::int64_t head_dim = model_.transformer.head_dim();
  const auto backend =
      options_.attention == kernels::AttentionBackend::automatic
          ? kernels::attention_backend_for(device_.compute.device, device_.compute.type, head_dim, tokens)
          : options_.attention;
  result_.attention = kernels::to_string(backend);
}

TraceRun BenchMeasurement::trace_run(const std::string& run, std::span<const std::string> arguments) const {
  return {.program = "wan_bench",
          .run = run,
          .started = began_,
          .host = mpi_.host_name(),
          .group_index = mpi_.rank() / layout_.guided.group_size,
          .group_count = mpi_.size() / layout_.guided.group_size,
          .ranks = layout_.guided.group_size,
          .world_ranks = mpi_.size(),
          .world_rank = mpi_.rank(),
          .layout = result_.layout,
          .arguments = {arguments.begin(), arguments.end()},
          .task = options_.bench.model,
          .kind = model_.kind,
          .device = device_,
          .index = std::filesystem::absolute(*options_.trace),
          .warm_up_steps = options_.bench.warmup};
}

void BenchMeasurement::open_trace(std::span<const std::string> arguments) {
  const std::string run = launch::on_rank_0(*world_, [] { return new_run_id(); });
  last_phase_end_s_ = reporting_.trace->open(*world_, *group_.group, trace_run(run, arguments),
                                             {.phase = "load", .start_s = clock_.elapsed_s()});
}

void BenchMeasurement::close_trace() const {
  if (TraceObserver* trace = reporting_.trace->observer()) {
    batch::ItemOutcome outcome;
    outcome.id = bench_item_id;
    outcome.status = batch::ItemStatus::done;
    trace->on_item_end(outcome);
  }
  reporting_.trace->close(*world_, *group_.group,
                          {.finish_start_s = last_phase_end_s_, .exit_reason = "done"});
}

void BenchMeasurement::note_memory(const char* when) {
  if (!on_gpu()) return;
  const gpu::MemoryUse use = gpu::memory_use(device_.gpu.index);
  const std::uint64_t used_bytes = gpu::used_bytes();
  result_.peak_vram_bytes = std::max(result_.peak_vram_bytes, used_bytes);
  result_.peak_allocated_bytes = std::max(result_.peak_allocated_bytes, use.peak_allocated_bytes);
  const auto text = [](std::uint64_t bytes) {
    return launch::format_bytes(static_cast<std::int64_t>(bytes));
  };
  log_->detail("{}: {} in use on the GPU, {} reserved for tensors, {} in tensors now, {} at most", when,
               text(used_bytes), text(use.reserved_bytes), text(use.allocated_bytes),
               text(use.peak_allocated_bytes));
}

template <typename Work>
double BenchMeasurement::phase(const char* name, Work&& work) {
  world_->barrier().wait();
  engine::StepReporter& reporter = *reporting_.steps;
  const double start_s = clock_.elapsed_s();
  reporter.add_phase(
      {.phase = "warm_up", .start_s = last_phase_end_s_, .wall_s = start_s - last_phase_end_s_});
  const std::uint64_t sent_before = group_.sent_bytes();
  work();
  if (on_gpu()) gpu::synchronize();
  world_->barrier().wait();
  last_phase_end_s_ = clock_.elapsed_s();
  note_memory(name);
  if (on_gpu()) gpu::release_unused();  // takes milliseconds, as much as the encoding of one frame
  const double wall_s = last_phase_end_s_ - start_s;
  const std::uint64_t sent_bytes = group_.sent_bytes() - sent_before;
  reporter.add_phase(
      {.phase = name, .start_s = start_s, .wall_s = wall_s, .sent_bytes = sent_bytes, .is_told = true});
  if (group_.group->rank() == 0) {
    reporting_.observer->on_phase({.phase = name,
                                   .start_s = start_s,
                                   .wall_s = wall_s,
                                   .sent_bytes = sent_bytes,
                                   .world_rank = group_.world_rank});
  }
  reporter.report_phases();
  reporter.report_samples();
  return wall_s;
}

engine::EncoderOptions BenchMeasurement::encoder_options() const {
  return {.placement = {.division = layout_.placement.text_encoder.division},
          .compute = encodes_on_host() ? kernels::Compute() : device_.compute};
}

void BenchMeasurement::measure_text() {
  engine::TextEncoder encoder(engine::synthetic_text_encoder(model_.text_encoder), encoder_options(),
                              encoder_group());
  const std::vector<std::int64_t> ids = bench_prompt();
  inputs_.contexts.push_back(encoder.encode(ids).cpu());
  // The first text also pays for the start of the libraries. The second shows the cost of a prompt.
  result_.text_s = phase("text", [&] { inputs_.contexts.push_back(encoder.encode(ids).cpu()); });
}

void BenchMeasurement::measure_features() {
  result_.clip_s = std::numeric_limits<double>::quiet_NaN();
  if (!model_.image_encoder) return;
  const std::int64_t side = model_.image_encoder->image_size;
  const at::Tensor image = at::rand({3, side, side}, at::kFloat) * 2 - 1;
  engine::ImageEncoder encoder(engine::synthetic_image_encoder(*model_.image_encoder), encoder_options(),
                               encoder_group());
  encoder.encode(image);
  result_.clip_s = phase("encode", [&] { inputs_.image_features = encoder.encode(image); });
}

std::vector<std::int64_t> BenchMeasurement::latent_shape(std::int64_t channels) const {
  const auto shape =
      model_.kind->geometry.latent_shape(channels, options_.bench.frame_num, options_.bench.size);
  return {shape.begin(), shape.end()};
}

void BenchMeasurement::measure_encode(engine::Autoencoder& vae) {
  const bool is_first_frame = model_.kind->conditioning == model::Conditioning::first_frame;
  const int frames = is_first_frame ? 1 : options_.bench.frame_num;
  const at::Tensor image =
      at::rand({3, options_.bench.size.height, options_.bench.size.width}, at::kFloat) * 2 - 1;
  vae.encode_image(image, std::min(frames, 9), *group_.vae);  // 9 frames have every shape of chunk
  at::Tensor latent;                                          // [channels, frames, height, width]
  result_.vae_encode_s = phase("encode", [&] { latent = vae.encode_image(image, frames, *group_.vae); });
  inputs_.set_image(model_, latent);
}

void BenchMeasurement::measure_steps(engine::Denoiser& denoise) {
  const engine::DenoiseInput input =
      inputs_.request(model_, at::randn(latent_shape(model_.kind->geometry.latent_channels), at::kFloat),
                      options_.bench, device_.compute.type == at::kBFloat16);
  at::Tensor latent;
  phase("denoise", [&] {
    StretchEvent stretch = denoise.describe(input, group_);
    stretch.start_s = clock_.elapsed_s();
    reporting_.observer->on_stretch(stretch);
    reporting_.steps->begin_steps(input.settings.steps);
    latent = denoise.run(input, group_,
                         [&](const sample::StepRequest& step, const sample::Prediction& /*prediction*/,
                             const at::Tensor& /*local_tokens*/, const engine::StepTimes& times) {
                           result_.peak_allocated_bytes =
                               std::max(result_.peak_allocated_bytes, times.memory.peak_allocated_bytes);
                           note_memory("after a step");
                           reporting_.steps->end_step(step, times);
                           reporting_.steps->report_step();
                           reporting_.steps->begin_step();
                         });
  });
  denoise.rest();
  if (!latent.isfinite().all().item<bool>()) {
    throw Error(
        "the latent holds values that are not finite: random weights of this model do not stay in range");
  }
}

void BenchMeasurement::measure_decode(engine::Autoencoder& vae) {
  std::vector<std::int64_t> warmup_shape = latent_shape(model_.kind->geometry.latent_channels);
  warmup_shape[1] = std::min<std::int64_t>(warmup_shape[1], 3);
  const auto drop = [](const at::Tensor& /*frames*/) {};
  vae.decode(at::randn(warmup_shape, at::kFloat), *group_.vae, 0, drop);
  const at::Tensor latent = at::randn(latent_shape(model_.kind->geometry.latent_channels), at::kFloat);
  result_.vae_decode_s = phase("decode", [&] { vae.decode(latent, *group_.vae, 0, drop); });
}

/// Collects the steps that count, of all ranks of rank 0's group.
void BenchMeasurement::collect_steps() {
  if (!is_rank_0()) return;
  add_steps(result_, options_.bench, reporting_.observer->events(),
            {.ranks = group_.group->size(), .on_gpu = on_gpu()});
  if (options_.bench.trace_cost)
    result_.trace = trace_cost(result_.step_s, options_.bench.warmup, reporting_.observer->trace_s());
}

void BenchMeasurement::collect_memory() {
  if (reporting_.monitor)
    result_.peak_vram_bytes = std::max(result_.peak_vram_bytes, reporting_.monitor->peak_used_bytes());
  std::array<std::int64_t, 2> peaks{static_cast<std::int64_t>(result_.peak_vram_bytes),
                                    static_cast<std::int64_t>(result_.peak_allocated_bytes)};
  world_->all_reduce(std::span(peaks), comm::ReduceOp::max).wait();
  result_.peak_vram_bytes = static_cast<std::uint64_t>(peaks[0]);
  result_.peak_allocated_bytes = static_cast<std::uint64_t>(peaks[1]);
}

/// Everything that is measured is one video in the trace.
void BenchMeasurement::begin_item() const {
  if (TraceObserver* trace = reporting_.trace->observer())
    trace->on_item_start({.request = bench_item(options_.bench)});
}

void BenchMeasurement::measure() {
  begin_item();
  measure_text();
  measure_features();
  std::unique_ptr<engine::Denoiser> denoise;
  std::unique_ptr<engine::Autoencoder> vae;
  result_.fill_s = phase("load", [&] {
    std::vector<engine::ExpertModel> experts;
    experts.reserve(model_.kind->experts.size());
    for (const model::ExpertKind& expert : model_.kind->experts)
      experts.push_back(engine::synthetic_expert(expert.expert, model_.transformer));
    denoise =
        std::make_unique<engine::Denoiser>(experts,
                                           engine::DenoiseOptions{.placement = layout_.placement.transformers,
                                                                  .head_chunks = layout_.head_chunks,
                                                                  .compute = device_.compute,
                                                                  .attention = options_.attention,
                                                                  .part_times = options_.bench.part_times},
                                           group_);
    vae = std::make_unique<engine::Autoencoder>(engine::synthetic_vae(model_.vae), device_.compute.device,
                                                launch::vae_arithmetic(options_, device_.compute));
  });
  result_.weights_bytes_per_gpu = static_cast<std::uint64_t>(denoise->weight_bytes());
  if (has_image()) measure_encode(*vae);
  measure_steps(*denoise);
  result_.facts = measure_facts(*world_, mpi_, device_);  // while the cards are as warm as in the steps
  measure_decode(*vae);
  if (options_.bench.kernels) {
    result_.kernels = profile_kernels({.settings = options_.bench,
                                       .model = model_,
                                       .inputs = inputs_,
                                       .group = group_,
                                       .bf16_terms = device_.compute.type == at::kBFloat16},
                                      *denoise, *vae);
  }
}

BenchResult BenchMeasurement::run(const launch::Options& options, std::span<const std::string> arguments) {
  options_ = options;
  log_ = std::make_unique<Log>(mpi_.rank(), is_rank_0() ? options_.log_level : LogLevel::quiet, stderr);
  set_up(arguments);
  measure();
  collect_steps();
  collect_memory();
  close_trace();
  return result_;
}

}  // namespace

BenchResult measure_bench(const comm::MpiRanks& ranks, const launch::Options& options,
                          std::span<const std::string> arguments) {
  return BenchMeasurement(ranks).run(options, arguments);
}

}  // namespace wan::apps
