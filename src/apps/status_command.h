#pragma once

#include <span>
#include <string>

namespace wan::apps {

/// Whether the arguments are those of `wan_batch status ...`. The user writes a manifest named "status" as
/// ./status.
bool is_status_command(std::span<const std::string> arguments);

/// Runs `wan_batch status [--json] OUT`: prints the status of the batch in OUT and returns the exit code.
/// Uses no MPI and only reads, so that it runs on a login node beside the batch.
int run_status_command(std::span<const std::string> arguments) noexcept;

}  // namespace wan::apps
