#pragma once

#include <string>

#include "engine/model_description.h"
#include "launch/plan_report.h"
#include "model/model_kind.h"
#include "parallel/plan.h"

namespace wan::launch::test {

inline constexpr std::uint64_t gib = std::uint64_t{1} << 30;

/// I2V-A14B at 480p, 81 frames, bf16.
inline parallel::PlanInput full_model(bool on_gpu) {
  const engine::ModelDescription model = engine::describe_named_model("i2v-A14B");
  return {.transformer = model.transformer,
          .text_encoder = model.text_encoder,
          .vae_parameters = model.vae_parameters(),
          .grid = {},
          .tokens = {.frames = 21, .rows = 30, .columns = 52},
          .guided = true,
          .placement = {.transformers = {},
                        .text_encoder = {.residence = parallel::text_encoder_residence(on_gpu, false)}},
          .on_gpu = on_gpu,
          .element_bytes = 2};
}

/// The placement of a run on GPUs: the transformers as given, the text encoder read when it is needed.
inline parallel::WeightPlacement placed(const parallel::NetworkPlacement& transformers,
                                        parallel::Division text_encoder) {
  return {.transformers = transformers,
          .text_encoder = {text_encoder, parallel::Residence::read_when_needed}};
}

/// A manifest of t2v-A14B or i2v-A14B.
inline RunInput input_of(const std::string& csv, TaskKind kind = TaskKind::t2v) {
  const std::string task = kind == TaskKind::t2v ? "t2v-A14B" : "i2v-A14B";
  RunInput input;
  input.checkpoint.task = {.kind = kind, .name = task, .defaults = model::model_kind(task).defaults};
  input.rows = manifest::parse_manifest(csv, "m.csv", kind);
  return input;
}

}  // namespace wan::launch::test
