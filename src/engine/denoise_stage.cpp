#include "engine/denoise_stage.h"

#include <ATen/ATen.h>

#include <limits>
#include <map>

#include "core/check.h"
#include "dit/patchify.h"
#include "parallel/layout.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

/// The rows of `tokens` [tokens, features] that a part owns, with zero rows where it reaches beyond the end.
at::Tensor own_tokens(const at::Tensor& tokens, const dit::SequenceShape& shape) {
  const at::Tensor padded = at::constant_pad_nd(tokens, {0, 0, 0, shape.padded_tokens() - tokens.size(0)});
  return padded.narrow(0, shape.first_token(), shape.local_tokens)
      .clone(at::MemoryFormat::Contiguous);  // [local_tokens, features]; a view would keep all of it alive
}

/// The inverse: every rank's rows brought together into the latent [channels, frames, height, width].
/// Collective over `ulysses`.
at::Tensor gather_latent(const at::Tensor& local_tokens, comm::Communicator& ulysses,
                         const kernels::TokenGrid& grid) {
  const at::Tensor own = local_tokens.contiguous();  // [local_tokens, 64]
  if (ulysses.size() == 1) return dit::unpatchify(own.narrow(0, 0, grid.tokens()), grid);
  const at::Tensor all = at::empty({ulysses.size() * own.size(0), own.size(1)}, own.options());
  ulysses.all_gather(parallel::bytes_of(own), parallel::writable_bytes_of(all)).wait();
  return dit::unpatchify(all.narrow(0, 0, grid.tokens()), grid);  // [16, frames, height, width]
}

}  // namespace

/// What lives as long as one request.
struct DenoiseStage::Request {
  const DenoiseInput& input;
  const parallel::PassCommunicators& passes;
  kernels::Compute compute;
  kernels::TokenGrid grid;
  parallel::UlyssesExchange exchange;
  kernels::RotaryTable rotary;
  at::Tensor condition;  ///< own tokens, [local_tokens, 20 * 4]; undefined for t2v
  std::map<std::pair<Expert, bool>, dit::TextCondition> texts;  ///< by expert and whether it is the prompt

  dit::TextCondition& text(Expert expert, bool is_prompt) {
    std::erase_if(texts, [&](const auto& entry) {
      return entry.first.first != expert;
    });  // the other expert's have served
    const at::Tensor& context = is_prompt ? input.context : input.negative_context;
    return texts.try_emplace({expert, is_prompt}, context.to(compute.device, compute.type)).first->second;
  }
};

DenoiseStage::DenoiseStage(const ExpertModel& high_noise, const ExpertModel& low_noise,
                           const DenoiseOptions& options, parallel::GroupCommunicators& group)
    : group_(group),
      options_(options),
      timer_(options.compute.on_gpu() ? std::make_unique<gpu::PartTimer>() : nullptr),
      clock_(options.part_times ? timer_.get() : nullptr) {
  make_shared_memory(high_noise.config);
  high_noise_ = load(high_noise);
  low_noise_ = load(low_noise);
}

void DenoiseStage::make_shared_memory(const checkpoint::TransformerConfig& config) {
  const std::vector<checkpoint::UnitLayout> units = checkpoint::transformer_units(config);
  const int parts = options_.sharded ? group_.fsdp->size() : 1;
  if (options_.sharded)
    gather_buffers_ = std::make_shared<parallel::GatherBuffers>(units, *group_.fsdp, options_.compute);
  if (options_.offload) arena_ = std::make_shared<parallel::WeightArena>(units, parts, options_.compute);
}

DenoiseStage::ExpertState DenoiseStage::load(const ExpertModel& model) {
  const int parts = options_.sharded ? group_.fsdp->size() : 1;
  const int part = options_.sharded ? group_.fsdp->rank() : 0;
  ExpertState state;
  state.shards = std::make_shared<parallel::WeightShards>(checkpoint::transformer_units(model.config),
                                                          model.read, parts, part, options_.compute, arena_);
  if (options_.sharded) {
    state.weights = std::make_unique<parallel::ShardedWeights>(state.shards, *group_.fsdp, gather_buffers_);
  } else {
    state.weights = std::make_unique<parallel::ResidentWeights>(state.shards);
  }
  state.transformer = std::make_unique<dit::Transformer>(model.config, *state.weights);
  return state;
}

DenoiseStage::Request DenoiseStage::make_request(const DenoiseInput& input,
                                                 const parallel::GroupCommunicators& team) const {
  const at::Tensor& latent = input.start.latent;
  const kernels::TokenGrid grid = dit::token_grid(latent.size(1), latent.size(2), latent.size(3));
  const parallel::PassCommunicators& passes = team.passes(sample::is_guided(input.settings.guide_scale));
  const checkpoint::TransformerConfig& model = config();
  const bool is_own_group = team.group->size() == group_.group->size();
  const int head_chunks = is_own_group ? options_.head_chunks
                                       : parallel::choose_head_chunks(model.num_heads, passes.shape.ulysses);
  Request request{
      .input = input,
      .passes = passes,
      .compute = options_.compute,
      .grid = grid,
      .exchange = parallel::UlyssesExchange(*passes.ulysses, grid.tokens(), model.num_heads, model.head_dim(),
                                            options_.compute, passes.shape.ulysses > 1 ? head_chunks : 1),
      .rotary = {},
      .condition = {},
      .texts = {}};
  const dit::SequenceShape& shape = request.exchange.shape();
  request.rotary =
      kernels::make_rotary_table(grid, model.head_dim(), shape.first_token(), shape.local_tokens);
  request.rotary.cos = request.rotary.cos.to(options_.compute.device);
  request.rotary.sin = request.rotary.sin.to(options_.compute.device);
  if (input.condition.defined()) {
    request.condition =
        own_tokens(dit::patchify(input.condition.to(options_.compute.device)), shape);  // [local_tokens, 80]
  }
  return request;
}

