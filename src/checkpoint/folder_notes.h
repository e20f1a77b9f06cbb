#pragma once

#include <string>
#include <vector>

#include "checkpoint/model_config.h"

namespace wan::checkpoint {

/// Notes for the user about a usable checkpoint. They report files of weights in it that are not used (a LoRA
/// beside the shards, a single file beside an index), and one expert's weights in both places. The function
/// reads names, sizes and a few samples of the files. It ignores folders that cannot be read and folders that
/// do not belong to the checkpoint (lost+found).
std::vector<std::string> folder_notes(const CheckpointFolder& folder);

/// The parts whose weights are fp8, which are widened to bf16 while they are read: "fp8 widened to bf16:
/// a.safetensors, text_encoder". Empty if there are none. Reads headers.
std::string widened_note(const CheckpointFolder& folder);

/// Bytes of the files that a run may read: the parts of the checkpoint, without other files in its folder.
std::uintmax_t parts_bytes(const CheckpointFolder& folder);

}  // namespace wan::checkpoint
