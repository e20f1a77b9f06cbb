#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"

namespace wan::checkpoint {

/// Throws UsageError naming the model if a transformer's config.json is not that of I2V-A14B or T2V-A14B.
void refuse_unsupported_config(const nlohmann::json& config, const std::filesystem::path& path);

/// Throws UsageError naming the model if the tensors have parts that those two do not have: Wan 2.1's image
/// branch, audio, VACE, animation.
void refuse_unsupported_tensors(const Checkpoint& weights);

/// Throws UsageError naming the model if the folder is a checkpoint of another task or layout, by its files.
void refuse_unsupported_folder(const std::filesystem::path& root);

}  // namespace wan::checkpoint
