#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"

namespace wan::checkpoint {

/// Throws UsageError with the model's name if a transformer's config.json does not belong to a supported
/// model.
void refuse_unsupported_config(const nlohmann::json& config, const std::filesystem::path& path);

/// Throws UsageError with the model's name if the tensors have parts that the supported models lack:
/// audio, VACE, animation, a second image.
void refuse_unsupported_tensors(const Checkpoint& weights);

/// Throws UsageError with the model's name if the folder's files show a checkpoint of another task or layout.
void refuse_unsupported_folder(const std::filesystem::path& root);

}  // namespace wan::checkpoint
