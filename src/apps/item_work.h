#pragma once

#include <vector>

#include "batch/item.h"
#include "launch/run_input.h"
#include "parallel/plan.h"

namespace wan::apps {

/// The work of each row, from its size, frames and steps by the plan of `model`. The work of a row that
/// cannot be made is 0.
std::vector<store::ItemWork> work_of_rows(const launch::RunInput& input,
                                          const std::vector<manifest::ManifestRow>& rows,
                                          const parallel::PlanInput& model);

/// Records in the output folder the work of the whole manifest, whatever the shard. On rank 0. Throws Error.
void write_manifest_record(const launch::RunInput& input, const parallel::PlanInput& model,
                           const batch::RunContext& context);

}  // namespace wan::apps
