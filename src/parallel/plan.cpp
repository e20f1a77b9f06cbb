#include "parallel/plan.h"

#include <algorithm>

#include "checkpoint/weight_source.h"
#include "kernels/head_division.h"
#include "parallel/unit_weights.h"

namespace wan::parallel {
namespace {

// A property of this program: the ratio of the allocator's memory to the tensors'
// (analysis/results/gpu_h200.md, "Memory").
constexpr double allocator_share = 1.4;

constexpr int fp32_bytes = 4;
constexpr int bf16_bytes = 2;

std::int64_t kept_elements(const std::vector<checkpoint::UnitLayout>& units, int ranks) {
  std::int64_t elements = 0;
  for (const checkpoint::UnitLayout& unit : units) elements += shard_elements(unit, ranks);
  return elements;
}

std::int64_t gather_buffer_elements(const std::vector<checkpoint::UnitLayout>& units, int ranks) {
  std::int64_t largest = 0;
  for (const checkpoint::UnitLayout& unit : units)
    largest = std::max(largest, shard_elements(unit, ranks) * ranks);
  return 2 * largest;
}

int passes_per_rank(const PlanInput& input) { return input.guided && input.grid.cfg == 1 ? 2 : 1; }

/// Heads of a rank that has the most.
std::int64_t most_heads(const PlanInput& input) {
  return kernels::HeadDivision{.heads = input.transformer.num_heads, .parts = input.grid.ulysses}.per_part();
}

/// Bytes that a rank sends in a step to the ranks that share its sequence, in both directions.
std::int64_t ulysses_bytes(const PlanInput& input, std::int64_t local_tokens) {
  const checkpoint::TransformerConfig& model = input.transformer;
  const int parts = input.grid.ulysses;
  const std::int64_t own_dim = most_heads(input) * model.head_dim();
  // On a rank that makes both passes, block 0's attention serves both.
  const std::int64_t attentions = model.num_layers * passes_per_rank(input) - (passes_per_rank(input) - 1);
  return attentions * 4 * local_tokens * own_dim * (parts - 1) * input.element_bytes;
}

/// Bytes that a rank sends to others in a step: Ulysses, guidance, weights.
std::int64_t wire_bytes(const PlanInput& input, std::int64_t local_tokens) {
  const checkpoint::TransformerConfig& model = input.transformer;
  std::int64_t bytes = ulysses_bytes(input, local_tokens);
  if (input.guided && input.grid.cfg == 2) bytes += local_tokens * model.out_dim * 4 * fp32_bytes;
  if (input.placement.transformers.is_sharded()) {
    const int ranks = input.grid.group_size;
    bytes += kept_elements(checkpoint::transformer_units(model), ranks) * (ranks - 1) * input.element_bytes;
  }
  return bytes;
}

/// Activations alive at the widest point of a block: residual stream and normed input of each pass, q, k, v
/// with their exchange buffers, the FFN's hidden rows and its output.
std::int64_t activation_bytes(const PlanInput& input, std::int64_t local_tokens) {
  const checkpoint::TransformerConfig& model = input.transformer;
  const std::int64_t passes = passes_per_rank(input);
  const std::int64_t streams = passes * model.dim * (fp32_bytes + input.element_bytes);
  const bool split = input.grid.ulysses > 1;
  const std::int64_t exchanged_rows =
      split ? 8 : 3;  // q, k, v and results, sent and received; or q, k, v alone
  const std::int64_t places_dim = most_heads(input) * input.grid.ulysses * model.head_dim();
  const std::int64_t exchanged = exchanged_rows * places_dim * input.element_bytes;
  const std::int64_t widest =
      std::max(split ? 3 * model.dim : model.dim, model.ffn_dim + 2 * model.dim) * input.element_bytes;
  return local_tokens * exchanged +
         static_cast<std::int64_t>(allocator_share * static_cast<double>(local_tokens * (streams + widest)));
}

std::int64_t text_cache_bytes(const PlanInput& input) {
  const checkpoint::TransformerConfig& model = input.transformer;
  return static_cast<std::int64_t>(passes_per_rank(input)) * model.num_layers * 2 * model.text_len *
         model.dim * input.element_bytes;
}

/// Keys and values of CLIP's features, which all passes share.
std::int64_t image_cache_bytes(const PlanInput& input) {
  if (!input.image_encoder) return 0;
  const checkpoint::TransformerConfig& model = input.transformer;
  return model.num_layers * 2 * input.image_encoder->tokens() * model.dim * input.element_bytes;
}

/// Bytes of one rank's part of one expert.
std::int64_t expert_slice_bytes(const PlanInput& input) {
  const int ranks = input.placement.transformers.is_sharded() ? input.grid.group_size : 1;
  return kept_elements(checkpoint::transformer_units(input.transformer), ranks) * input.element_bytes;
}

/// Whether the only expert leaves the GPU while text is encoded and frames are decoded.
bool expert_comes_and_goes(const PlanInput& input) {
  return input.experts == 1 && input.placement.transformers.waits_on_host();
}

/// Bytes of the experts' weights that one rank keeps on its GPU all the time.
std::int64_t expert_bytes(const PlanInput& input) {
  if (expert_comes_and_goes(input)) return 0;
  const NetworkPlacement& placement = input.placement.transformers;
  return (placement.waits_on_host() || placement.takes_turns() ? 1 : input.experts) *
         expert_slice_bytes(input);
}

/// The text encoder without its embedding table, which stays in its file.
std::int64_t text_encoder_bytes(const PlanInput& input) {
  const auto units = checkpoint::text_encoder_units(input.text_encoder);
  const bool is_sharded = input.placement.text_encoder.is_sharded();
  const int ranks = is_sharded ? input.grid.group_size : 1;
  std::int64_t elements = kept_elements(units, ranks);
  if (is_sharded) elements += gather_buffer_elements(units, ranks);
  return elements * input.element_bytes;
}

std::int64_t image_encoder_bytes(const PlanInput& input) {
  const auto units = checkpoint::image_encoder_units(*input.image_encoder);
  const bool is_sharded = input.placement.text_encoder.is_sharded();
  const int ranks = is_sharded ? input.grid.group_size : 1;
  std::int64_t elements = kept_elements(units, ranks);
  if (is_sharded) elements += gather_buffer_elements(units, ranks);
  return elements * fp32_bytes;
}

/// The autoencoder's activations for the pixels of one rank's rows.
std::int64_t vae_bytes(const PlanInput& input) {
  const std::int64_t pixels = input.geometry.frame_pixels(input.tokens);
  const VaeBytesPerPixel& bytes =
      input.element_bytes < fp32_bytes ? input.machine.vae_bytes_per_pixel : vae_bytes_elsewhere;
  const bool is_half = input.vae_element_bytes < fp32_bytes;
  const std::int64_t wan21 = is_half ? bytes.wan21_half : bytes.wan21_fp32;
  const std::int64_t wan22 = is_half ? bytes.wan22_half : bytes.wan22_fp32;
  return pixels / input.grid.group_size * (input.vae_family == vae::Family::wan22 ? wan22 : wan21);
}

/// In the steps of the kind that takes most.
std::int64_t denoise_bytes(const PlanInput& input) {
  const bool is_mixed = input.guided && input.unguided_steps > 0;
  const std::int64_t tokens = input.tokens.tokens();
  const std::int64_t local_tokens = (tokens + input.grid.ulysses - 1) / input.grid.ulysses;
  const std::int64_t weights = expert_comes_and_goes(input) ? expert_slice_bytes(input) : 0;
  const std::int64_t bytes =
      weights + activation_bytes(input, local_tokens) + text_cache_bytes(input) + image_cache_bytes(input);
  return is_mixed ? std::max(bytes, denoise_bytes(unguided_part(input))) : bytes;
}

void add_parts(const PlanInput& input, Plan& plan) {
  const auto units = checkpoint::transformer_units(input.transformer);
  const WeightPlacement& placement = input.placement;
  if (!expert_comes_and_goes(input)) {
    const bool is_one_at_a_time =
        placement.transformers.waits_on_host() || placement.transformers.takes_turns();
    plan.bytes.emplace_back(input.experts == 1 ? "transformer"
                            : is_one_at_a_time ? "experts (one at a time)"
                                               : "experts (both)",
                            expert_bytes(input));
  }
  if (placement.transformers.is_sharded()) {
    plan.bytes.emplace_back("weight gather buffers",
                            gather_buffer_elements(units, input.grid.group_size) * input.element_bytes);
  }
  plan.bytes.emplace_back("VAE weights", input.vae_parameters * input.vae_element_bytes);
  if (input.on_gpu) {
    plan.bytes.emplace_back("CUDA context and libraries", input.machine.context_bytes);
    if (input.grid.group_size > 1) plan.bytes.emplace_back("NCCL", input.machine.nccl_bytes);
  }
  if (placement.text_encoder.residence == Residence::resident) {
    plan.bytes.emplace_back("text encoder", text_encoder_bytes(input));
  } else if (placement.text_encoder.residence == Residence::read_when_needed) {
    plan.phase_bytes.emplace_back("text: the encoder", text_encoder_bytes(input));
  }
  if (input.image_encoder && placement.text_encoder.residence == Residence::resident) {
    plan.bytes.emplace_back("image encoder", image_encoder_bytes(input));
  } else if (input.image_encoder && placement.text_encoder.residence == Residence::read_when_needed) {
    plan.phase_bytes.emplace_back("encode: the image encoder", image_encoder_bytes(input));
  }
  plan.phase_bytes.emplace_back("encode, decode: VAE activations", vae_bytes(input));
  plan.phase_bytes.emplace_back(expert_comes_and_goes(input)
                                    ? "denoise: transformer, activations, exchange, text keys"
                                    : "denoise: activations, exchange, text keys",
                                denoise_bytes(input));
}

/// Seconds of a step in bf16. `rows`: tokens of a rank, counted once for each pass that it makes.
double expected_step_s(const PlanInput& input, const Plan& plan, double rows) {
  const MachineModel& machine = input.machine;
  // Elementwise kernels read and write every element of a token in every block. The machine's figure is
  // A14B's.
  constexpr double a14b_elements_per_token = 5120.0 * 40;
  const double width =
      static_cast<double>(input.transformer.dim * input.transformer.num_layers) / a14b_elements_per_token;
  const double exchanged_bytes =
      static_cast<double>(ulysses_bytes(input, plan.local_tokens)) * bf16_bytes / input.element_bytes;
  const double computing_s = plan.linear_flop_per_step / machine.linear_flop_per_s +
                             plan.attention_flop_per_step / machine.attention_flop_per_s +
                             machine.elementwise_s_per_token * width / 2 * rows;
  const double split_ratio = input.guided && input.grid.cfg == 2 ? machine.split_guidance_ratio : 1;
  const double step_s = computing_s * split_ratio + machine.exposed_s_per_exchanged_byte * exchanged_bytes;
  return input.placement.transformers.is_sharded() ? step_s * machine.sharded_step_ratio : step_s;
}

}  // namespace

PlanInput unguided_part(PlanInput input) {
  input.grid = input.unguided_grid;
  input.guided = false;
  input.unguided_steps = 0;
  return input;
}

std::int64_t request_bytes(const PlanInput& input) {
  return std::max(vae_bytes(input), denoise_bytes(input));
}

std::int64_t Plan::total_bytes() const {
  std::int64_t total = 0;
  for (const auto& part : bytes) total += part.second;
  std::int64_t most = 0;
  for (const auto& phase : phase_bytes) most = std::max(most, phase.second);
  return total + most;
}

double all_steps_s(const PlanInput& input, double step_s, double unguided_step_s) {
  const int unguided = input.guided ? input.unguided_steps : 0;
  return step_s * (input.sample_steps - unguided) + unguided_step_s * unguided;
}

Plan make_plan(const PlanInput& input) {
  const checkpoint::TransformerConfig& model = input.transformer;
  const std::int64_t tokens = input.tokens.tokens();
  Plan plan;
  plan.grid = input.grid;
  plan.local_tokens = (tokens + input.grid.ulysses - 1) / input.grid.ulysses;
  add_parts(input, plan);

  const std::int64_t image_tokens = input.image_encoder ? input.image_encoder->tokens() : 0;
  const double rows = static_cast<double>(plan.local_tokens) * passes_per_rank(input);
  plan.linear_flop_per_step =
      2.0 * static_cast<double>(model.dim * (6 * model.dim + 2 * model.ffn_dim) * model.num_layers) * rows;
  // A rank attends to the video with its own heads for all tokens, and to texts with all heads for its
  // tokens.
  const auto heads_for_all_tokens = static_cast<double>(most_heads(input) * input.grid.ulysses * tokens) /
                                    static_cast<double>(model.num_heads);
  plan.attention_flop_per_step = 4.0 * static_cast<double>(model.dim * model.num_layers) * rows *
                                 (heads_for_all_tokens + static_cast<double>(model.text_len + image_tokens));
  plan.wire_bytes_per_step = wire_bytes(input, plan.local_tokens);
  plan.step_s = expected_step_s(input, plan, rows);
  if (input.guided && input.unguided_steps > 0) plan.unguided_step_s = make_plan(unguided_part(input)).step_s;
  if (input.placement.transformers.waits_on_host()) {
    plan.host_bytes = input.experts * expert_slice_bytes(input);
  }
  if (input.placement.transformers.takes_turns()) plan.turn_bytes = input.experts * expert_slice_bytes(input);
  return plan;
}

}  // namespace wan::parallel
