#include "apps/run_output.h"

#include <fmt/format.h>

#include <utility>

#include "core/console.h"
#include "core/strings.h"
#include "launch/plan_report.h"
#include "manifest/row_list.h"
#include "model/model_kind.h"

namespace wan::apps {

std::unique_ptr<display::Progress> make_progress(const launch::Options& options, int group_count,
                                                 std::function<double()> now_s) {
  if (options.log_level == LogLevel::quiet && options.progress == ProgressMode::automatic) return nullptr;
  const auto style = display::progress_style_of(stderr, options.progress);
  if (!style) return nullptr;
  return std::make_unique<display::Progress>(stderr, *style, group_count, std::move(now_s));
}

std::string places_text(const launch::Options& options, double wall_s) {
  const std::filesystem::path& folder = options.output_dir;
  std::string text = fmt::format("wall time  {}\n", format_duration(wall_s));
  for (const auto& [what, where] :
       {std::pair{"videos", folder / "*.mp4"}, std::pair{"records", folder / "*.json"},
        std::pair{"log", folder / "wan_batch.log"},
        std::pair{"trace", options.trace.value_or(folder / "trace.h5")}}) {
    text += fmt::format("{:<9}  {}\n", what, printable(where.string()));
  }
  return text;
}

void print_rows(const launch::Options& options) {
  std::optional<TaskKind> task;
  if (options.task) task = model::model_kind(*options.task).kind;
  manifest::list_rows(manifest::read_manifest(*options.manifest), *options.manifest, task,
                      options.shard.value_or(manifest::Shard()), print_result);
}

void print_plan(const launch::Options& options, const launch::RunInput& input, const launch::RunPlan& plan) {
  print_result(launch::plan_report(
      {.model = plan.model,
       .choice = launch::weigh_layouts(options, plan.machine, plan.model),
       .machine = plan.machine,
       .manifest = launch::expected_manifest_time(input, plan.model, plan.layout, plan.machine),
       .objective = options.objective,
       .task = input.checkpoint.task.name,
       .precision = launch::precision_of(options, plan.model),
       .draft = input.draft,
       .loras = plan.base.describe(),
       .vae_precision = options.vae_precision}));
}

}  // namespace wan::apps
