#include "apps/run_engine.h"

namespace wan::apps {

engine::EngineOptions engine_options(const launch::Options& options, const launch::RunLayout& layout,
                                     const EngineSurroundings& surroundings) {
  const engine::LeanerOptions leaner{.shard = options.dit_fsdp != launch::Switch::off,
                                     .shard_text = options.t5_fsdp != launch::Switch::off,
                                     .offload = options.offload_model != launch::Switch::off,
                                     .host_bytes = launch::usable_host_bytes(surroundings.machine)};
  return {.dit_fsdp = layout.dit_fsdp,
          .t5_fsdp = layout.t5_fsdp,
          .t5_cpu = options.t5_cpu,
          .offload_model = layout.offload_model,
          .head_chunks = layout.head_chunks,
          .compute = surroundings.device.compute,
          .attention = options.attention,
          .gpu = surroundings.device.gpu,
          .leaner = leaner,
          .weights = surroundings.weights,
          .on_note = [&log = surroundings.log](const std::string& note) { log.warn("{}", note); }};
}

}  // namespace wan::apps
