#pragma once

#include "core/log.h"
#include "launch/base_memory.h"
#include "launch/run_input.h"
#include "launch/run_loras.h"
#include "text/tokenizer.h"

namespace wan::apps {

/// Warns of input that is legal but hardly meant: ignored columns, prompts in a damaged encoding, and numbers
/// of steps that do not suit the model. Says whether the model is a distilled one, and why.
void warn_of_input(const launch::RunInput& input, Log& log);

/// Warns of prompts that are longer than the text encoder takes, and quotes the first words that are lost.
void warn_of_lost_texts(const launch::RunInput& input, const text::Tokenizer& tokenizer, Log& log);

/// Warns of files in the checkpoint that are not used, and says which weights are widened.
void warn_of_checkpoint(const checkpoint::CheckpointFolder& folder, Log& log);

/// Tells of each LoRA what it changes, and where the base weights are between two sets.
void tell_of_loras(const launch::RunInput& input, const launch::LoraNotes& notes,
                   const launch::BaseMemory& base, Log& log);

}  // namespace wan::apps
