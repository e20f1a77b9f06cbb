#include "apps/item_work.h"

#include <map>
#include <tuple>

#include "engine/step_passes.h"
#include "store/batch_record.h"

namespace wan::apps {
namespace {

/// The expected seconds of a step on one rank, guided or not. Only the ratio between sizes counts.
double step_work(const Request& request, bool is_guided, parallel::PlanInput model) {
  model.grid = {};
  model.tokens = model.geometry.token_grid(request.frame_num, request.size);
  model.guided = is_guided;
  model.unguided_steps = 0;
  model.placement.transformers = {};
  model.machine = parallel::reference_machine();  // runs on all machines weigh items in the same way
  return parallel::make_plan(model).step_s;
}

}  // namespace

std::vector<store::ItemWork> work_of_rows(const launch::RunInput& input,
                                          const std::vector<manifest::ManifestRow>& rows,
                                          const parallel::PlanInput& model) {
  std::map<std::tuple<int, int, int, bool>, double> known;
  const auto step_of = [&](const Request& request, bool is_guided) {
    const auto [step, is_new] =
        known.try_emplace({request.size.width, request.size.height, request.frame_num, is_guided}, 0.0);
    if (is_new) step->second = step_work(request, is_guided, model);
    return step->second;
  };
  std::vector<store::ItemWork> works;
  works.reserve(rows.size());
  for (const manifest::ManifestRow& row : rows) {
    if (row.error) {
      works.push_back({.steps = 0, .rest = 0});
      continue;
    }
    const Request request = launch::resolve_row(input, row);
    const int steps = launch::steps_to_make(input, request);
    const int unguided = engine::count_unguided_steps(request, steps);
    works.push_back(
        {.steps = step_of(request, true) * (steps - unguided) + step_of(request, false) * unguided,
         .rest = static_cast<double>(request.size.width) * request.size.height * request.frame_num});
  }
  return works;
}

void write_manifest_record(const launch::RunInput& input, const parallel::PlanInput& model,
                           const batch::RunContext& context) {
  const bool is_part = !input.whole.empty();
  const std::vector<manifest::ManifestRow>& rows = is_part ? input.whole : input.rows;
  const std::vector<store::ItemWork> works = is_part ? work_of_rows(input, rows, model) : context.row_work;
  store::BatchRecord record{.manifest = input.manifest_name,
                            .rows = input.whole_rows,
                            .items = {},
                            .keeps_drafts = input.draft.is_wanted() || input.is_chosen};
  record.items.reserve(rows.size());
  for (std::size_t row = 0; row < rows.size(); ++row)
    record.items.push_back({.id = rows[row].id, .work = works[row]});
  store::write_batch_record(context.folder, record);
}

}  // namespace wan::apps
