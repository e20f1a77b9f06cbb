#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>

#include "comm/mpi/ranks.h"
#include "core/clock.h"
#include "engine/wan_engine.h"
#include "launch/base_memory.h"
#include "launch/layout_choice.h"
#include "launch/options.h"
#include "launch/run_communicators.h"
#include "launch/run_device.h"
#include "launch/run_input.h"
#include "launch/run_layout.h"
#include "parallel/plan.h"

namespace wan::launch {

/// Longest that a collective may take while a run starts.
inline constexpr double start_timeout_s = 600;

/// Longest that a collective inside a request may take: the user's value or the default.
double step_timeout_s(const Options& options);

/// The machine, the model, and the layout that follows from both: the same on all ranks.
struct RunPlan {
  MachineSize machine;
  parallel::PlanInput model;
  RunLayout layout;
  BaseMemory base;                  ///< for changes of LoRAs
  std::int64_t oversized_rows = 0;  ///< that fit into the GPUs with no layout
};

/// Chooses the layout for the rows of `input`, or without rows for a request of the options' values.
/// Collective. Throws AgreedError.
RunPlan plan_run(comm::Communicator& world, const Options& options, const RunInput& input,
                 const RunDevice& device);

/// Lets LibTorch use this rank's share of the node's cores, unless OMP_NUM_THREADS says how many.
void share_cores(const comm::MpiRanks& ranks);

/// The engine of one run on this rank, and what it works with: wan_batch and wan::Session both have one.
class EngineHost {
 public:
  /// The events that the engine's program wants to receive.
  struct Listeners {
    std::function<void(const std::string&)> on_note;  ///< on a group's leader: the user should know
    HangListener on_hang;
  };

  /// Makes no engine yet. Collective over `world`, the communicator of `ranks`. The references must outlive
  /// this object.
  EngineHost(const comm::MpiRanks& ranks, comm::Communicator& world, const RunDevice& device,
             Listeners listeners);

  /// Makes the engine of this rank's group. Connects the ranks of each group first: a rank on which NCCL does
  /// not work is refused before memory is taken. The ranks of a node read each byte of the weights once
  /// between them; meanwhile it takes the checkpoint's fingerprint. `clock` began with the run and must
  /// outlive this object. Collective. Throws AgreedError.
  void load(const RunInput& input, const Options& options, const RunPlan& plan, const Stopwatch& clock);

  RunCommunicators& communicators() { return communicators_; }
  /// After load().
  engine::WanEngine& engine() { return *engine_; }
  const std::string& weights() const { return weights_; }  ///< the checkpoint's fingerprint, after load()
  /// Those of RunInput::lora_sets with their checksums, after load().
  const std::vector<lora::LoraSet>& lora_sets() const { return loras_.sets; }
  int first_lora_set() const { return loras_.first; }  ///< that this rank's weights had first

 private:
  engine::LoadingPlace place_in(const RunLayout& layout) const;
  std::future<std::vector<lora::LoraSet>> start_checksums() const;
  void take_checksums(std::future<std::vector<lora::LoraSet>> sums);
  /// Waits for the weights, together with the other ranks of the node. Collective over the world.
  void finish(engine::ModelLoading& loading);

  const comm::MpiRanks& ranks_;
  comm::Communicator& world_;
  const RunDevice& device_;
  Listeners listeners_;
  RunCommunicators communicators_;
  std::string weights_;
  engine::LoraOptions loras_;
  std::unique_ptr<engine::WanEngine> engine_;
};

}  // namespace wan::launch
