#pragma once

#include <filesystem>
#include <string>

#include "store/batch_status.h"

namespace wan::display {

/// For people: counts, rates, time left, who works on what, what died, and the first `max_lines` failures.
std::string status_text(const store::BatchStatus& status, const std::filesystem::path& folder,
                        std::size_t max_lines = 20);

/// The same for machines, complete: one JSON object.
std::string status_json(const store::BatchStatus& status, const std::filesystem::path& folder);

}  // namespace wan::display
