#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "launch/layout_choice.h"
#include "launch/options.h"
#include "parallel/plan.h"
#include "parallel/site_figures.h"

namespace wan::launch {

/// The plan for which a study is read.
struct StudySubject {
  std::string gpu;  ///< the driver's name, or "cpu"; empty: unknown, then it is the study's
  std::string_view task;
  std::string_view precision;
  int pixels_per_token = 16;  ///< the least side of a video
};

/// The figures of a study's JSON file (`jobs/analysis.sh report ... --json FILE`) for this GPU, model and
/// precision. Throws UsageError, naming file and field: not such a file, impossible values, or a study of
/// another GPU, model or precision.
parallel::SiteFigures read_site_study(const std::filesystem::path& path, const StudySubject& subject);

/// Puts the figures of --measured into `plan`. If the GPU to plan for is not known, it is the study's.
void use_site_study(const Options& options, std::string_view task, MachineSize& machine,
                    parallel::PlanInput& plan);

}  // namespace wan::launch
