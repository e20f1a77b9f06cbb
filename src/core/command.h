#pragma once

#include <optional>
#include <string>
#include <vector>

namespace wan {

/// Runs a program, found on PATH, without a shell, and returns what it writes to standard output, at most 64
/// KiB. Its standard input and error are /dev/null. Returns nothing if it cannot be started, ends with
/// another code than 0, or takes longer than `timeout_s`, after which it is killed.
std::optional<std::string> output_of_command(const std::vector<std::string>& words, double timeout_s);

}  // namespace wan
