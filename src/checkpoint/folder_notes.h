#pragma once

#include <string>
#include <vector>

#include "checkpoint/model_config.h"

namespace wan::checkpoint {

/// What the user should know of a checkpoint that can be used: files of weights in it that are not used (a
/// LoRA beside the shards, a single file beside an index), and one expert's weights in both places. Reads
/// names, sizes and a few samples of the files. Folders that cannot be read, and folders that are none of the
/// checkpoint's (lost+found), are passed over.
std::vector<std::string> folder_notes(const CheckpointFolder& folder);

/// Bytes of the files that a run reads, or could read: the parts of the checkpoint, nothing else in its
/// folder.
std::uintmax_t parts_bytes(const CheckpointFolder& folder);

}  // namespace wan::checkpoint
