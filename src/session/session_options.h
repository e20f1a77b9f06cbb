#pragma once

#include "launch/options.h"
#include "wan/session.h"

namespace wan::session {

/// The options of a run whose `ranks` ranks form one group. Throws UsageError for a value that a command line
/// would refuse.
launch::Options launch_options(const SessionOptions& options, int ranks);

}  // namespace wan::session
