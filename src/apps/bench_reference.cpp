#include "apps/bench_reference.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <limits>
#include <span>

#include "apps/trace_facts.h"
#include "core/clock.h"
#include "engine/step_reporter.h"
#include "gpu/device.h"

namespace wan::apps {
namespace {

/// A round takes about 10 ms on an H200 and on a core of a CPU, and 260 MB of a GPU's memory.
struct Load {
  std::int64_t side;      ///< of the square matrices
  int products;           ///< in a round
  std::int64_t elements;  ///< of the copied tensor
  int rounds;
};

constexpr Load gpu_load{.side = 4096, .products = 40, .elements = std::int64_t{1} << 25, .rounds = 21};
constexpr Load cpu_load{.side = 256, .products = 4, .elements = std::int64_t{1} << 18, .rounds = 7};

}  // namespace

double reference_load_s(const kernels::Compute& compute) {
  const Load& load = compute.on_gpu() ? gpu_load : cpu_load;
  const at::Tensor left = at::full({load.side, load.side}, 0.5, compute.options());
  const at::Tensor right = at::full_like(left, 0.25);
  at::Tensor product = at::empty_like(left);
  const at::Tensor source = at::zeros({load.elements}, compute.options());
  at::Tensor copy = at::empty_like(source);
  const auto wait = [&] {
    if (compute.on_gpu()) gpu::synchronize();
  };
  std::vector<double> round_s;
  for (int round = -1; round < load.rounds; ++round) {  // the first one chooses kernels, and does not count
    wait();
    const Stopwatch clock;
    for (int i = 0; i < load.products; ++i) at::mm_out(product, left, right);
    copy.copy_(source);
    wait();
    if (round >= 0) round_s.push_back(clock.elapsed_s());
  }
  return engine::median(round_s);
}

BenchFacts measure_facts(comm::Communicator& world, const comm::MpiRanks& ranks,
                         const launch::RunDevice& device) {
  double own_s = std::numeric_limits<double>::quiet_NaN();
  world.barrier().wait();
  try {
    own_s = reference_load_s(device.compute);
  } catch (const c10::OutOfMemoryError&) {  // the measurement of the model goes on without it
    own_s = std::numeric_limits<double>::quiet_NaN();
  }
  std::vector<double> seconds(static_cast<std::size_t>(world.size()));
  world.all_gather(std::as_bytes(std::span(&own_s, 1)), std::as_writable_bytes(std::span(seconds))).wait();
  BenchFacts facts{.ranks = {}, .program = program_attributes(device)};
  for (const RankReport& report : gather_reports(world, describe_rank(ranks, device))) {
    facts.ranks.push_back({.world_rank = report.world_rank,
                           .host = report.host.text(),
                           .gpu_uuid = report.gpu_uuid.text(),
                           .reference_s = seconds[static_cast<std::size_t>(report.world_rank)]});
  }
  return facts;
}

}  // namespace wan::apps
