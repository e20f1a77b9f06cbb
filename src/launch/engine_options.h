#pragma once

#include <functional>
#include <string>

#include "engine/autoencoder.h"
#include "engine/wan_engine.h"
#include "launch/layout_choice.h"
#include "launch/options.h"
#include "launch/run_device.h"
#include "launch/run_layout.h"

namespace wan::launch {

/// The objects that an engine of a run uses.
struct EngineSurroundings {
  const RunDevice& device;
  const MachineSize& machine;
  const std::string& weights;  ///< the checkpoint's fingerprint
  const engine::LoraOptions& loras;
  const std::function<void(const std::string&)>& on_note;  ///< hears the engine's notes
};

/// How the autoencoder of a run computes.
vae::Arithmetic vae_arithmetic(const Options& options, const kernels::Compute& compute);

/// How the engine of a run is to work. Where memory runs out it may take less, but nothing that the user has
/// ruled out.
engine::EngineOptions engine_options(const Options& options, const RunLayout& layout,
                                     const EngineSurroundings& surroundings);

}  // namespace wan::launch
