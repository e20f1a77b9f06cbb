// Wan2.2-Lightning as users run it: the base checkpoint and the folder with a LoRA for each expert
// (model.md 1.9), against the numbers of the official code.
#include <gtest/gtest.h>

#include "lora/lora_set.h"
#include "model/model_kind.h"
#include "mpi/engine_fixture.h"

namespace wan {
namespace {

using test::Backend;

constexpr double reference_tolerance = 1e-4;  // compared with the official code's numbers
constexpr double layout_tolerance = 1e-5;     // compared with the first layout of this program

lora::LoraSet lightning_loras(const test::ParityCase& parity) {
  std::vector<std::string> notes;
  const LoraChoice folder{.path = parity.folder / "lora"};
  return lora::resolve_loras(std::span(&folder, 1), model::model_kind("i2v-A14B"), notes);
}

TEST(LoraParity, EveryLayoutGivesTheReferencesNumbers) {
  test::RankWorld ranks;
  const test::ParityCase parity = test::load_parity_case("lightning_i2v");
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  const std::int64_t heads = engine::open_expert(folder.experts.front().path).config.num_heads;
  std::vector<comm::GridShape> shapes = test::shapes_of(ranks.size(), heads);
  if (shapes.empty()) shapes.push_back({.group_size = ranks.size()});  // all ranks compute the same
  at::Tensor first;
  for (const comm::GridShape& shape : shapes) {
    for (const bool sharded : {false, true}) {
      for (const Backend backend : {Backend::mpi, Backend::deferred}) {
        SCOPED_TRACE(parallel::describe(shape) + (sharded ? " sharded" : ""));
        const Stopwatch clock;
        engine::WanEngine engine(folder,
                                 {.placement = sharded ? test::all_sharded : parallel::WeightPlacement(),
                                  .loras = {.sets = {lightning_loras(parity)}}},
                                 ranks.communicators(shape, backend, heads), clock);
        const test::Made made = test::make(engine, parity.request);
        if (ranks.rank() != 0) continue;
        EXPECT_LT(test::relative_error(made.latent, parity.final_latent()), reference_tolerance);
        if (!first.defined()) first = made.latent;
        EXPECT_LT(test::relative_error(made.latent, first), layout_tolerance);
      }
    }
  }
}

/// A stronger LoRA gives other numbers: the test above can fail.
TEST(LoraParity, TheStrengthCounts) {
  const test::ParityCase parity = test::load_parity_case("lightning_i2v");
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  lora::LoraSet loras = lightning_loras(parity);
  for (lora::Lora& lora : loras) lora.strength = 1.1;
  const Stopwatch clock;
  engine::WanEngine engine(folder, {.loras = {.sets = {loras}}}, test::lone_communicators(), clock);
  EXPECT_GT(test::relative_error(test::make(engine, parity.request).latent, parity.final_latent()), 1e-3);
}

}  // namespace
}  // namespace wan
