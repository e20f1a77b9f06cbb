#pragma once

#include <functional>
#include <memory>
#include <string>

#include "apps/options.h"
#include "display/progress.h"

namespace wan::apps {

/// What shows the run's progress on standard error; null if the user wants none. For rank 0; `now_s` is a
/// clock in seconds.
std::unique_ptr<display::Progress> make_progress(const launch::Options& options, int group_count,
                                                 std::function<double()> now_s);

/// Where the user finds what was made; below the summary.
std::string places_text(const launch::Options& options, double wall_s);

}  // namespace wan::apps
