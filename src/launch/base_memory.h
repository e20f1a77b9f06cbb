#pragma once

#include <cstdint>
#include <string>

#include "launch/layout_choice.h"
#include "launch/run_input.h"
#include "parallel/plan.h"

namespace wan::launch {

/// Host memory in which a rank keeps the checkpoint's weights of the experts as its files hold them, so that
/// a change of LoRAs does not read them again. It is ordinary memory, not page-locked: the CPU adds the
/// LoRAs.
struct BaseMemory {
  int sets = 1;                    ///< of LoRAs, between which a run changes
  std::uint64_t needed_bytes = 0;  ///< of each rank, for all of its weights; 0: there is one set
  std::uint64_t kept_bytes = 0;    ///< all of them, or 0 where they do not fit

  /// "3 sets of LoRAs; the base weights stay in host memory for changes (2.1 GiB for each rank)"; empty for
  /// one set.
  std::string describe() const;
};

/// Decides whether the weights stay in host memory. `plan`: as choose_layout() leaves it. Reads headers.
/// Throws UsageError.
BaseMemory base_memory(const RunInput& input, const MachineSize& machine, const parallel::PlanInput& plan);

}  // namespace wan::launch
