#include "launch/engine_options.h"

namespace wan::launch {
namespace {

/// How far the engine may go where memory runs out: to whatever the user has not ruled out.
parallel::WeightPlacement leanest_placement(const Options& options) {
  parallel::WeightPlacement leanest = parallel::leanest_placement;
  if (options.dit_fsdp == Switch::off) leanest.transformers.division = parallel::Division::whole;
  if (options.t5_fsdp == Switch::off) leanest.text_encoder.division = parallel::Division::whole;
  if (options.offload_model == Offload::off) leanest.transformers.residence = parallel::Residence::resident;
  return leanest;
}

}  // namespace

namespace {

std::optional<at::ScalarType> vae_rounding(const Options& options) {
  if (options.vae_precision == VaePrecision::exact) return std::nullopt;
  return options.vae_precision == VaePrecision::fp16 ? at::kHalf : at::kBFloat16;
}

}  // namespace

vae::Arithmetic vae_arithmetic(const Options& options, const kernels::Compute& compute) {
  return engine::vae_arithmetic(compute, vae_rounding(options));
}

engine::EngineOptions engine_options(const Options& options, const RunLayout& layout,
                                     const EngineSurroundings& surroundings) {
  const engine::LeanerOptions leaner{.leanest = leanest_placement(options),
                                     .host_bytes = usable_host_bytes(surroundings.machine)};
  return {.placement = layout.placement,
          .head_chunks = layout.head_chunks,
          .compute = surroundings.device.compute,
          .attention = options.attention,
          .vae_rounded = vae_rounding(options),
          .gpu = surroundings.device.gpu,
          .leaner = leaner,
          .memory_remedy =
              "use more ranks per group, a smaller size, fewer frames, --dit-fsdp on or --offload-model on",
          .weights = surroundings.weights,
          .loras = surroundings.loras,
          .on_note = surroundings.on_note};
}

}  // namespace wan::launch
