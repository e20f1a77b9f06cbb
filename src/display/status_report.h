#pragma once

#include <filesystem>
#include <string>

#include "store/batch_status.h"

namespace wan::display {

/// The status for people: counts, rates, time left, the workers and their items, dead workers, and the first
/// `max_lines` failures.
std::string status_text(const store::BatchStatus& status, const std::filesystem::path& folder,
                        std::size_t max_lines = 20);

/// The complete status for machines: one JSON object.
std::string status_json(const store::BatchStatus& status, const std::filesystem::path& folder);

}  // namespace wan::display
