#pragma once

#include <string>

#include "apps/layout_choice.h"
#include "apps/options.h"
#include "apps/run_device.h"
#include "apps/run_layout.h"
#include "core/log.h"
#include "engine/wan_engine.h"

namespace wan::apps {

/// What an engine of a run works with.
struct EngineSurroundings {
  const RunDevice& device;
  const MachineSize& machine;
  const std::string& weights;  ///< the checkpoint's fingerprint
  Log& log;                    ///< hears the engine's notes; must outlive the engine
};

/// How the engine of a run is to work. Where memory runs out it may take less, but nothing that the user has
/// ruled out.
engine::EngineOptions engine_options(const Options& options, const RunLayout& layout,
                                     const EngineSurroundings& surroundings);

}  // namespace wan::apps
