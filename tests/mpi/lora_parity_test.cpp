// Wan2.2-Lightning as users run it: the base checkpoint and the folder with a LoRA for each expert
// (model.md 1.9), against the numbers of the official code.
#include <gtest/gtest.h>

#include "mpi/engine_fixture.h"

namespace wan {
namespace {

constexpr double reference_tolerance = 1e-4;  // compared with the official code's numbers
constexpr double layout_tolerance = 1e-5;     // compared with the first layout of this program

TEST(LoraParity, EveryLayoutGivesTheReferencesNumbers) {
  test::RankWorld ranks;
  const test::ParityCase parity = test::load_parity_case("lightning_i2v");
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  const lora::LoraSet loras = test::loras_of(parity, "i2v-A14B");
  ASSERT_EQ(loras.size(), 2U);
  at::Tensor first;
  test::in_every_layout(
      ranks, folder, parity.request, {.loras = {.sets = {loras}}}, [&](const test::Made& made) {
        EXPECT_LT(test::relative_error(made.latent, parity.final_latent()), reference_tolerance);
        if (!first.defined()) first = made.latent;
        EXPECT_LT(test::relative_error(made.latent, first), layout_tolerance);
      });
}

/// A stronger LoRA gives other numbers: the test above can fail.
TEST(LoraParity, TheStrengthCounts) {
  const test::ParityCase parity = test::load_parity_case("lightning_i2v");
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  lora::LoraSet loras = test::loras_of(parity, "i2v-A14B");
  for (lora::Lora& lora : loras) lora.strength = 1.1;
  const Stopwatch clock;
  engine::WanEngine engine(folder, {.loras = {.sets = {loras}}}, test::lone_communicators(), clock);
  EXPECT_GT(test::relative_error(test::make(engine, parity.request).latent, parity.final_latent()), 1e-3);
}

}  // namespace
}  // namespace wan
