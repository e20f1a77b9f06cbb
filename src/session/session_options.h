#pragma once

#include <string>

#include "launch/options.h"
#include "wan/session.h"

namespace wan::session {

/// The options of a run whose `ranks` ranks form one group. Throws UsageError for a value that a command line
/// would refuse.
launch::Options launch_options(const SessionOptions& options, int ranks);

/// All values but the functions as one text, the same for the same values.
std::string describe_values(const SessionOptions& options);

}  // namespace wan::session
