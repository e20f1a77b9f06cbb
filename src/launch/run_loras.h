#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "comm/communicator.h"
#include "launch/run_input.h"
#include "lora/lora_set.h"

namespace wan::launch {

/// Finds the sets of LoRAs of a run: of its rows, or of the command line for a row without any. Fills in
/// `input.lora_sets`, the set of each row, and whether each set makes the model a distilled one. A set that
/// cannot be used on every rank fails the rows that name it. Throws AgreedError if it is the command line's.
/// Collective.
void find_lora_sets(comm::Communicator& world, const Options& options, RunInput& input);

/// The notes on a run's LoRAs for its log.
struct LoraNotes {
  std::vector<std::string> lines;     ///< one for each file
  std::vector<std::string> warnings;  ///< on what is left out of one
};

/// Opens each LoRA once and checks it against the model, on rank 0, with all of its values if `reads_values`
/// or if a row names it. A broken one fails the rows that name it, on all ranks. Throws AgreedError if it is
/// the command line's. Collective; the notes are rank 0's.
LoraNotes check_loras(comm::Communicator& world, const checkpoint::TransformerConfig& transformer,
                      bool reads_values, RunInput& input);

/// The set that a group loads first. Groups get sets by the rows that ask for them, the most wanted first.
int first_lora_set(const RunInput& input, std::int64_t group, std::int64_t groups);

}  // namespace wan::launch
