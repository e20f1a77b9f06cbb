#pragma once

#include <filesystem>

#include "apps/options.h"
#include "store/output_probe.h"

namespace wan::apps {

/// The index of a run's traces.
std::filesystem::path trace_index(const launch::Options& options);

/// Tries the places that a run writes to, before anything is loaded: output folder, trace, run record, and
/// the video codec. Leaves nothing behind. Returns the features that the output folder's file system lacks.
/// If a run would fail, throws UsageError with the place and the remedy.
store::OutputProbe check_run_places(const launch::Options& options);

}  // namespace wan::apps
