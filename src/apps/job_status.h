#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "display/job_account.h"

namespace wan::apps {

/// Asks Slurm's queue about jobs. A job that Slurm does not know, or about which it does not answer within 10
/// seconds, has an empty state. Ids must consist of digits and underscores.
std::vector<display::QueueState> ask_queue(const std::vector<std::string>& jobs);

/// The account of one job of an output folder. Throws UsageError if the folder has no record of it.
std::string job_account(const std::filesystem::path& folder, const std::string& job);

/// A line for each of the newest jobs of an output folder that Slurm knows.
std::string job_lines(const std::filesystem::path& folder);

}  // namespace wan::apps
