// One expert on the host: copies beside the computation change no bit. With few tokens a step is shorter than
// the copies, so it has to wait for them; with many it is longer, so they must not come too early.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "comm/local.h"
#include "core/check.h"
#include "engine/denoiser.h"
#include "gpu/engine/full_size_model.h"
#include "gpu/gpu_test.h"

namespace wan::engine {
namespace {

/// Leaves before this step.
class StopAt final : public DenoiseGate {
 public:
  explicit StopAt(int step) : step_(step) {}
  bool pass(int steps_done, const std::function<DenoiseState()>& gather) override {
    if (steps_done != step_) return true;
    state = gather();
    return false;
  }
  [[noreturn]] void give_up(const c10::OutOfMemoryError& shortage) override {
    fail("memory ran out: {}", shortage.what_without_backtrace());
  }

  DenoiseState state;

 private:
  int step_;
};

class ExpertSwitch : public kernels::GpuTest {
 protected:
  static constexpr int blocks = 4;

  static std::vector<ExpertModel> experts() {
    ExpertModel high = test::full_width_expert(blocks);
    ExpertModel low = high;
    high.expert = Expert::high_noise;
    low.expert = Expert::low_noise;
    low.read = [read = low.read](const checkpoint::Parameter& parameter, std::int64_t first,
                                 const at::Tensor& out) {
      read(parameter, first, out);
      out.mul_(1.25);
    };
    return {high, low};
  }

  static DenoiseInput input(at::IntArrayRef latent, std::uint64_t seed, at::ScalarType type,
                            double guidance) {
    return {.start = {.steps_done = 0, .latent = test::drawn(latent, seed), .history = {}},
            .condition = {},
            .context = test::drawn({60, 4096}, seed + 1),
            .negative_context = guidance == 1 ? at::Tensor() : test::drawn({90, 4096}, seed + 2),
            .settings = {.solver = Solver::euler,
                         .steps = 4,
                         .shift = 5,
                         .boundary = 0.9,
                         .guide_scale = {guidance, guidance},
                         .bf16_terms = type == at::kBFloat16}};
  }

  Denoiser denoiser(parallel::Residence residence, at::ScalarType type) {
    return {experts(),
            {.placement = {parallel::Division::whole, residence},
             .compute = {.device = at::Device(at::kCUDA, 0), .type = type}},
            group_};
  }

  at::Tensor run(Denoiser& denoiser, const DenoiseInput& input, DenoiseGate* gate = nullptr) {
    denoiser.reserve();
    return denoiser.run(input, group_, nullptr, gate);
  }

  parallel::GroupCommunicators group_ = parallel::make_group_communicators(
      {}, {}, 0, [](const std::vector<int>& /*members*/, parallel::Role role) {
        return comm::make_local(to_string(role));
      });
};

TEST_F(ExpertSwitch, CopiesBesideTheStepsChangeNoBit) {
  const std::vector<std::vector<std::int64_t>> latents{{16, 2, 20, 32}, {16, 9, 60, 104}};
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kFloat}) {
    Denoiser resident = denoiser(parallel::Residence::resident, type);
    Denoiser waiting = denoiser(parallel::Residence::waits_on_host, type);
    for (const auto& latent : latents) {
      if (type == at::kFloat && latent[1] > 2) continue;  // slow, and no other copies
      for (int item = 0; item < 3; ++item) {
        const auto request = [&] { return input(latent, 10 * item + 1, type, item == 1 ? 3.5 : 1); };
        const at::Tensor expected = run(resident, request());
        EXPECT_TRUE(expected.isfinite().all().item<bool>());
        EXPECT_TRUE(at::equal(run(resident, request()), expected)) << "the same steps differ by themselves";
        EXPECT_TRUE(at::equal(run(waiting, request()), expected))
            << fmt::format("{}, {} frames, item {}", toString(type), latent[1], item);
      }
    }
  }
}

TEST_F(ExpertSwitch, AStopLeavesRightWeightsForTheNextItem) {
  const std::vector<std::int64_t> latent{16, 2, 20, 32};
  Denoiser resident = denoiser(parallel::Residence::resident, at::kBFloat16);
  Denoiser waiting = denoiser(parallel::Residence::waits_on_host, at::kBFloat16);
  const auto request = [&] { return input(latent, 5, at::kBFloat16, 1); };
  const at::Tensor expected = run(resident, request());
  for (const int stop : {1, 2, 3}) {
    StopAt gate(stop);
    EXPECT_FALSE(run(waiting, request(), &gate).defined());
    EXPECT_TRUE(at::equal(run(waiting, request()), expected)) << "a new item after " << stop << " steps";
    DenoiseInput rest = request();
    rest.start = gate.state;
    EXPECT_TRUE(at::equal(run(waiting, rest), expected)) << "the rest after " << stop << " steps";
  }
}

/// The copies are under way when the memory that they read goes.
TEST_F(ExpertSwitch, WeightsMayGoWhileTheyAreCopied) {
  const DenoiseInput request = input({16, 2, 20, 32}, 7, at::kBFloat16, 1);
  at::Tensor first;
  for (int round = 0; round < 2; ++round) {
    Denoiser waiting = denoiser(parallel::Residence::waits_on_host, at::kBFloat16);
    DenoiseInput again = request;
    again.start.latent = request.start.latent.clone();
    const at::Tensor made = run(waiting, again);
    if (!first.defined()) first = made;
    EXPECT_TRUE(at::equal(made, first)) << round;
  }
}

}  // namespace
}  // namespace wan::engine
