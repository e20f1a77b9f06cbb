#pragma once

#include "checkpoint/model_config.h"
#include "core/log.h"
#include "launch/run_input.h"
#include "text/tokenizer.h"

namespace wan::apps {

/// Warns of input that is legal but hardly meant: ignored columns, prompts in a damaged encoding, and numbers
/// of steps that do not suit the model. Says whether the model is a distilled one, and why.
void warn_of_input(const launch::RunInput& input, Log& log);

/// Warns of prompts that are longer than the text encoder takes, and quotes the first words that are lost.
void warn_of_lost_texts(const launch::RunInput& input, const text::Tokenizer& tokenizer, Log& log);

/// Warns of files in the checkpoint that are not used, and says which weights are widened.
void warn_of_checkpoint(const checkpoint::CheckpointFolder& folder, Log& log);

/// Tells of each LoRA what it changes. With `reads_values` checks all values, which a run does as it reads
/// them. Throws UsageError if one does not belong to the model.
void tell_of_loras(const launch::RunInput& input, const checkpoint::TransformerConfig& transformer,
                   bool reads_values, Log& log);

}  // namespace wan::apps
