#include "engine/denoiser.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "core/check.h"
#include "dit/patchify.h"
#include "engine/latent_digest.h"
#include "gpu/device.h"
#include "parallel/host_memory.h"
#include "parallel/layout.h"
#include "parallel/outline.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

/// The rows of `tokens` [tokens, features] that a part owns, with zero rows where it reaches beyond the end.
at::Tensor own_tokens(const at::Tensor& tokens, const dit::SequenceShape& shape) {
  const at::Tensor padded = at::constant_pad_nd(tokens, {0, 0, 0, shape.padded_tokens() - tokens.size(0)});
  return padded.narrow(0, shape.first_token(), shape.local_tokens)
      .clone(at::MemoryFormat::Contiguous);  // [local_tokens, features]; a view would keep all of it alive
}

/// Every rank's [local_tokens, 64] in rank order, [padded_tokens, 64]. Collective.
at::Tensor gather_tokens(const at::Tensor& local_tokens, comm::Communicator& group) {
  const at::Tensor own = local_tokens.contiguous();  // [local_tokens, 64]
  at::Tensor all = at::empty({group.size() * own.size(0), own.size(1)}, own.options());
  group.all_gather(parallel::bytes_of(own), parallel::writable_bytes_of(all)).wait();
  return all;
}

/// The inverse of own_tokens(): every rank's rows of each of these brought together into a latent [channels,
/// frames, height, width] on `device`. Collective over `ulysses`, also on a rank whose memory runs out.
std::vector<at::Tensor> gather_latents(const std::vector<at::Tensor>& local_tokens, at::Device device,
                                       comm::Communicator& ulysses, const kernels::TokenGrid& grid) {
  const bool split = ulysses.size() > 1;
  const parallel::CallsSince gathers(ulysses, comm::Operation::all_gather);
  const auto gather = [&] {
    std::vector<at::Tensor> latents;
    for (const at::Tensor& own : local_tokens) {
      const at::Tensor all = split ? gather_tokens(own, ulysses) : own;  // [padded_tokens, 64]
      latents.push_back(dit::unpatchify(all.narrow(0, 0, grid.tokens()), grid).to(device));
    }
    return latents;
  };
  return parallel::work_or_owe(gather, [&] {
    parallel::OwedCalls calls(gathers.count());
    for (const at::Tensor& own : local_tokens) {
      if (split && calls.is_owed()) gather_tokens(own, ulysses);
    }
  });
}

}  // namespace

/// Data that live as long as one request.
struct Denoiser::Request {
  const DenoiseInput& input;
  const parallel::PassCommunicators& passes;
  kernels::Compute compute;
  kernels::TokenGrid grid;
  parallel::UlyssesExchange exchange;
  kernels::RotaryTable rotary;
  at::Tensor condition;  ///< own tokens, [local_tokens, 20 * 4]; undefined for t2v
  at::Tensor known;      ///< own tokens of the known first frame, [1 or more, features]; undefined: none
  std::map<std::pair<Expert, bool>, dit::TextCondition> texts;  ///< by expert and whether it is the prompt

  std::optional<dit::ImageContext> image;      ///< of a model with an image branch
  std::optional<dit::OverflowMarks> overflow;  ///< in fp16

  /// A prediction under way, and the collectives of each group in it so far.
  struct OpenPrediction {
    sample::StepRequest step;
    std::size_t texts;  ///< predictions made by this rank
    bool shares;        ///< the two predictions are made by different ranks, and exchanged
    parallel::CallsSince gathers, exchanges, shared;
  };
  std::optional<OpenPrediction> open;

  dit::TextCondition& text(Expert expert, bool is_prompt) {
    std::erase_if(texts, [&](const auto& entry) {
      return entry.first.first != expert;
    });  // the other expert's have served
    const at::Tensor& context = is_prompt ? input.context : input.negative_context;
    return texts.try_emplace({expert, is_prompt}, context.to(compute.device, compute.type)).first->second;
  }
};

Denoiser::Denoiser(const std::vector<ExpertModel>& experts, const DenoiseOptions& options,
                   parallel::GroupCommunicators& group)
    : Denoiser(
          read_experts(experts, options.placement, options.compute, group.fsdp->rank(), group.fsdp->size()),
          options, group) {}

Denoiser::Denoiser(std::vector<ExpertShards> experts, const DenoiseOptions& options,
                   parallel::GroupCommunicators& group)
    : group_(group),
      options_(options),
      timer_(options.compute.on_gpu() ? std::make_unique<gpu::PartTimer>() : nullptr),
      clock_(options.part_times ? timer_.get() : nullptr) {
  WAN_CHECK(!experts.empty(), "a model without an expert");
  if (options_.placement.is_sharded()) {
    gather_buffers_ = std::make_shared<parallel::GatherBuffers>(experts.front().shards->units(), *group_.fsdp,
                                                                options_.compute);
  }
  for (ExpertShards& expert : experts) experts_.push_back(use(std::move(expert)));
  rest();
}

