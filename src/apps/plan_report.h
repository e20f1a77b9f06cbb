#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "parallel/plan.h"

namespace wan::apps {

/// A plan as --plan prints it: the layout, bytes per rank by part against the memory there is, wire bytes,
/// expected step time.
std::string plan_report(const parallel::PlanInput& input, const parallel::Plan& plan, int ranks,
                        std::optional<std::uint64_t> memory_bytes);

/// "20.7 GiB"
std::string format_bytes(std::int64_t bytes);

}  // namespace wan::apps
