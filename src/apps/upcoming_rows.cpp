#include "apps/upcoming_rows.h"

#include <algorithm>

#include "core/clock.h"
#include "manifest/resolve.h"

namespace wan::apps {

void visit_rows_after(std::span<const manifest::ManifestRow> rows, const std::string& id,
                      const std::function<bool(const manifest::ManifestRow&)>& is_settled,
                      const std::function<bool(const manifest::ManifestRow&)>& visit, double budget_s) {
  const Stopwatch watch;
  const auto own =
      static_cast<std::size_t>(std::ranges::find(rows, id, &manifest::ManifestRow::id) - rows.begin());
  const std::size_t first = own == rows.size() ? 0 : own + 1;
  for (std::size_t i = 0; i < rows.size() && watch.elapsed_s() <= budget_s; ++i) {
    const std::size_t index = (first + i) % rows.size();
    const manifest::ManifestRow& row = rows[index];
    if (index == own || row.error || is_settled(row)) continue;
    if (!visit(row)) return;
  }
}

engine::UpcomingRequests upcoming_requests(std::span<const manifest::ManifestRow> rows,
                                           const batch::RunContext& context, const Task& task) {
  return [rows, &context, task](const Request& now, const std::function<bool(const Request&)>& visit) {
    visit_rows_after(
        rows, now.id,
        [&](const manifest::ManifestRow& row) {
          return batch::look_up(row, context, task, /*by_content=*/false).status != batch::ItemStatus::open;
        },
        [&](const manifest::ManifestRow& row) {
          return visit(manifest::resolve(row, context.requests.command_line, task.defaults,
                                         context.requests.settings));
        });
  };
}

}  // namespace wan::apps
