#include "engine/request_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "comm/first_message.h"
#include "core/check.h"
#include "gpu/memory.h"
#include "gpu/part_timer.h"
#include "parallel/host_memory.h"
#include "parallel/plan.h"
#include "wan/storage_error.h"

namespace wan::engine {
namespace {

constexpr const char* less_memory_hint =
    "use more ranks per group, a smaller size, fewer frames, --dit-fsdp on or --offload-model on";

double gibibytes(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

std::string describe_loss(const std::string& id, int steps_done, const Error& error) {
  return fmt::format("{}: the state after {} steps could not be saved: {}", id, steps_done, error.what());
}

}  // namespace

WanEngine::Run::Run(WanEngine& engine, const Request& request, const OutputPaths& outputs, Observer& observer,
                    RunControl& control, const Team& team)
    : engine_(engine),
      request_(request),
      outputs_(outputs),
      observer_(observer),
      control_(control),
      team_(engine.communicators_of(team.width)),
      leader_rank_(team.leader * engine.group_.group->size()),
      reporter_(team_, leader_rank_, engine.monitor_.get(), engine.run_clock_, observer) {}

void WanEngine::Run::phase(const char* name, const std::function<void()>& work) {
  const double start_s = engine_.run_clock_.elapsed_s();
  const std::uint64_t sent_before = team_.sent_bytes();
  phase_ = name;
  if (engine_.phase_listener_) engine_.phase_listener_(phase_);
  {
    const gpu::Range range(name);
    work();
    if (engine_.options_.compute.on_gpu()) {
      gpu::synchronize();
      gpu::release_unused();
    }
  }
  const double wall_s = engine_.run_clock_.elapsed_s() - start_s;
  report_.phase_s[name] += wall_s;
  if (leads()) {
    observer_.on_phase({.phase = name,
                        .start_s = start_s,
                        .wall_s = wall_s,
                        .sent_bytes = team_.sent_bytes() - sent_before});
  }
  await_leader();  // which has written to its trace
  reporter_.report_samples();
}

std::optional<std::string> WanEngine::Run::shortage_in(const std::function<void()>& work) const {
  try {
    parallel::with_host_memory(work);
  } catch (const c10::OutOfMemoryError& error) {
    return describe(error);
  }
  return std::nullopt;
}

void WanEngine::Run::with_memory(const std::function<void()>& work) { meet(shortage_in(work)); }

void WanEngine::Run::with_memory_and_files(const std::function<void()>& work) {
  const std::optional<std::string> shortage = shortage_in(work);
  group().barrier().wait_without_limit();
  meet(shortage);
}

void WanEngine::Run::meet(const std::optional<std::string>& shortage) {
  std::int64_t is_short = shortage ? 1 : 0;
  group().all_reduce(std::span(&is_short, 1), comm::ReduceOp::max).wait();
  if (is_short == 0) return;
  const auto first = comm::first_message(group(), shortage);
  engine_.release_buffers();
  throw MemoryError(phase_, first ? first->text : "a rank has too little memory");
}

StepAction WanEngine::Run::most_urgent(StepAction wish) {
  auto said = static_cast<std::int64_t>(wish);
  group().all_reduce(std::span(&said, 1), comm::ReduceOp::max).wait_without_limit();
  return static_cast<StepAction>(said);
}

void WanEngine::Run::await_leader() {
  std::array<std::byte, 1> nothing{};
  comm::Ticket ticket = group().broadcast(nothing, leader_rank_);
  if (leads()) {
    ticket.wait();
  } else {
    ticket.wait_without_limit();
  }
}

std::string WanEngine::Run::describe(const c10::OutOfMemoryError& shortage) const {
  const std::string what = shortage.what_without_backtrace();
  std::string where = fmt::format("rank {}", team_.world_rank);
  if (engine_.options_.compute.on_gpu()) {
    where = fmt::format("the GPU of rank {}, of whose {:.1f} GiB {:.1f} are in use,", team_.world_rank,
                        gibibytes(static_cast<std::int64_t>(engine_.options_.gpu.total_bytes)),
                        gibibytes(static_cast<std::int64_t>(gpu::used_bytes())));
  }
  return fmt::format("{} has too little memory for a video of {}x{} with {} frames ({}); {}", where,
                     size_.width, size_.height, request_.frame_num, what.substr(0, what.find('\n')),
                     less_memory_hint);
}

RequestReport WanEngine::Run::execute() {
  if (team_.group->size() > engine_.group_.group->size()) {
    phase("join", [this] { take_over(); });
  } else {
    prepare();
  }
  report_.first_step = steps_saved_ = input_.start.steps_done;
  phase("denoise", [this] { denoise(); });
  if (report_.end == RunEnd::finished) finish();
  report_.size = size_;
  report_.frames = request_.frame_num;
  report_.layout = parallel::describe(team_.passes(sample::is_guided(request_.guide_scale)).shape);
  if (engine_.options_.placement.transformers.is_sharded())
    report_.layout += fmt::format(", fsdp{}", team_.fsdp->size());
  report_.device = engine_.options_.compute.on_gpu() ? engine_.options_.gpu.name : "cpu";
  report_.precision = engine_.precision_name();
  report_.median_step_s = median(reporter_.own_seconds());
  if (leads()) report_.lost_texts = engine_.text_->lost_texts(request_);
  return report_;
}

/// What denoising takes on each rank beside the weights.
std::int64_t WanEngine::Run::denoise_bytes() const {
  const bool guided = sample::is_guided(request_.guide_scale);
  const parallel::PlanInput input{
      .transformer = engine_.denoise_->config(),
      .text_encoder = {},
      .vae_parameters = 0,
      .grid = team_.passes(guided).shape,
      .tokens = engine_.kind_.geometry.token_grid(request_.frame_num, size_),
      .guided = guided,
      .placement = engine_.options_.placement,
      .on_gpu = true,
      .element_bytes = static_cast<int>(c10::elementSize(engine_.options_.compute.type))};
  return parallel::request_bytes(input);
}

/// Running out of memory in the steps costs what was done until then: what the item is known to need is tried
/// beforehand.
void WanEngine::Run::require_memory() {
  if (!engine_.options_.compute.on_gpu()) return;
  phase_ = "denoise";
  const std::int64_t bytes = denoise_bytes();
  std::optional<std::string> shortage;
  if (!gpu::has_room(bytes)) {
    shortage = fmt::format(
        "a video of {}x{} with {} frames takes about {:.1f} GiB on each GPU beside the weights, and the GPU "
        "of "
        "rank {} has {:.1f} GiB of {:.1f} in use; {}",
        size_.width, size_.height, request_.frame_num, gibibytes(bytes), team_.world_rank,
        gibibytes(static_cast<std::int64_t>(gpu::used_bytes())),
        gibibytes(static_cast<std::int64_t>(engine_.options_.gpu.total_bytes)), less_memory_hint);
  }
  meet(shortage);
}

/// What a state must agree in, beside the request's own values, which its keeper compares: the layout is
/// free.
std::string WanEngine::Run::identity() const {
  return fmt::format("{} {} {} steps of {}, weights {}", engine_.task_.name, engine_.precision_name(),
                     request_.sample_steps, to_string(request_.solver), engine_.options_.weights);
}

void WanEngine::Run::denoise() {
  input_.settings = {.solver = request_.solver,
                     .steps = request_.sample_steps,
                     .shift = request_.sample_shift,
                     .boundary = request_.boundary,
                     .guide_scale = request_.guide_scale,
                     .bf16_terms = engine_.options_.compute.type == at::kBFloat16};
  reporter_.begin_steps(request_.sample_steps);
  with_memory([this] { engine_.denoise_->reserve(); });
  std::optional<bool> finite;
  with_memory([&] {
    latent_ = engine_.denoise_->run(  // on the compute device
        input_, team_,
        [this](const sample::StepRequest& step, const sample::Prediction& prediction, const at::Tensor& x,
               const StepTimes& times) {
          if (engine_.step_listener_) engine_.step_listener_(step, prediction, x, times);
          reporter_.end_step(step, times);
        },
        this);
    if (report_.end == RunEnd::finished) finite = latent_.isfinite().all().item<bool>();
  });
  if (finite && !*finite) {
    fail_item(
        "denoise",
        "the denoised latent holds values that are not finite; the checkpoint's weights may be damaged");
  }
}

/// Between two steps: what any rank wants done is done by all. False: leave.
bool WanEngine::Run::pass(int steps_done, const std::function<DenoiseState()>& gather) {
  report_.steps_done = steps_done;
  meet(std::nullopt);
  reporter_.report_step();
  const StepAction action = most_urgent(control_.next_action(steps_done, request_.sample_steps));
  if (action == StepAction::hand_over) {
    report_.end = RunEnd::handed_over;
    with_memory([&] { input_.start = gather(); });
    if (leads()) engine_.handed_over_ = std::make_unique<HandOver>(input_, size_);
    return false;
  }
  if (action != StepAction::go_on && steps_done > steps_saved_) {
    DenoiseState state;
    with_memory([&] { state = gather(); });
    if (leads()) save_state(state);
    await_leader();
    steps_saved_ = steps_done;
  }
  if (action == StepAction::stop) report_.end = RunEnd::stopped;
  reporter_.begin_step();
  return action != StepAction::stop;
}

void WanEngine::Run::give_up(const c10::OutOfMemoryError& shortage) {
  meet(describe(shortage));
  fail("the ranks met and did not hear that memory ran out");
}

void WanEngine::Run::save_state(const DenoiseState& state) {
  if (!leads() || outputs_.state.empty()) return;
  try {
    write_request_state(outputs_.state, state, identity());
  } catch (const StorageError& error) {
    control_.on_storage_problem(describe_loss(request_.id, state.steps_done, error));
    return;
  } catch (const Error& error) {
    control_.on_state_problem(describe_loss(request_.id, state.steps_done, error));
    return;
  }
  control_.on_state(state.steps_done);
}

}  // namespace wan::engine
