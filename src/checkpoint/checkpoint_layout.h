#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model_config.h"
#include "model/model_kind.h"

namespace wan::checkpoint {

// The layouts in which whole checkpoints lie in a folder. All throw UsageError.

/// Whether the folder is a repository of Diffusers' layout: model_index.json, transformer/, ...
bool is_diffusers_repository(const std::filesystem::path& root);

/// The kind of a checkpoint in a folder. Kinds with the same places and names are told apart by config.json,
/// and those that differ in sizes alone by `wanted_task` where the sizes are of no official model.
const model::ModelKind& kind_in_folder(const std::filesystem::path& root, std::string_view wanted_task);

/// The kind of a model with one expert, or with two, by an expert's file or folder.
const model::ModelKind& kind_of_expert(const std::filesystem::path& expert, bool is_pair,
                                       std::string_view wanted_task);

/// Where the parts of a checkpoint of this kind lie in a folder of its layout, whether they are there or not.
CheckpointFolder places_in(const std::filesystem::path& root, const model::ModelKind& kind);

/// Names of the parts that are not there, relative to the checkpoint.
std::vector<std::string> missing_parts(const CheckpointFolder& folder, const model::ModelKind& kind);

/// The parts of a checkpoint of this kind in the layout of `root`, one on each line, for a message.
std::string expected_layout(const std::filesystem::path& root, const model::ModelKind& kind);

}  // namespace wan::checkpoint
