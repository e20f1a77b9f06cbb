#include "engine/denoise_stage.h"

#include <ATen/ATen.h>

#include <map>

#include "core/check.h"
#include "dit/patchify.h"
#include "engine/parameter_reader.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

std::unique_ptr<checkpoint::WeightSource> load_weights(const ExpertFiles& from, bool sharded,
                                                       comm::Communicator& group) {
  std::vector<checkpoint::UnitLayout> units = checkpoint::transformer_units(from.config);
  if (sharded) {
    return std::make_unique<parallel::ShardedWeights>(std::move(units), parameter_reader(from.weights),
                                                      group);
  }
  return std::make_unique<parallel::ResidentWeights>(units, parameter_reader(from.weights));
}

/// The rows of `tokens` [tokens, features] that a part owns, with zero rows where it reaches beyond the end.
at::Tensor own_tokens(const at::Tensor& tokens, const dit::SequenceShape& shape) {
  const at::Tensor padded = at::constant_pad_nd(tokens, {0, 0, 0, shape.padded_tokens() - tokens.size(0)});
  return padded.narrow(0, shape.first_token(), shape.local_tokens).contiguous();  // [local_tokens, features]
}

}  // namespace

/// What lives as long as one request.
struct DenoiseStage::Request {
  const DenoiseInput& input;
  const parallel::PassCommunicators& passes;
  parallel::UlyssesExchange exchange;
  kernels::RotaryTable rotary;
  at::Tensor condition;  ///< own tokens, [local_tokens, 20 * 4]; undefined for t2v
  std::map<std::pair<Expert, bool>, dit::TextCondition> texts;  ///< by expert and whether it is the prompt

  dit::TextCondition& text(Expert expert, bool is_prompt) {
    std::erase_if(texts, [&](const auto& entry) {
      return entry.first.first != expert;
    });  // the other expert's have served
    return texts.try_emplace({expert, is_prompt}, is_prompt ? input.context : input.negative_context)
        .first->second;
  }
};

ExpertFiles open_expert(const std::filesystem::path& folder) {
  checkpoint::Checkpoint weights = checkpoint::Checkpoint::open_safetensors_folder(folder);
  checkpoint::TransformerConfig config = checkpoint::read_transformer_config(folder, weights);
  checkpoint::expect_tensors(weights, checkpoint::transformer_tensors(config));
  return {.weights = std::move(weights), .config = std::move(config)};
}

DenoiseStage::DenoiseStage(const ExpertFiles& high_noise, const ExpertFiles& low_noise, bool sharded,
                           parallel::GroupCommunicators& group, int head_chunks)
    : group_(group),
      head_chunks_(head_chunks),
      high_noise_weights_(load_weights(high_noise, sharded, *group.fsdp)),
      low_noise_weights_(load_weights(low_noise, sharded, *group.fsdp)),
      high_noise_(std::make_unique<dit::Transformer>(high_noise.config, *high_noise_weights_)),
      low_noise_(std::make_unique<dit::Transformer>(low_noise.config, *low_noise_weights_)) {}

at::Tensor DenoiseStage::run(const DenoiseInput& input, const DenoiseListener& on_step) {
  const kernels::TokenGrid grid =
      dit::token_grid(input.noise.size(1), input.noise.size(2), input.noise.size(3));
  const bool guided = sample::is_guided(input.settings.guide_scale);
  const parallel::PassCommunicators& passes = group_.passes(guided);
  const std::int64_t head_dim = config().dim / config().num_heads;
  Request request{.input = input,
                  .passes = passes,
                  .exchange = parallel::UlyssesExchange(*passes.ulysses, grid.tokens(), config().num_heads,
                                                        head_dim, at::kFloat, head_chunks_),
                  .rotary = {},
                  .condition = {},
                  .texts = {}};
  const dit::SequenceShape& shape = request.exchange.shape();
  request.rotary = kernels::make_rotary_table(grid, head_dim, shape.first_token(), shape.local_tokens);
  if (input.condition.defined()) request.condition = own_tokens(dit::patchify(input.condition), shape);

  Stopwatch watch;
  clock_.reset();
  const auto listener = [&](const sample::StepRequest& step, const sample::Prediction& prediction,
                            const at::Tensor& x) {
    const StepTimes times{.wall_s = watch.elapsed_s(), .part_s = clock_.part_s()};
    if (on_step) on_step(step, prediction, x, times);
    watch = Stopwatch();
    clock_.reset();
  };
  const at::Tensor denoised = sample::sample(
      input.settings, own_tokens(dit::patchify(input.noise), shape),
      [&](const at::Tensor& x, const sample::StepRequest& step) { return predict(request, x, step); },
      listener);
  return gather_latent(denoised, guided, grid);
}

sample::Prediction DenoiseStage::predict(Request& request, const at::Tensor& x,
                                         const sample::StepRequest& step) {
  dit::Transformer& model = transformer(step.expert);
  const at::Tensor patches =
      request.condition.defined() ? at::cat({x, request.condition}, 1) : x;  // [local_tokens, in_dim * 4]
  const dit::ForwardContext context{
      .exchange = request.exchange, .rotary = request.rotary, .clock = clock_, .probe = nullptr};
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

at::Tensor DenoiseStage::gather_latent(const at::Tensor& local_tokens, bool guided,
                                       const kernels::TokenGrid& grid) const {
  comm::Communicator& ulysses = *group_.passes(guided).ulysses;
  const at::Tensor own = local_tokens.contiguous();  // [local_tokens, 64]
  const at::Tensor all = at::empty({ulysses.size() * own.size(0), own.size(1)}, own.options());
  ulysses.all_gather(parallel::bytes_of(own), parallel::writable_bytes_of(all)).wait();
  return dit::unpatchify(all.narrow(0, 0, grid.tokens()), grid);  // [16, frames, height, width]
}

}  // namespace wan::engine
