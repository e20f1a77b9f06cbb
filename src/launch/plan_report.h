#pragma once

#include <cstdint>
#include <string>

#include "launch/layout_choice.h"
#include "launch/run_layout.h"

namespace wan::launch {

/// The subject of a --plan report.
struct PlanSubject {
  const parallel::PlanInput& model;  ///< with the chosen layout
  const LayoutChoice& choice;
  const MachineSize& machine;
  const ManifestTime& manifest;
  parallel::Objective objective;
  std::string_view task;       ///< of the model
  std::string_view precision;  ///< in which the plan's bytes are
  Draft draft = {};            ///< of each item, if it is wanted
  std::string loras = {};      ///< BaseMemory::describe()
  VaePrecision vae_precision = VaePrecision::exact;
};

/// A plan as --plan prints it: the layout, bytes per rank by part against the memory there is, host memory,
/// wire bytes, expected times of an item and of the manifest, and what speaks against every other layout.
std::string plan_report(const PlanSubject& subject);

/// "20.7 GiB"
std::string format_bytes(std::int64_t bytes);

}  // namespace wan::launch