Denoiser::Denoiser(std::vector<ExpertShards> experts, std::vector<ExpertTurns> turns,
                   const DenoiseOptions& options, parallel::GroupCommunicators& group)
    : Denoiser(std::move(experts), options, group) {
  WAN_CHECK(turns.empty() || turns.size() == experts_.size(), "turns in {} memories of {}", turns.size(),
            experts_.size());
  turns_ = std::move(turns);
}

std::size_t Denoiser::memory_of(Expert which) const {
  const auto found =
      std::ranges::find_if(turns_, [&](const ExpertTurns& turns) { return turns.serves(which); });
  WAN_CHECK(found != turns_.end(), "the model has no {} expert", to_string(which));
  return static_cast<std::size_t>(found - turns_.begin());
}

std::int64_t Denoiser::take_turn(Expert which, int set) {
  if (holds(which, set)) return 0;
  const std::size_t memory = memory_of(which);
  ExpertState& state = experts_[memory];
  if (options_.compute.on_gpu()) gpu::synchronize();  // kernels may still read the weights that were there
  const std::int64_t bytes = turns_[memory].read(which, set, *state.shards);
  // Sources and transformer are made anew, so that nothing of other weights is left in them.
  state = use({.expert = which, .config = state.transformer->config(), .shards = state.shards});
  return bytes;
}

std::int64_t Denoiser::weight_bytes() const {
  std::int64_t bytes = 0;
  for (const ExpertState& state : experts_) bytes += state.shards->bytes();
  return bytes;
}

Denoiser::ExpertState& Denoiser::expert(Expert which) {
  const auto found = std::ranges::find(experts_, which, &ExpertState::expert);
  WAN_CHECK(found != experts_.end(), "the model has no {} expert", to_string(which));
  return *found;
}

std::shared_ptr<parallel::WeightShards> Denoiser::next_in_arena(const sample::StepRequest& step,
                                                                const sample::SamplerSettings& settings) {
  const Expert next = sample::expert_after(step.index, settings);
  return next == step.expert ? nullptr : expert(next).shards;
}

Denoiser::ExpertState Denoiser::use(ExpertShards expert) {
  ExpertState state{.expert = expert.expert,
                    .shards = std::move(expert.shards),
                    .weights = {},
                    .in_arena = nullptr,
                    .transformer = {}};
  if (options_.placement.is_sharded()) {
    state.weights = std::make_unique<parallel::ShardedWeights>(state.shards, *group_.fsdp, gather_buffers_);
  } else {
    state.weights = std::make_unique<parallel::ResidentWeights>(state.shards);
  }
  if (state.shards->may_leave()) {
    auto in_arena = std::make_unique<parallel::ArenaWeights>(std::move(state.weights), state.shards, clock_);
    state.in_arena = in_arena.get();
    state.weights = std::move(in_arena);
  }
  state.transformer = std::make_unique<dit::Transformer>(expert.config, *state.weights);
  return state;
}

Denoiser::Request Denoiser::make_request(const DenoiseInput& input,
                                         const parallel::GroupCommunicators& team) const {
  const at::Tensor& latent = input.start.latent;
  const kernels::TokenGrid grid = dit::token_grid(latent.size(1), latent.size(2), latent.size(3));
  const parallel::PassCommunicators& passes =
      team.passes(sample::is_guided(input.start.steps_done, input.settings));
  const checkpoint::TransformerConfig& model = config();
  Request request{
      .input = input,
      .passes = passes,
      .compute = options_.compute,
      .grid = grid,
      .exchange = parallel::UlyssesExchange(*passes.ulysses, grid.tokens(), model.num_heads, model.head_dim(),
                                            options_.compute, head_chunks(team, passes, grid.tokens())),
      .rotary = {},
      .condition = {},
      .known = {},
      .texts = {},
      .image = {},
      .overflow = {},
      .open = {}};
  const dit::SequenceShape& shape = request.exchange.shape();
  request.rotary =
      kernels::make_rotary_table(grid, model.head_dim(), shape.first_token(), shape.local_tokens);
  request.rotary.cos = request.rotary.cos.to(options_.compute.device);
  request.rotary.sin = request.rotary.sin.to(options_.compute.device);
  if (input.image_features.defined())
    request.image.emplace(input.image_features.to(options_.compute.device));  // [tokens, image_dim]
  if (options_.compute.type == at::kHalf) request.overflow.emplace(model.num_layers, options_.compute.device);
  if (input.condition.defined()) {
    request.condition =
        own_tokens(dit::patchify(input.condition.to(options_.compute.device)), shape);  // [local_tokens, 80]
  }
  if (input.first_frame.defined()) {
    const at::Tensor tokens =
        dit::patchify(input.first_frame.to(options_.compute.device));  // [tokens of a frame, features]
    const std::int64_t own =
        std::clamp<std::int64_t>(tokens.size(0) - shape.first_token(), 0, shape.local_tokens);
    if (own > 0) request.known = tokens.narrow(0, shape.first_token(), own).contiguous();
  }
  return request;
}

