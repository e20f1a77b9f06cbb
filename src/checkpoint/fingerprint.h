#pragma once

#include <string>

#include "checkpoint/model_config.h"

namespace wan::checkpoint {

/// A checksum that distinguishes checkpoints by everything that influences results: 32 hex digits. It covers
/// name, type, shape and values of every tensor of the experts, the VAE, the text encoder and CLIP, and the
/// bytes of config.json and tokenizer.json. Small tensors count completely. Larger ones count with 16 evenly
/// spread ranges of 64 elements. The files' location and an expert's division into shards make no difference.
/// The same values in another type make one.
///
/// Reads about 40 MB in 30,000 pieces of a full-size checkpoint, with 16 threads (calculated). Throws
/// UsageError if the files do not form a checkpoint, Error if they cannot be read.
std::string fingerprint(const CheckpointFolder& folder);

}  // namespace wan::checkpoint
