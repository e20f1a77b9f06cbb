#include "apps/run_engine.h"

namespace wan::apps {
namespace {

/// How far the engine may go where memory runs out: to whatever the user has not ruled out.
parallel::WeightPlacement leanest_placement(const launch::Options& options) {
  parallel::WeightPlacement leanest = parallel::leanest_placement;
  if (options.dit_fsdp == launch::Switch::off) leanest.transformers.division = parallel::Division::whole;
  if (options.t5_fsdp == launch::Switch::off) leanest.text_encoder.division = parallel::Division::whole;
  if (options.offload_model == launch::Switch::off)
    leanest.transformers.residence = parallel::Residence::resident;
  return leanest;
}

}  // namespace

engine::EngineOptions engine_options(const launch::Options& options, const launch::RunLayout& layout,
                                     const EngineSurroundings& surroundings) {
  const engine::LeanerOptions leaner{.leanest = leanest_placement(options),
                                     .host_bytes = launch::usable_host_bytes(surroundings.machine)};
  return {.placement = layout.placement,
          .head_chunks = layout.head_chunks,
          .compute = surroundings.device.compute,
          .attention = options.attention,
          .gpu = surroundings.device.gpu,
          .leaner = leaner,
          .weights = surroundings.weights,
          .on_note = [&log = surroundings.log](const std::string& note) { log.warn("{}", note); }};
}

}  // namespace wan::apps
