#pragma once

#include <cstddef>
#include <set>
#include <string>

#include "comm/mpi/ranks.h"
#include "engine/model_description.h"
#include "launch/layout_choice.h"
#include "launch/options.h"
#include "launch/run_device.h"
#include "launch/run_input.h"
#include "parallel/item_time.h"
#include "parallel/layout.h"
#include "parallel/plan.h"
#include "parallel/weight_placement.h"

namespace wan::launch {

/// The layout of a run and what follows from it.
struct RunLayout {
  comm::GridShape guided;
  comm::GridShape unguided;
  parallel::WeightPlacement placement = {};
  parallel::HeadChunkWish head_chunks = {};  ///< where the sequence is split
  int experts = 2;                           ///< of the model
  int items_in_turn = 0;                     ///< parallel::items_in_turn() of the planned request
};

/// The layout's name in traces and benchmarks: "cfg2 x ulysses2, fsdp4, one expert on the host".
std::string describe(const RunLayout& layout);

/// The sizes of a model that planning needs. `has_files`: as in PlanInput.
parallel::PlanInput sizes_of(const engine::ModelDescription& model, bool has_files = true,
                             VaePrecision vae_precision = VaePrecision::exact);

/// The machine to plan for: this run's ranks and their devices, or the values of --gpus and --gpu-memory with
/// --plan. Throws UsageError if a plan does not say how much memory a GPU has and there is no GPU to ask.
MachineSize machine_size(const Options& options, int ranks, const RunDevice& device);

/// Everything about the model and the largest of the requests that planning needs. From headers alone, which
/// must name every tensor of the experts and the text encoder; without a checkpoint, from the sizes of the
/// task's official model. Throws UsageError.
parallel::PlanInput describe_model(const RunInput& input, const Options& options, bool on_gpu);

/// The precision in which a plan's bytes are: "bf16", "fp16" or "fp32".
std::string_view precision_of(const Options& options, const parallel::PlanInput& plan);

/// Turns `plan`, which describe_model() made, into one for the largest request that fits into GPU memory with
/// some layout: one row that is too large must not keep the others from being made. Returns how many rows are
/// larger; each of them is refused when its turn comes. Leaves `plan` alone if none fits, with --plan and on
/// the CPU.
std::int64_t leave_out_oversized(const RunInput& input, const Options& options, const MachineSize& machine,
                                 parallel::PlanInput& plan);

/// For a dry run, which need not be where the run will be: the places in `input.rows` of the rows that GPUs
/// have no room for in any layout. The GPUs are those that --gpus and --gpu-memory name, or else this node's;
/// empty where there are none. Throws UsageError.
std::set<std::size_t> rows_beyond_gpus(const RunInput& input, const Options& options,
                                       const comm::MpiRanks& ranks);

/// Takes the layout that weigh_layouts() recommends and completes `plan` with it. Throws UsageError if
/// nothing fits into GPU memory, saying by how much and what would; not with --plan, nor on the CPU, whose
/// memory can be swapped.
RunLayout choose_layout(const Options& options, const MachineSize& machine, parallel::PlanInput& plan);

/// The expected time of an item of which `input.sample_steps` steps and, if it is wanted, a preview are made.
parallel::ItemTime item_time(const parallel::PlanInput& input, const Draft& draft);

/// How long a manifest is expected to take.
struct ManifestTime {
  int groups = 1;
  std::int64_t items = 0;
  /// Until the last video is written; without work that is done once, as in parallel::ItemTime.
  double total_s = 0;
  int writers = 0;  ///< threads of each group that write videos beside the next items
};

/// `plan` as choose_layout() leaves it; rows with their own sizes and steps.
ManifestTime expected_manifest_time(const RunInput& input, const parallel::PlanInput& plan,
                                    const RunLayout& layout, const MachineSize& machine);

/// Threads that one rank should compute with where OMP_NUM_THREADS does not say: the cores it is bound to, or
/// its share of the node's.
int threads_per_rank(const comm::MpiRanks& ranks);

/// Host memory that one rank of this node can count on.
std::uint64_t memory_per_rank_bytes(const comm::MpiRanks& ranks);

}  // namespace wan::launch
