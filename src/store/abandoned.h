#pragma once

#include <chrono>

#include "store/output_folder.h"

namespace wan::store {

/// Removes what killed processes left under hidden names where no claim tells of it, a run record half
/// written for example: files named after a token that has no owner file, and older than `age` by the clock
/// of the file system, which `newest`, a file just written there, shows; and owner files that were never
/// written to or have been silent for a day. What cannot be removed stays.
void remove_abandoned(const OutputFolder& folder, const std::filesystem::path& newest,
                      std::chrono::milliseconds age);

}  // namespace wan::store
