#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/given_parts.h"

namespace wan::checkpoint {

/// Throws SettingError: `file` was given in place of a checkpoint folder. The message says which part it
/// holds and which option names it; of a transformer that may be of two models, both readings.
[[noreturn]] void refuse_lone_file(const std::filesystem::path& file);

/// The parts that the files of weights in a folder hold, with the options that name them, for a message: one
/// line for each, or empty. `used`: files that are left out.
std::string describe_loose_files(const std::filesystem::path& folder,
                                 const std::vector<std::filesystem::path>& used);

/// Throws UsageError unless one expert, or both experts of a pair, are named, and a name that says "low
/// noise" or "high noise" is at its place.
void check_given_experts(const GivenParts& parts);

}  // namespace wan::checkpoint
