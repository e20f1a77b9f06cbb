#pragma once

#include <filesystem>

namespace wan::checkpoint {

enum class Noise { unknown, high, low };

/// The steps that the name of an expert's file or folder says it is for: "wan2.2_i2v_high_noise_14B".
Noise noise_in_name(const std::filesystem::path& path);

}  // namespace wan::checkpoint
