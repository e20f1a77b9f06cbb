#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "batch/item.h"
#include "batch/run_record.h"

namespace wan::batch {

/// The table at the end of a run: id, status, size, frames, steps, seconds, s/step, and the reason of each
/// failure. Below it stand the counts and the next thing to do. If there are more than `max_lines` items, it
/// shows failures first and says how many items it leaves out.
std::string format_summary(std::span<const ItemOutcome> outcomes, const RunCounts& counts,
                           const std::filesystem::path& output_folder, const SettingNames& names = {},
                           std::size_t max_lines = 50);

}  // namespace wan::batch
