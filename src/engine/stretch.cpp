// The description of the steps that a denoiser makes.
#include <fmt/format.h>

#include "dit/patchify.h"
#include "engine/denoiser.h"
#include "kernels/attention.h"

namespace wan::engine {
namespace {

std::string placement_text(const parallel::NetworkPlacement& placement, int parts) {
  std::string text = placement.is_sharded() ? fmt::format("sharded over {}", parts) : "";
  if (placement.waits_on_host()) text += text.empty() ? "offloaded" : ", offloaded";
  if (placement.takes_turns()) text += text.empty() ? "in turns" : ", in turns";
  return text.empty() ? "whole" : text;
}

}  // namespace

std::vector<std::int64_t> Denoiser::head_chunks(const parallel::GroupCommunicators& team,
                                                const parallel::PassCommunicators& passes,
                                                std::int64_t tokens) const {
  const bool is_own_group = team.group->size() == group_.group->size();
  const parallel::HeadChunkWish wish = is_own_group ? options_.head_chunks : parallel::HeadChunkWish();
  return parallel::divide_heads(wish, config().num_heads, passes.shape.ulysses, tokens);
}

StretchEvent Denoiser::describe(const DenoiseInput& input, const parallel::GroupCommunicators& team) const {
  const sample::SamplerSettings& settings = input.settings;
  const bool is_guided = sample::is_guided(input.start.steps_done, settings);
  const parallel::PassCommunicators& passes = team.passes(is_guided);
  const at::Tensor& latent = input.start.latent;  // [16, frames, height, width]
  const std::int64_t tokens = dit::token_grid(latent.size(1), latent.size(2), latent.size(3)).tokens();
  const auto attention = options_.attention != kernels::AttentionBackend::automatic
                             ? options_.attention
                             : kernels::attention_backend_for(options_.compute.device, options_.compute.type,
                                                              config().head_dim(), tokens);
  return {.first_step = input.start.steps_done,
          .team_width = team.group->size() / group_.group->size(),
          .first_rank = team.world_rank - team.group->rank(),
          .ranks = team.group->size(),
          .layout = parallel::describe(passes.shape),
          .placement = placement_text(options_.placement, group_.fsdp->size()),
          .precision = std::string(options_.compute.precision_name()),
          .passes = is_guided ? 2 : 1,
          .guidance = fmt::format("{}:{}", settings.guide_scale.low_noise, settings.guide_scale.high_noise),
          .solver = std::string(to_string(settings.solver)),
          .shift = settings.shift,
          .attention = std::string(kernels::to_string(attention)),
          .head_chunks = static_cast<std::int32_t>(head_chunks(team, passes, tokens).size())};
}

}  // namespace wan::engine
