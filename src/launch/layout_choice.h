#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/options.h"
#include "parallel/plan.h"
#include "parallel/weight_placement.h"

namespace wan::launch {

/// The machine for which a layout is chosen.
struct MachineSize {
  int ranks = 1;
  std::uint64_t memory_bytes = 0;                       ///< of each rank's GPU, or its share of the host's
  std::optional<std::uint64_t> host_memory_bytes = {};  ///< of each GPU's rank; empty: not known
  parallel::MachineChoice figures = {};                 ///< that times are counted with
  int writers = 0;  ///< threads of each group that write videos, as far as a plan knows
};

/// Memory that a rank's weights and work may take: of its GPU, or of the host on the CPU.
std::int64_t usable_bytes(const MachineSize& machine, bool on_gpu);

/// Page-locked host memory that a GPU's rank may take; empty: not known.
std::optional<std::int64_t> usable_host_bytes(const MachineSize& machine);

/// One way to lay a run out, and what speaks against it.
struct LayoutCandidate {
  comm::GridShape grid;
  comm::GridShape unguided = {};  ///< the same group in steps without guidance
  parallel::WeightPlacement placement = {};
  std::string refusal;                  ///< by the model's heads or the user's options; empty: allowed
  std::int64_t bytes = 0;               ///< per rank, at the most
  std::int64_t missing_bytes = 0;       ///< of them, beyond what can be used
  std::int64_t host_bytes = 0;          ///< page-locked, per rank
  std::int64_t missing_host_bytes = 0;  ///< of them, beyond what can be used
  double item_s = 0;                    ///< expected of the planned request
  std::string step_source = {};         ///< of its steps, as in parallel::ItemSources
  double items_per_hour = 0;            ///< of all groups together, while videos are written beside

  bool is_allowed() const { return refusal.empty(); }
  bool fits() const { return missing_bytes <= 0 && missing_host_bytes <= 0; }
};

/// All candidates, in order of preference, and the one that a run takes.
struct LayoutChoice {
  std::vector<LayoutCandidate> candidates;
  std::size_t chosen = 0;

  const LayoutCandidate& taken() const { return candidates.at(chosen); }
  /// Why candidate `index` was not taken, or "chosen".
  std::string reason(std::size_t index, parallel::Objective objective) const;
};

/// Weighs every layout that the ranks allow: cfg x ulysses in groups of each size, the weights whole,
/// sharded, with one expert on the host, or with one expert in memory at a time. Taken is the first that is
/// allowed and fits, groups of the size that the objective prefers coming first (the largest for latency, the
/// smallest for throughput), and in a group in the order of parallel::transformer_placements. One expert at a
/// time is for wishes, and for where nothing else fits. If that does not fit either, the smallest of the
/// others in memory is taken. Throws UsageError for wishes that no layout grants.
LayoutChoice weigh_layouts(const Options& options, const MachineSize& machine,
                           const parallel::PlanInput& model);

/// `model` on this machine, with a candidate's layout and placement of weights.
parallel::PlanInput plan_input_of(parallel::PlanInput model, const MachineSize& machine,
                                  const LayoutCandidate& candidate);

}  // namespace wan::launch