void Denoiser::reserve() {
  if (gather_buffers_) gather_buffers_->reserve();
  experts_.front().shards->reserve();  // of the arena, which all experts share
}

void Denoiser::release() {
  if (gather_buffers_) gather_buffers_->release();
  rest();
}

void Denoiser::rest() {
  if (experts_.size() == 1) experts_.front().shards->release();
}

at::Tensor Denoiser::run(const DenoiseInput& input, const parallel::GroupCommunicators& team,
                         const DenoiseListener& on_step, DenoiseGate* gate) {
  std::optional<Request> request;  // alive until the ranks have met: its memory goes on all of them alike
  std::optional<c10::OutOfMemoryError> shortage;
  at::Tensor tokens;  // [local_tokens, 64]
  try {
    tokens = parallel::with_host_memory([&] { return run_steps(request, input, team, on_step, gate); });
  } catch (const c10::OutOfMemoryError& error) {
    shortage = error;
  }
  if (shortage) {
    if (request) parallel::do_owed_collectives([&] { finish_collectives(*request); });
    if (gate != nullptr) gate->give_up(*shortage);
    throw std::move(*shortage);
  }
  if (!tokens.defined()) return {};
  return gather_latents({tokens}, options_.compute.device, *request->passes.ulysses, request->grid).front();
}

at::Tensor Denoiser::run_steps(std::optional<Request>& request, const DenoiseInput& input,
                               const parallel::GroupCommunicators& team, const DenoiseListener& on_step,
                               DenoiseGate* gate) {
  request.emplace(make_request(input, team));
  const dit::SequenceShape& shape = request->exchange.shape();
  Stopwatch watch;
  const auto own = [&](const at::Tensor& latent) {
    return own_tokens(dit::patchify(latent.to(options_.compute.device)), shape);  // [local_tokens, 64]
  };
  sample::SamplerState start{
      .steps_done = input.start.steps_done, .x = own(input.start.latent), .history = {}};
  for (const auto& [name, latent] : input.start.history) start.history.emplace(name, own(latent));
  if (input.start.clean.defined()) start.clean = own(input.start.clean);
  if (options_.compute.on_gpu()) {
    timer_->take();
    gpu::reset_peak(options_.compute.device.index());
  }
  bool has_left = false;
  const auto sampler_gate = [&](const sample::SamplerState& state) {
    has_left =
        gate != nullptr && !gate->pass(state.steps_done, [&] { return gather_state(*request, state); });
    watch = Stopwatch();
    clock_.reset();
    return !has_left;
  };
  const auto listener = [&](const sample::StepRequest& step, const sample::Prediction& prediction,
                            const at::Tensor& x) {
    const at::Tensor share = own_digest_share(request->passes, shape, x);
    StepTimes times = end_step(*request);
    if (share.defined()) times.digest_share = share.item<std::int64_t>();
    times.wall_s = watch.elapsed_s();
    if (on_step) on_step(step, prediction, x, times);
  };
  sample::SamplerSettings settings = input.settings;
  settings.known_rows = request->known;
  const sample::SamplerState end = sample::sample(
      settings, std::move(start),
      [&](const at::Tensor& x, const sample::StepRequest& step) { return predict(*request, x, step); },
      listener, sampler_gate);
  return has_left ? at::Tensor() : end.x;
}

DenoiseState Denoiser::gather_state(const Request& request, const sample::SamplerState& state) {
  std::vector<at::Tensor> own{state.x};  // [local_tokens, 64] each
  for (const auto& [name, tokens] : state.history) own.push_back(tokens);
  if (state.clean.defined()) own.push_back(state.clean);
  std::vector<at::Tensor> whole = gather_latents(own, at::kCPU, *request.passes.ulysses, request.grid);
  DenoiseState result{.steps_done = state.steps_done, .latent = whole.front(), .history = {}};
  std::size_t next = 1;
  for (const auto& [name, tokens] : state.history) result.history.emplace(name, whole[next++]);
  if (state.clean.defined()) result.clean = whole[next];
  return result;
}

/// On a GPU this is where the host waits for the step.
StepTimes Denoiser::end_step(Request& request) {
  StepTimes times{.wall_s = 0, .part_s = clock_.part_s(), .gpu_part_s = {}, .memory = {}};
  if (options_.compute.on_gpu()) times.gpu_part_s = timer_->take();
  if (request.overflow) times.overflow = request.overflow->take();
  if (!options_.compute.on_gpu()) {
    times.gpu_part_s.fill(std::numeric_limits<double>::quiet_NaN());
    return times;
  }
  if (!options_.part_times) times.gpu_part_s.fill(std::numeric_limits<double>::quiet_NaN());
  times.memory = gpu::memory_use(options_.compute.device.index());
  gpu::reset_peak(options_.compute.device.index());
  return times;
}

