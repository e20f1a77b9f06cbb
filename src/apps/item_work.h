#pragma once

#include <vector>

#include "batch/item.h"
#include "launch/run_input.h"
#include "parallel/plan.h"

namespace wan::apps {

/// What each row asks for, from its size, frames and steps by the plan of `model`. A row that cannot be made
/// asks for nothing.
std::vector<store::ItemWork> work_of_rows(const launch::RunInput& input,
                                          const std::vector<manifest::ManifestRow>& rows,
                                          const parallel::PlanInput& model);

/// Leaves in the output folder what the whole manifest asks for, whatever the shard. On rank 0. Throws Error.
void write_manifest_record(const launch::RunInput& input, const parallel::PlanInput& model,
                           const batch::RunContext& context);

}  // namespace wan::apps
