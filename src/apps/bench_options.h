#pragma once

#include <span>
#include <string>

#include "apps/options.h"

namespace wan::apps {

/// Parses wan_bench's arguments, as parse_options() does wan_batch's.
ParsedCommandLine parse_bench_options(std::span<const std::string> arguments);

/// The text of wan_bench --help.
std::string bench_help_text();

}  // namespace wan::apps
