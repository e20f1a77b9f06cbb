// Prints what a switch of experts costs where one of the two lies on the host: the GPU's seconds in each step
// and those that it waits for weights, at full size or with fewer blocks. Weights are random.
//   switch_timing [BLOCKS [FRAMES [ITEMS]]]
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "comm/local.h"
#include "core/clock.h"
#include "engine/denoiser.h"
#include "gpu/device.h"
#include "gpu/engine/full_size_model.h"

namespace {

using namespace wan;

/// Values that cost little time: some are drawn, and repeated.
engine::ExpertModel expert(Expert which, std::int64_t blocks) {
  const at::Tensor drawn =
      (at::randn({1 << 22}) * (which == Expert::high_noise ? 0.012 : 0.011)).to(at::kBFloat16);
  return {.expert = which,
          .config = test::full_width(blocks),
          .read = [drawn](const checkpoint::Parameter&, std::int64_t, const at::Tensor& out) {
            for (std::int64_t first = 0; first < out.numel(); first += drawn.numel()) {
              const std::int64_t count = std::min(drawn.numel(), out.numel() - first);
              out.narrow(0, first, count).copy_(drawn.narrow(0, 0, count));
            }
          }};
}

struct Step {
  Expert expert;
  double start_s, wall_s, gpu_s, waited_s;
};

std::vector<Step> run(engine::Denoiser& denoiser, parallel::GroupCommunicators& group, std::int64_t frames,
                      const Stopwatch& clock) {
  const engine::DenoiseInput input{
      .start = {.steps_done = 0, .latent = at::randn({16, (frames - 1) / 4 + 1, 60, 104}), .history = {}},
      .condition = {},
      .context = at::randn({100, 4096}),
      .negative_context = {},
      .settings = {.solver = Solver::euler,
                   .steps = 4,
                   .shift = 5,
                   .boundary = 0.875,
                   .guide_scale = {1, 1},
                   .bf16_terms = true}};
  std::vector<Step> steps;
  double start_s = clock.elapsed_s();
  denoiser.reserve();
  const at::Tensor latent = denoiser.run(
      input, group,
      [&](const sample::StepRequest& step, const sample::Prediction&, const at::Tensor&,
          const engine::StepTimes& times) {
        double gpu_s = 0;
        for (const double seconds : times.gpu_part_s) gpu_s += seconds;
        steps.push_back({.expert = step.expert,
                         .start_s = start_s,
                         .wall_s = times.wall_s,
                         .gpu_s = gpu_s,
                         .waited_s = times.gpu_part_s[static_cast<std::size_t>(Part::host_copy)]});
        start_s = clock.elapsed_s();
      });
  gpu::synchronize();
  fmt::print("sum of the latent {:.6f}\n", latent.to(at::kDouble).sum().item<double>());
  return steps;
}

void print(int item, const std::vector<Step>& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    fmt::print("{:>4} {:>4}  {:<10} {:>9.3f} {:>9.4f} {:>9.4f} {:>9.4f}\n", item, i, to_string(step.expert),
               step.start_s, step.wall_s, step.gpu_s, step.waited_s);
  }
  // Steps 1 and 2 stand beside the switch, and steps 0 and 3 compute as much without it.
  const double beside_s = steps[1].wall_s + steps[2].wall_s;
  fmt::print(
      "item {}: at the switch the GPU waited {:.4f} s for weights; steps 1 and 2 took {:.4f} s, twice "
      "step 3 {:.4f} s\n",
      item, steps[1].waited_s + steps[2].waited_s, beside_s, 2 * steps[3].wall_s);
}

void time_switches(const std::vector<std::string>& arguments) {
  const auto number = [&](std::size_t index, int otherwise) {
    return arguments.size() > index ? std::stoi(arguments[index]) : otherwise;
  };
  const int blocks = number(0, 40);
  const int frames = number(1, 81);
  const int items = number(2, 3);
  gpu::use_expandable_segments();
  gpu::open_device(0);
  at::manual_seed(1);
  const Stopwatch clock;
  parallel::GroupCommunicators group = parallel::make_group_communicators(
      {}, {}, 0, [](const std::vector<int>& /*members*/, parallel::Role role) {
        return comm::make_local(to_string(role));
      });
  engine::Denoiser denoiser({expert(Expert::high_noise, blocks), expert(Expert::low_noise, blocks)},
                            {.placement = {parallel::Division::whole, parallel::Residence::waits_on_host},
                             .compute = {.device = at::Device(at::kCUDA, 0), .type = at::kBFloat16}},
                            group);
  fmt::print("{} blocks, {} frames at 832*480, weights of {:.2f} GB each; read in {:.1f} s\n", blocks, frames,
             static_cast<double>(denoiser.weight_bytes()) / 2e9, clock.elapsed_s());
  fmt::print("item step  expert       start_s    wall_s     gpu_s  waited_s\n");
  for (int item = 0; item < items; ++item) print(item, run(denoiser, group, frames, clock));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (wan::gpu::visible_gpus().count == 0) {
      fmt::print("switch_timing: no GPU on this machine\n");
      return EXIT_FAILURE;
    }
    time_switches({argv + 1, argv + argc});
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    static_cast<void>(std::fprintf(stderr, "switch_timing: %s\n", error.what()));
    return EXIT_FAILURE;
  }
}
