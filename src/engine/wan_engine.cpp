#include "engine/wan_engine.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "comm/first_message.h"
#include "core/check.h"
#include "engine/request_run.h"
#include "engine/step_passes.h"
#include "engine/validate.h"
#include "gpu/memory.h"
#include "parallel/host_memory.h"

namespace wan::engine {

namespace {

constexpr double sample_period_s = 0.2;

/// Calls a function that does not throw when the scope ends.
template <typename Function>
class ScopeExit {
 public:
  explicit ScopeExit(Function function) : function_(std::move(function)) {}
  ScopeExit(const ScopeExit&) = delete;
  ScopeExit& operator=(const ScopeExit&) = delete;
  ~ScopeExit() { function_(); }

 private:
  Function function_;
};

/// The options as the engine takes them for a group of so many ranks: a rank alone divides nothing, and
/// nothing can wait on the host without a GPU.
EngineOptions for_group(EngineOptions options, int ranks) {
  parallel::WeightPlacement& leanest = options.leaner.leanest;
  options.placement = parallel::for_group(options.placement, ranks);
  leanest = parallel::for_group(leanest, ranks);
  if (!options.compute.on_gpu()) leanest.transformers.residence = options.placement.transformers.residence;
  return options;
}

/// The division of the ranks, and another one of steps without guidance.
std::string layout_of(const Request& request, const parallel::GroupCommunicators& team) {
  const int unguided_steps = count_unguided_steps(request, request.sample_steps);
  if (unguided_steps == request.sample_steps) return parallel::describe(team.unguided.shape);
  std::string text = parallel::describe(team.guided.shape);
  if (unguided_steps > 0 && team.unguided.shape != team.guided.shape)
    text += fmt::format(" (without guidance {})", parallel::describe(team.unguided.shape));
  return text;
}

}  // namespace

EncoderOptions text_options(const EngineOptions& options, const parallel::NetworkPlacement& placement) {
  const bool on_host = placement.residence == parallel::Residence::computes_on_host;
  return {.placement = placement, .compute = on_host ? kernels::Compute() : options.compute};
}

WanEngine::WanEngine(const checkpoint::CheckpointFolder& folder, const EngineOptions& options,
                     parallel::GroupCommunicators group, const Stopwatch& run_clock,
                     std::unique_ptr<ModelLoading> loading)
    : folder_(folder),
      kind_(model::model_kind(folder.task.name)),
      options_(for_group(options, group.group->size())),
      groups_(std::move(group)),
      run_clock_(run_clock),
      tools_{.compute = options_.compute, .gpu = options_.gpu, .placement = options_.placement},
      pipeline_(make_pipeline(kind_, tools_)) {
  if (!loading) {
    loading = std::make_unique<ModelLoading>(folder_, options_, place_in_group());
    loading->finish(nullptr);
  }
  if (options.compute.on_gpu()) {
    monitor_ = std::make_unique<gpu::Monitor>(options.gpu.bus_id, sample_period_s,
                                              [&clock = run_clock_] { return clock.elapsed_s(); });
  }
  use_models(*loading);
  use_vae(loading->vae());
  loading.reset();
  if (options.compute.on_gpu()) gpu::release_unused();
}

LoadingPlace WanEngine::place_in_group() const {
  return {.group_rank = groups_.own().fsdp->rank(), .group_size = groups_.own().fsdp->size()};
}

void WanEngine::use_models(ModelLoading& loading) {
  text_encoder_files_ = loading.take_text_files();
  const EncoderOptions text = text_options(options_, options_.placement.text_encoder);
  const bool together = text.compute.on_gpu() == options_.compute.on_gpu();
  tools_.networks.text = std::make_unique<PromptEncoder>(
      folder_.tokenizer, loading.text_encoder(), text, together ? *groups_.own().fsdp : *groups_.own().group,
      loading.take_text_shards());
  image_encoder_files_ = loading.take_image_files();
  if (loading.image_encoder()) {
    tools_.networks.image = std::make_unique<ImageEncoder>(
        *loading.image_encoder(), text, together ? *groups_.own().fsdp : *groups_.own().group,
        loading.take_image_shards());
  }
  const DenoiseOptions denoise{.placement = options_.placement.transformers,
                               .head_chunks = options_.head_chunks,
                               .compute = options_.compute,
                               .attention = options_.attention};
  std::vector<ExpertShards> experts = loading.take_experts();
  std::vector<ExpertTurns> turns = loading.take_turns();
  if (!turns.empty()) expert_files_ = loading.take_expert_files();
  tools_.networks.denoise =
      std::make_unique<Denoiser>(std::move(experts), std::move(turns), denoise, groups_.own());
}

std::uint64_t WanEngine::expert_bytes_read() const {
  std::uint64_t bytes = 0;
  for (const ExpertFiles& files : expert_files_) bytes += files.weights.bytes_read();
  return bytes;
}

void WanEngine::use_vae(const VaeModel& vae) {
  host_use_ = {
      .computes = !options_.compute.on_gpu(),
      .vae_width = vae.config.decoder_level(0) / (vae.config.pixel_patch() * vae.config.pixel_patch())};
  tools_.networks.vae = std::make_unique<Autoencoder>(vae, options_.compute.device,
                                                      vae_arithmetic(options_.compute, options_.vae_rounded));
}

WanEngine::~WanEngine() = default;

const text::Tokenizer& WanEngine::tokenizer() const { return tools_.networks.text->tokenizer(); }

void WanEngine::validate(const Request& request) const {
  try {
    parallel::with_host_memory([&] { validate_request(request, kind_, host_use_); });
  } catch (const c10::OutOfMemoryError& error) {
    throw MemoryError("image",
                      fmt::format("the host has too little memory for the image {} ({}); scale it down",
                                  request.image.string(), parallel::describe_shortage(error)));
  }
}

RunSetup WanEngine::setup_of(const Request& request, const OutputPaths& outputs, Observer& observer,
                             RunControl& control, const Team& team) {
  return {.request = request,
          .outputs = outputs,
          .observer = observer,
          .control = control,
          .team = groups_.team(team.width),
          .leader_rank = team.leader * groups_.own().group->size(),
          .pipeline = pipeline_,
          .geometry = kind_.geometry,
          .identity = identity_of(request),
          .clock = run_clock_,
          .monitor = monitor_.get(),
          .gpu = options_.compute.on_gpu() ? &options_.gpu : nullptr,
          .release = [this] { release_buffers(); },
          .on_note = options_.on_note,
          .on_phase = phase_listener_,
          .memory_remedy = options_.memory_remedy};
}

RequestReport WanEngine::run(const Request& request, const OutputPaths& outputs, Observer& observer,
                             RunControl& control, const Team& team) {
  const double begun_s = run_clock_.elapsed_s();
  RunSetup setup = setup_of(request, outputs, observer, control, team);
  setup.begun_s = begun_s;
  setup.before = take_since_request(begun_s);
  RequestRun run(setup);
  const ScopeExit ended([&] {
    idle_since_s_ = run.last_phase_end_s();
    has_idled_ = false;
  });
  auto waiting = waiting_.extract(request.id);
  RequestReport report = team.width > 1 ? run.join(std::move(handed_over_))
                         : waiting      ? run.go_on(std::move(waiting.mapped()))
                                        : run.execute();
  handed_over_ = run.handed_over();
  if (report.end == RunEnd::waits) waiting_.insert_or_assign(request.id, std::move(handed_over_));
  report.layout = layout_of(request, setup.team);
  if (options_.placement.transformers.is_sharded())
    report.layout += fmt::format(", fsdp{}", setup.team.fsdp->size());
  report.device = options_.compute.on_gpu() ? options_.gpu.name : "cpu";
  report.precision = precision_name();
  if (setup.team.group->rank() == setup.leader_rank)
    report.lost_texts = tools_.networks.text->lost_texts(request);
  return report;
}

std::string WanEngine::identity_of(const Request& request) const {
  // In states of earlier versions, whose timesteps of euler had no fraction, "euler" stands alone.
  const std::string_view grid = request.solver == Solver::euler ? " (fp32 grid)" : "";
  const std::vector<lora::LoraSet>& sets = options_.loras.sets;
  const auto set = static_cast<std::size_t>(request.lora_set);
  WAN_CHECK(sets.empty() ? set == 0 : set < sets.size(), "set {} of {} sets of LoRAs", set, sets.size());
  std::string vae;
  if (options_.vae_rounded) vae = fmt::format(", VAE {}", c10::toString(*options_.vae_rounded));
  return fmt::format("{} {} {} steps of {}{}, weights {}{}{}", folder_.task.name, precision_name(),
                     request.sample_steps, to_string(request.solver), grid, options_.weights,
                     lora::identity_text(sets.empty() ? lora::LoraSet() : sets[set]), vae);
}

void WanEngine::release_buffers() const {
  tools_.networks.text->release();
  if (tools_.networks.image) tools_.networks.image->release();
  tools_.networks.denoise->release();
  if (options_.compute.on_gpu()) gpu::release_unused();
}

std::vector<RankPhase> WanEngine::take_since_request(double now_s) {
  std::vector<RankPhase> phases = std::exchange(since_request_, {});
  phases.push_back({.phase = "idle", .start_s = idle_since_s_, .wall_s = now_s - idle_since_s_});
  idle_since_s_ = now_s;
  return phases;
}

/// A second call changes nothing: an item that never came to the engine is a part of the waiting.
void WanEngine::begin_idle() { begin_idle_at(run_clock_.elapsed_s()); }

void WanEngine::begin_idle_at(double time_s) {
  if (!std::exchange(has_idled_, true)) idle_since_s_ = time_s;
}

void WanEngine::report_idle(Observer& observer) {
  const int rank = groups_.own().world_rank;
  std::vector<PhaseEvent> events;
  for (const RankPhase& phase : take_since_request(run_clock_.elapsed_s())) {
    events.push_back({.phase = std::string(phase.phase),
                      .start_s = phase.start_s,
                      .wall_s = phase.wall_s,
                      .world_rank = rank});
  }
  observer.on_rank_phases(events);
  if (!monitor_) return;
  std::vector<DeviceSample> samples;
  for (const gpu::Sample& sample : monitor_->take()) samples.push_back(device_sample(sample, rank));
  if (!samples.empty()) observer.on_samples(samples);
}

void WanEngine::finish(Observer& observer) {
  StepReporter reporter(groups_.own(), 0, monitor_.get(), run_clock_, observer);
  for (const RankPhase& phase : take_since_request(run_clock_.elapsed_s())) reporter.add_phase(phase);
  reporter.report_phases();
  reporter.report_samples();
}

std::string WanEngine::make_leaner() {
  const ScopeExit ended([this, begun_s = run_clock_.elapsed_s()] {
    const double now_s = run_clock_.elapsed_s();
    since_request_.push_back({.phase = "idle", .start_s = idle_since_s_, .wall_s = begun_s - idle_since_s_});
    since_request_.push_back({.phase = "load", .start_s = begun_s, .wall_s = now_s - begun_s});
    idle_since_s_ = now_s;
  });
  const parallel::WeightPlacement leaner =
      parallel::leaner_placement(options_.placement, options_.leaner.leanest);
  if (leaner == options_.placement) return {};
  const bool needs_host =
      leaner.transformers.waits_on_host() && !options_.placement.transformers.waits_on_host();
  if (needs_host && !can_offload()) return {};
  const parallel::WeightPlacement before = std::exchange(options_.placement, leaner);
  std::optional<std::string> problem;
  try {
    reload();
  } catch (const Error& error) {  // of host memory, for one
    problem = error.what();
  } catch (const c10::OutOfMemoryError& error) {
    problem = error.what_without_backtrace();
  }
  groups_.own().group->barrier().wait_without_limit();  // reading weights may take any time
  if (!comm::first_message(*groups_.own().group, problem)) return parallel::describe_step(before, leaner);
  options_.placement = before;
  reload();
  return {};
}

bool WanEngine::can_offload() const {
  const std::optional<std::int64_t>& limit = options_.leaner.host_bytes;
  std::int64_t lacks = limit && tools_.networks.denoise->weight_bytes() > *limit ? 1 : 0;
  groups_.own().group->all_reduce(std::span(&lacks, 1), comm::ReduceOp::max).wait();
  return lacks == 0;
}

/// The models anew, placed as the options now say.
void WanEngine::reload() {
  tools_.networks.text.reset();
  tools_.networks.image.reset();
  tools_.networks.denoise.reset();
  expert_files_.clear();
  if (options_.compute.on_gpu()) gpu::release_unused();
  ModelLoading loading(folder_, options_, place_in_group(), LoadedNetworks::without_vae);
  loading.finish(nullptr);
  use_models(loading);
  if (options_.compute.on_gpu()) gpu::release_unused();
}

bool WanEngine::can_team(const Request& request, int width) const {
  if (!groups_.allows(width) || options_.placement.transformers.takes_turns()) return false;
  const auto shape = parallel::choose_team_shape(width * groups_.own().group->size(),
                                                 tools_.networks.denoise->config().num_heads);
  // Without guidance there is one pass only, which all ranks must be able to share.
  const bool is_guided = count_unguided_steps(request, request.sample_steps) < request.sample_steps;
  return shape && (is_guided || shape->unguided.copies() == 1);
}

std::string WanEngine::precision_name() const { return std::string(options_.compute.precision_name()); }

}  // namespace wan::engine
