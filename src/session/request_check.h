#pragma once

#include <string>

#include "wan/request.h"

namespace wan::session {

/// Holds a request's values to the limits of a manifest's row, and to a session's task and single set of
/// LoRAs. Throws ItemError (stage "request") that names the value.
void check_values(const Request& request, TaskKind task, bool on_gpu);

/// All values as one text: two requests that make different videos have different ones. Without the id.
std::string describe_values(const Request& request);

}  // namespace wan::session
