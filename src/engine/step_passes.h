#pragma once

#include "wan/request.h"

namespace wan::engine {

/// How many of the first `steps` steps of a request need one prediction only, because the guidance of their
/// expert is 1. The request has its solver, steps, shift and boundary.
int count_unguided_steps(const Request& request, int steps);

}  // namespace wan::engine
