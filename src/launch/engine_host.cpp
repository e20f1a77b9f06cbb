#include "launch/engine_host.h"

#include <ATen/Parallel.h>

#include <cstdlib>
#include <exception>
#include <future>
#include <utility>

#include "checkpoint/fingerprint.h"
#include "core/check.h"
#include "launch/agreement.h"
#include "launch/engine_options.h"
#include "launch/run_loras.h"
#include "launch/site_study.h"

namespace wan::launch {
namespace {

/// The checkpoint's fingerprint. Throws UsageError if a file of it cannot be read.
std::string fingerprint_of(const checkpoint::CheckpointFolder& checkpoint) {
  try {
    return checkpoint::fingerprint(checkpoint);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    fail<UsageError>("cannot use the checkpoint {}: {}", checkpoint.root.string(), error.what());
  }
}

}  // namespace

double step_timeout_s(const Options& options) {
  constexpr double default_s = 120;
  return options.collective_timeout_s.value_or(default_s);
}

RunPlan plan_run(comm::Communicator& world, const Options& options, const RunInput& input,
                 const RunDevice& device) {
  RunPlan plan;
  agree(world, [&] {
    plan.machine = machine_size(options, world.size(), device);
    plan.model = describe_model(input, options, device.compute.on_gpu());
    if (options.measured) use_site_study(options, input.checkpoint.task.name, plan.machine, plan.model);
    plan.oversized_rows = leave_out_oversized(input, options, plan.machine, plan.model);
    plan.layout = choose_layout(options, plan.machine, plan.model);
    plan.base = base_memory(input, plan.machine, plan.model);
  });
  return plan;
}

void share_cores(const comm::MpiRanks& ranks) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return;  // NOLINT(concurrency-mt-unsafe): nobody sets it
  at::set_num_threads(threads_per_rank(ranks));
}

EngineHost::EngineHost(const comm::MpiRanks& ranks, comm::Communicator& world, const RunDevice& device,
                       Listeners listeners)
    : ranks_(ranks),
      world_(world),
      device_(device),
      listeners_(std::move(listeners)),
      communicators_(ranks, world, device, listeners_.on_hang) {}

engine::LoadingPlace EngineHost::place_in(const RunLayout& layout) const {
  const int group_size = layout.guided.group_size;
  engine::LoadingPlace place{.group_rank = world_.rank() % group_size,
                             .group_size = group_size,
                             .world_rank = world_.rank(),
                             .node = communicators_.ranks_of_node()};
  if (place.node.size() == 1) place.node.clear();
  return place;
}

/// The sets of LoRAs with their checksums, for which rank 0 reads each file once, beside the weights.
std::future<std::vector<lora::LoraSet>> EngineHost::start_checksums() const {
  return std::async(std::launch::async, [sets = loras_.sets, is_reader = world_.rank() == 0]() mutable {
    if (is_reader) lora::take_checksums(sets);
    return std::move(sets);
  });
}

/// Rank 0 tells the others the checksums.
void EngineHost::take_checksums(std::future<std::vector<lora::LoraSet>> sums) {
  constexpr std::size_t digits = 64;
  const std::string all = on_rank_0(world_, [&] {
    std::string text;
    for (const lora::LoraSet& set : sums.get())
      for (const lora::Lora& lora : set) text += lora.sha256;
    return text;
  });
  std::size_t at = 0;
  for (lora::LoraSet& set : loras_.sets) {
    for (lora::Lora& lora : set) {
      lora.sha256 = all.substr(at, digits);
      at += digits;
    }
  }
}

void EngineHost::finish(engine::ModelLoading& loading) {
  const parallel::NodeRanks node = communicators_.make_node(start_timeout_s);
  std::exception_ptr problem;
  try {
    loading.finish(node.host ? &node : nullptr);
  } catch (...) {
    problem = std::current_exception();
  }
  world_.barrier().wait_without_limit();  // other nodes may read slowly
  agree(world_, [&] {
    if (problem) std::rethrow_exception(problem);
  });
}

void EngineHost::load(const RunInput& input, const Options& options, const RunPlan& plan,
                      const Stopwatch& clock) {
  const checkpoint::CheckpointFolder& checkpoint = input.checkpoint;
  loras_.sets.clear();
  for (const RowLoras& set : input.lora_sets) loras_.sets.push_back(set.loras);
  const int group_size = plan.layout.guided.group_size;
  loras_.first = launch::first_lora_set(input, world_.rank() / group_size, world_.size() / group_size);
  loras_.kept_bytes = plan.base.kept_bytes;
  share_cores(ranks_);
  const auto work_as = [&] {
    return engine_options(options, plan.layout,
                          {.device = device_,
                           .machine = plan.machine,
                           .weights = weights_,
                           .loras = loras_,
                           .on_note = listeners_.on_note});
  };
  parallel::GroupCommunicators group = communicators_.make_group(plan.layout, step_timeout_s(options));
  std::unique_ptr<engine::ModelLoading> loading;
  agree(world_, [&] {
    loading = std::make_unique<engine::ModelLoading>(checkpoint, work_as(), place_in(plan.layout));
  });
  // From here on threads read the weights. The other ranks wait without a limit for the fingerprint: a slow
  // file system takes its time.
  std::future<std::vector<lora::LoraSet>> checksums = start_checksums();
  weights_ = on_rank_0(world_, [&] { return fingerprint_of(checkpoint); });
  finish(*loading);
  take_checksums(std::move(checksums));
  agree(world_, [&] {
    engine_ = std::make_unique<engine::WanEngine>(checkpoint, work_as(), std::move(group), clock,
                                                  std::move(loading));
  });
}

}  // namespace wan::launch
