#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/engine/shared_gpu_ranks.h"

namespace wan {
namespace {

using test::SharedGpuRanks;

/// The largest difference between a precision and the official code's fp32 numbers. That code's own bf16
/// differs by up to 7e-3.
struct Mode {
  launch::Precision precision;
  const char* name;
  double tolerance;
};
constexpr Mode fp32{launch::Precision::fp32, "fp32", 1e-4};
constexpr Mode fp16{launch::Precision::fp16, "fp16", 2e-3};
constexpr Mode bf16{launch::Precision::bf16, "bf16", 1e-2};

struct Placement {
  parallel::NetworkPlacement transformers;
  const char* name;
};
constexpr Placement placements[] = {
    {{}, "replicated"},
    {{parallel::Division::sharded}, "sharded"},
    {{parallel::Division::sharded, parallel::Residence::waits_on_host}, "sharded, one expert on the host"}};

using Parameters = std::tuple<const char*, Mode>;
class GpuParity : public test::SharedGpuTest<Parameters> {};

void check_layout(SharedGpuRanks& shared, const test::ParityCase& parity, const Mode& mode,
                  const comm::GridShape& shape, const Placement& placement) {
  const launch::RunDevice& device = shared.device(mode.precision);
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  const std::int64_t heads = engine::open_expert(folder.experts.front().path).config.num_heads;
  const Stopwatch clock;
  engine::WanEngine engine(folder,
                           {.placement = {.transformers = placement.transformers,
                                          .text_encoder = {placement.transformers.division,
                                                           parallel::Residence::read_when_needed}},
                            .compute = device.compute,
                            .gpu = device.gpu,
                            .loras = {.sets = {test::loras_of(parity, "i2v-A14B")}}},
                           shared.communicators(shape, heads), clock);
  const test::Made made = test::make(engine, parity.request);
  if (shared.ranks().rank() != 0) return;
  const double error = test::relative_error(made.latent, parity.final_latent());
  const double off =  // a case whose autoencoder is another case's has no frames
      parity.has("frames") ? test::fraction_off_by_more_than_one(made.frames, parity.tensor("frames")) : 0;
  fmt::print("PARITY {} GPUs, {}, {}, {}, {}: final latent {:.2e}, values off by more than 1 level {:.2e}\n",
             shared.ranks().size(), parity.folder.filename().string(), mode.name, parallel::describe(shape),
             placement.name, error, off);
  EXPECT_LT(error, mode.tolerance);
  if (mode.precision == launch::Precision::fp32) {
    EXPECT_LT(off, 1e-3);
  }
}

TEST_P(GpuParity, EveryLayoutGivesTheReferencesNumbers) {
  const auto& [case_name, mode] = GetParam();
  SharedGpuRanks& shared = test::shared_gpu_ranks();
  const int ranks = shared.ranks().size();
  const test::ParityCase parity = test::load_parity_case(case_name);
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  const std::int64_t heads = engine::open_expert(folder.experts.front().path).config.num_heads;
  int layouts = 0;
  for (const comm::GridShape& shape : test::shapes_of(ranks, heads)) {
    for (const Placement& placement : placements) {
      const bool is_only_sharded =
          placement.transformers == parallel::NetworkPlacement{parallel::Division::sharded};
      if (is_only_sharded && ranks == 1) continue;  // the same as replicated
      SCOPED_TRACE(parallel::describe(shape) + " " + placement.name);
      check_layout(shared, parity, mode, shape, placement);
      ++layouts;
    }
  }
  if (layouts == 0) GTEST_SKIP() << heads << " heads over " << ranks << " ranks";
}

std::string name_of(const testing::TestParamInfo<Parameters>& instance) {
  return std::string(std::get<0>(instance.param)) + "_" + std::get<1>(instance.param).name;
}

INSTANTIATE_TEST_SUITE_P(Reference, GpuParity,
                         testing::Combine(testing::Values("i2v_landscape", "i2v_portrait_ragged",
                                                          "t2v_square"),
                                          testing::Values(fp32, bf16)),
                         name_of);

/// Two experts with a LoRA each, 4 steps of Euler without guidance.
INSTANTIATE_TEST_SUITE_P(Lightning, GpuParity,
                         testing::Combine(testing::Values("lightning_i2v"),
                                          testing::Values(fp32, fp16, bf16)),
                         name_of);

/// The official modules in bf16, umT5 included, end further from the fp32 numbers of these cases than of
/// those above: 1.28e-2, 2.23e-2, 1.48e-2 and 1.02e-2 (analysis/results/family_h200.md). The tolerance is 1.5
/// times that.
constexpr Mode bf16_within(double tolerance) { return {launch::Precision::bf16, "bf16", tolerance}; }

INSTANTIATE_TEST_SUITE_P(Family, GpuParity,
                         testing::Values(Parameters{"ti2v_image", fp32}, Parameters{"ti2v_text", fp32},
                                         Parameters{"wan21_t2v", fp32}, Parameters{"wan21_i2v", fp32},
                                         Parameters{"ti2v_image", fp16}, Parameters{"ti2v_text", fp16},
                                         Parameters{"wan21_t2v", fp16},
                                         Parameters{"ti2v_image", bf16_within(1.9e-2)},
                                         Parameters{"ti2v_text", bf16_within(3.3e-2)},
                                         Parameters{"wan21_t2v", bf16_within(2.2e-2)},
                                         Parameters{"wan21_i2v", bf16_within(1.5e-2)}),
                         name_of);

}  // namespace
}  // namespace wan
