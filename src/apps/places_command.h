#pragma once

#include <span>
#include <string>

namespace wan::apps {

// `wan_batch places ...` prints the output folder and the device that the arguments of a run mean, and starts
// nothing. The batch scripts ask it before they start the ranks.

bool is_places_command(std::span<const std::string> arguments);

/// Returns the exit code. `arguments` include the command's name.
int run_places_command(std::span<const std::string> arguments) noexcept;

}  // namespace wan::apps
