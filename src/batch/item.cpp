#include "batch/item.h"

#include <algorithm>

#include "core/check.h"
#include "core/checksum.h"

namespace wan::batch {
namespace {

constexpr std::uint64_t max_image_bytes = std::uint64_t{1} << 30;  // longer ones are not worth the reading

/// Empty if there is no image or it cannot be read.
std::string image_checksum(const std::filesystem::path& image) {
  if (image.empty()) return {};
  try {
    std::error_code error;
    const auto size = std::filesystem::file_size(image, error);
    return error || size > max_image_bytes ? std::string() : sha256_file_hex(image);
  } catch (const Error&) {
    return {};
  }
}

bool counts(const StoredRecord& record, const RunContext& context) {
  return context.resume || context.is_of_this_job(record.run);
}

bool is_done(const StoredRecord& record, const ManifestRow& row, const RunContext& context, bool by_content) {
  if (!counts(record, context) || !record.answers_request) return false;
  if (context.save_latents && !record.latents) return false;
  if (!matches(context.folder.video(row.id), record.video, by_content)) return false;
  return !record.latents || matches(context.folder.latents(row.id), *record.latents, by_content);
}

bool is_failed(const StoredRecord& record, const ManifestRow& row, const RunContext& context) {
  if (!counts(record, context)) return false;
  if (context.retry_failed && !context.is_of_this_job(record.run)) return false;
  if (row.error) return record.stage == "manifest" && record.message == *row.error;
  return record.answers_request;
}

}  // namespace

bool RunContext::is_of_this_job(const std::string& run) const {
  return run == origin.run || std::ranges::find(runs_of_job, run) != runs_of_job.end();
}

std::string_view to_string(ItemStatus status) {
  switch (status) {
    case ItemStatus::done:
      return "done";
    case ItemStatus::failed:
      return "failed";
    case ItemStatus::open:
      return "open";
  }
  return "";
}

Parameters wanted_parameters(const ManifestRow& row, const RunContext& context, const Task& task) {
  Parameters wanted;
  wanted.request = resolve(row, context.command_line, task.defaults, context.settings);
  wanted.task = task.name;
  wanted.automatic_seed = has_automatic_seed(row, context.command_line);
  wanted.image_sha256 = image_checksum(wanted.request.image);
  return wanted;
}

ItemState look_up(const ManifestRow& row, const RunContext& context, const Task& task, bool by_content) {
  const std::filesystem::path sidecar_path = context.folder.sidecar(row.id);
  const std::filesystem::path failure_path = context.folder.failure(row.id);
  // Most items of a fresh run have neither: then the image need not be read.
  if (!plain_file_size(sidecar_path) && !plain_file_size(failure_path)) return {};
  std::optional<Parameters> wanted;
  if (!row.error) wanted = wanted_parameters(row, context, task);
  const Parameters* wanted_or_null = wanted ? &*wanted : nullptr;

  ItemState state;
  const auto keep_seed = [&](const StoredRecord& record) {
    if (counts(record, context) && !state.kept_seed) state.kept_seed = record.automatic_seed;
  };
  if (auto record = read_record(sidecar_path, wanted_or_null)) {
    keep_seed(*record);
    if (is_done(*record, row, context, by_content)) {
      state.status = ItemStatus::done;
      state.record = std::move(record);
      return state;
    }
  }
  if (auto record = read_record(failure_path, wanted_or_null)) {
    keep_seed(*record);
    if (is_failed(*record, row, context)) {
      state.status = ItemStatus::failed;
      state.record = std::move(record);
    }
  }
  return state;
}

ItemOutcome to_outcome(const ManifestRow& row, const ItemState& state, const std::string& run) {
  ItemOutcome outcome;
  outcome.id = row.id;
  outcome.status = state.status;
  if (state.record) {
    const StoredRecord& record = *state.record;
    outcome.of_this_run = record.run == run;
    outcome.size = record.size;
    outcome.frames = record.frames;
    outcome.steps = record.steps;
    outcome.seconds = record.seconds;
    outcome.median_step_s = record.median_step_s;
    outcome.stage = record.stage;
    outcome.message = record.message;
  }
  return outcome;
}

std::vector<ItemOutcome> survey(std::span<const ManifestRow> rows, const RunContext& context,
                                const Task& task) {
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(rows.size());
  for (const ManifestRow& row : rows) {
    outcomes.push_back(to_outcome(row, look_up(row, context, task, false), context.origin.run));
  }
  return outcomes;
}

}  // namespace wan::batch