sample::Prediction Denoiser::predict(Request& request, const at::Tensor& x, const sample::StepRequest& step) {
  // Each half of the group makes one of the two predictions, or all ranks make both.
  const bool shares = step.guided && request.passes.shape.cfg > 1;
  const bool is_prompt = !shares || request.passes.position.cfg == 0;
  request.open = {.step = step,
                  .texts = step.guided && !shares ? std::size_t{2} : std::size_t{1},
                  .shares = shares,
                  .gathers = {*group_.fsdp, comm::Operation::all_gather},
                  .exchanges = {*request.passes.ulysses, comm::Operation::all_to_all},
                  .shared = {*request.passes.cfg, comm::Operation::all_gather}};
  ExpertState& state = expert(step.expert);
  if (state.in_arena != nullptr) state.in_arena->begin_forward(next_in_arena(step, request.input.settings));
  const at::Tensor patches =
      request.condition.defined() ? at::cat({x, request.condition}, 1) : x;  // [local_tokens, in_dim * 4]
  const dit::ForwardContext context{
      .exchange = request.exchange,
      .rotary = request.rotary,
      .clock = clock_,
      .probe = nullptr,
      .attention = options_.attention,
      .times = {.known_tokens = request.known.defined() ? request.known.size(0) : 0},
      .image = request.image ? &*request.image : nullptr,
      .overflow = request.overflow ? &*request.overflow : nullptr};
  std::vector<dit::TextCondition*> texts{&request.text(step.expert, is_prompt)};
  if (request.open->texts > 1) texts.push_back(&request.text(step.expert, false));
  std::vector<at::Tensor> predictions = state.transformer->forward(patches, step.timestep, texts, context);
  sample::Prediction prediction{.conditional = predictions.front(),  // [local_tokens, 64] each
                                .unconditional = step.guided ? predictions.back() : at::Tensor()};
  if (shares) prediction = share_passes(request, predictions.front());
  request.open.reset();
  return prediction;
}

/// Both halves of the group get both predictions. `own`: [local_tokens, 64].
sample::Prediction Denoiser::share_passes(Request& request, const at::Tensor& own) {
  const at::Tensor dense = own.contiguous();
  const at::Tensor both = at::empty({2, own.size(0), own.size(1)}, own.options());
  const auto scope = clock_.measure(Part::wait);
  request.passes.cfg->all_gather(parallel::bytes_of(dense), parallel::writable_bytes_of(both)).wait();
  return {.conditional = both[0], .unconditional = both[1]};
}

/// After a prediction that broke off on this rank: walks it again as an outline, for the sake of the
/// collectives that the others wait for.
void Denoiser::finish_collectives(Request& request) {
  if (!request.open) return;
  const Request::OpenPrediction open = *std::exchange(request.open, std::nullopt);
  const ExpertState& state = expert(open.step.expert);
  const at::ScalarType type = request.compute.type;
  parallel::OutlineWeights weights(*state.weights, state.shards->units(), type, open.gathers.count());
  parallel::OutlineExchange exchange(request.exchange, type, open.exchanges.count());
  const std::int64_t tokens = exchange.shape().local_tokens;
  const at::Tensor angles = parallel::outline_of({tokens, config().head_dim() / 2}, at::kFloat);
  const kernels::RotaryTable rotary{.cos = angles, .sin = angles};
  std::vector<dit::TextCondition> conditions(
      open.texts, dit::TextCondition(parallel::outline_of({1, config().text_dim}, type)));
  std::vector<dit::TextCondition*> texts;
  texts.reserve(conditions.size());
  for (dit::TextCondition& condition : conditions) texts.push_back(&condition);
  std::optional<dit::ImageContext> image;
  if (request.image) image.emplace(parallel::outline_of({1, config().image_dim}, at::kFloat));
  PartClock clock;
  dit::Transformer(config(), weights)
      .forward(parallel::outline_of({tokens, config().in_dim * dit::patch_latents}, at::kFloat),
               open.step.timestep, texts,
               {.exchange = exchange,
                .rotary = rotary,
                .clock = clock,
                .probe = nullptr,
                .image = image ? &*image : nullptr});
  if (!open.shares || open.shared.count() > 0) return;
  const std::int64_t features = request.input.start.latent.size(0) * dit::patch_latents;
  share_passes(request, at::zeros({tokens, features},
                                  request.compute.fp32()));  // [local_tokens, 64]
}

}  // namespace wan::engine