at::Tensor DenoiseStage::run(const DenoiseInput& input, const parallel::GroupCommunicators& team,
                             const DenoiseListener& on_step, const DenoiseGate& gate) {
  Request request = make_request(input, team);
  const dit::SequenceShape& shape = request.exchange.shape();
  Stopwatch watch;
  const auto begin_step = [&] {
    watch = Stopwatch();
    clock_.reset();
  };
  const auto own = [&](const at::Tensor& latent) {
    return own_tokens(dit::patchify(latent.to(options_.compute.device)), shape);  // [local_tokens, 64]
  };
  sample::SamplerState start{
      .steps_done = input.start.steps_done, .x = own(input.start.latent), .history = {}};
  for (const auto& [name, latent] : input.start.history) start.history.emplace(name, own(latent));
  if (options_.compute.on_gpu()) {
    timer_->take();
    gpu::reset_peak(options_.compute.device.index());
  }
  bool has_left = false;
  const auto sampler_gate = [&](const sample::SamplerState& state) {
    has_left = gate && !gate(state.steps_done, [&] { return gather_state(request, state); });
    begin_step();
    return !has_left;
  };
  const auto listener = [&](const sample::StepRequest& step, const sample::Prediction& prediction,
                            const at::Tensor& x) {
    StepTimes times = end_step();
    times.wall_s = watch.elapsed_s();
    if (on_step) on_step(step, prediction, x, times);
  };
  const sample::SamplerState end = sample::sample(
      input.settings, std::move(start),
      [&](const at::Tensor& x, const sample::StepRequest& step) { return predict(request, x, step); },
      listener, sampler_gate);
  return has_left ? at::Tensor() : gather_latent(end.x, *request.passes.ulysses, request.grid);
}

DenoiseState DenoiseStage::gather_state(const Request& request, const sample::SamplerState& state) {
  const auto whole = [&](const at::Tensor& local_tokens) {
    return gather_latent(local_tokens, *request.passes.ulysses, request.grid).cpu();
  };
  DenoiseState result{.steps_done = state.steps_done, .latent = whole(state.x), .history = {}};
  for (const auto& [name, tokens] : state.history) result.history.emplace(name, whole(tokens));
  return result;
}

/// On a GPU this is where the host waits for the step.
StepTimes DenoiseStage::end_step() {
  StepTimes times{.wall_s = 0, .part_s = clock_.part_s(), .gpu_part_s = {}, .memory = {}};
  if (!options_.compute.on_gpu()) {
    times.gpu_part_s.fill(std::numeric_limits<double>::quiet_NaN());
    return times;
  }
  times.gpu_part_s = timer_->take();
  if (!options_.part_times) times.gpu_part_s.fill(std::numeric_limits<double>::quiet_NaN());
  times.memory = gpu::memory_use(options_.compute.device.index());
  gpu::reset_peak(options_.compute.device.index());
  return times;
}

sample::Prediction DenoiseStage::predict(Request& request, const at::Tensor& x,
                                         const sample::StepRequest& step) {
  ExpertState& state = expert(step.expert);
  dit::Transformer& model = *state.transformer;
  {
    const auto scope = clock_.measure(Part::host_copy);
    state.shards->bring_in();
  }
  const at::Tensor patches =
      request.condition.defined() ? at::cat({x, request.condition}, 1) : x;  // [local_tokens, in_dim * 4]
  const dit::ForwardContext context{.exchange = request.exchange,
                                    .rotary = request.rotary,
                                    .clock = clock_,
                                    .probe = nullptr,
                                    .attention = options_.attention};
  if (!step.guided || request.passes.shape.cfg == 1) {
    std::vector<dit::TextCondition*> texts{&request.text(step.expert, true)};
    if (step.guided) texts.push_back(&request.text(step.expert, false));
    std::vector<at::Tensor> predictions = model.forward(patches, step.timestep, texts, context);
    return {.conditional = predictions.front(),
            .unconditional = step.guided ? predictions.back() : at::Tensor()};
  }
  // Each half of the group makes one of the two predictions; then both halves have both.
  const bool is_prompt = request.passes.position.cfg == 0;
  std::vector<dit::TextCondition*> texts{&request.text(step.expert, is_prompt)};
  const at::Tensor own =
      model.forward(patches, step.timestep, texts, context).front().contiguous();  // [local_tokens, 64]
  const at::Tensor both = at::empty({2, own.size(0), own.size(1)}, own.options());
  const auto scope = clock_.measure(Part::wait);
  request.passes.cfg->all_gather(parallel::bytes_of(own), parallel::writable_bytes_of(both)).wait();
  return {.conditional = both[0], .unconditional = both[1]};
}

}  // namespace wan::engine
