#pragma once

#include <string>

#include "launch/run_input.h"

namespace wan::launch {

/// Whether the run's model is distilled to few steps without guidance: by --lightning, else by the metadata
/// of the files of its experts and of their LoRAs, else by the names that the user gave. Reads headers.
/// Throws UsageError.
DistilledModel find_distilled_model(const Options& options, const checkpoint::CheckpointFolder& checkpoint,
                                    const lora::LoraSet& loras = {});

/// "a distilled model by --lightning: 4 steps, euler, shift 5, guidance 1 where nothing else is given"; empty
/// for another model.
std::string describe_distilled_model(const RunInput& input);

/// A warning in one line where rows take many guided steps of a distilled model, or few steps of another one;
/// empty if none does.
std::string unusual_steps(const RunInput& input);

}  // namespace wan::launch
