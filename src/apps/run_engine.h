#pragma once

#include <string>

#include "apps/options.h"
#include "core/log.h"
#include "engine/wan_engine.h"
#include "launch/layout_choice.h"
#include "launch/run_device.h"
#include "launch/run_layout.h"

namespace wan::apps {

/// What an engine of a run works with.
struct EngineSurroundings {
  const launch::RunDevice& device;
  const launch::MachineSize& machine;
  const std::string& weights;  ///< the checkpoint's fingerprint
  Log& log;                    ///< hears the engine's notes; must outlive the engine
};

/// How the engine of a run is to work. Where memory runs out it may take less, but nothing that the user has
/// ruled out.
engine::EngineOptions engine_options(const launch::Options& options, const launch::RunLayout& layout,
                                     const EngineSurroundings& surroundings);

}  // namespace wan::apps
