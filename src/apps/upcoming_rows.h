#pragma once

#include <functional>
#include <span>
#include <string>

#include "batch/item.h"
#include "engine/text_look_ahead.h"
#include "manifest/manifest.h"

namespace wan::apps {

/// Calls `visit` for the good rows that may still have to be made after the row with this id: first the rows
/// behind it in the manifest, then the rows before it. Leaves out rows that `is_settled`. Ends when `visit`
/// returns false, or after `budget_s` seconds: a slow file system with thousands of rows must not hold the
/// group up.
void visit_rows_after(std::span<const manifest::ManifestRow> rows, const std::string& id,
                      const std::function<bool(const manifest::ManifestRow&)>& is_settled,
                      const std::function<bool(const manifest::ManifestRow&)>& visit, double budget_s = 1);

/// The requests that a group is likely to make after another one, judged by the manifest and the output
/// folder. `rows` and `context` must outlive the result.
engine::UpcomingRequests upcoming_requests(std::span<const manifest::ManifestRow> rows,
                                           const batch::RunContext& context, const Task& task);

}  // namespace wan::apps
