#pragma once

#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "launch/run_input.h"
#include "lora/lora_set.h"

namespace wan::launch {

/// The LoRAs of a run: its rows' own, or those of the command line for a row without any. All rows must ask
/// for the same. Throws UsageError.
std::vector<LoraChoice> lora_choices(const std::vector<manifest::ManifestRow>& rows,
                                     const RequestOverrides& command_line, const std::string& manifest);

/// Opens the run's LoRAs and checks them against the model, without or with their values. Throws UsageError.
std::vector<lora::LoraSummary> inspect_loras(const RunInput& input,
                                             const checkpoint::TransformerConfig& transformer,
                                             bool reads_values);

}  // namespace wan::launch
