#pragma once

#include <functional>
#include <span>
#include <string>

#include "batch/item.h"
#include "engine/text_look_ahead.h"
#include "manifest/manifest.h"

namespace wan::apps {

/// Calls `visit` for the good rows that may still have to be made once the row with this id is: first those
/// that follow it in the manifest, then those before it, without those that `is_settled`. Ends when `visit`
/// returns false, or after `budget_s` seconds: asking a slow file system about thousands of rows must not
/// hold the group up.
void visit_rows_after(std::span<const manifest::ManifestRow> rows, const std::string& id,
                      const std::function<bool(const manifest::ManifestRow&)>& is_settled,
                      const std::function<bool(const manifest::ManifestRow&)>& visit, double budget_s = 1);

/// The requests that a group is likely to make after another, as the manifest and the output folder tell.
/// `rows` and `context` must outlive what is returned.
engine::UpcomingRequests upcoming_requests(std::span<const manifest::ManifestRow> rows,
                                           const batch::RunContext& context, const Task& task);

}  // namespace wan::apps
