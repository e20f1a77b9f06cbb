#pragma once

#include <functional>
#include <memory>
#include <string>

#include "apps/options.h"
#include "display/progress.h"
#include "launch/engine_host.h"

namespace wan::apps {

/// Shows the run's progress on standard error; null if the user wants no progress. For rank 0. `now_s` is a
/// clock in seconds.
std::unique_ptr<display::Progress> make_progress(const launch::Options& options, int group_count,
                                                 std::function<double()> now_s);

/// Prints the rows of --manifest as JSON lines (--list-rows). For rank 0. Throws UsageError.
void print_rows(const launch::Options& options);

/// Prints what --plan shows. For rank 0.
void print_plan(const launch::Options& options, const launch::RunInput& input, const launch::RunPlan& plan);

/// The text below the summary: where the user finds the results.
std::string places_text(const launch::Options& options, double wall_s);

}  // namespace wan::apps
