#pragma once

#include <chrono>

#include "store/output_folder.h"

namespace wan::store {

/// Removes the hidden files that killed processes left without a claim, for example a half-written run
/// record. Such a file is named after a token that has no owner file, and is older than `age`. `newest`, a
/// file just written in the folder, shows the clock of the file system. Also removes owner files that are
/// empty or have been silent for a day. Leaves files that it cannot remove.
void remove_abandoned(const OutputFolder& folder, const std::filesystem::path& newest,
                      std::chrono::milliseconds age);

}  // namespace wan::store
