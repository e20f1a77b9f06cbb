#include "batch/item.h"

#include <algorithm>

#include "core/check.h"
#include "store/earlier.h"
#include "store/saved_states.h"

namespace wan::batch {
namespace {

bool counts(const store::StoredRecord& record, const RunContext& context) {
  return context.results.resume || context.is_of_this_job(record.run);
}

/// Why an item with a sidecar has to be made again; empty if it is done.
std::string why_not_done(const store::StoredRecord& record, const manifest::ManifestRow& row,
                         const RunContext& context, bool by_content) {
  if (!record.answers_request) return record.differs.empty() ? "the row is faulty now" : record.differs;
  if (!counts(record, context)) return context.results.names.no_resume;
  if (context.results.save_latents && !record.latents) return "no latents were saved";
  if (context.results.step_latents && !record.step_latents) return "no latents of the steps were saved";
  const auto problem = [&](const std::filesystem::path& path, const store::OutputFile& file) -> std::string {
    if (store::matches(path, file, by_content)) return {};
    return fmt::format("{} is not the file that the record names", path.filename().string());
  };
  if (auto found = problem(context.folder.video(row.id), record.video); !found.empty()) return found;
  return record.latents ? problem(context.folder.latents(row.id), *record.latents) : std::string();
}

/// Whether an item's preview is the one that is wanted, or one after more steps.
bool is_drafted(const store::StoredRecord& record, const manifest::ManifestRow& row,
                const RunContext& context, bool by_content) {
  const Draft& wanted = context.results.draft;
  return counts(record, context) && record.answers_request && record.draft &&
         record.draft->after_step >= wanted.after_step && record.draft->frames == wanted.frames &&
         record.draft->shrink == wanted.shrink &&
         store::matches(context.folder.draft_video(row.id), record.video, by_content);
}

bool is_failed(const store::StoredRecord& record, const manifest::ManifestRow& row,
               const RunContext& context) {
  if (!counts(record, context)) return false;
  const bool is_of_this_job = context.is_of_this_job(record.run);
  if (context.results.retry_failed && !is_of_this_job) return false;
  if (row.error) return record.stage == "manifest" && record.message == *row.error;
  // The obstacle may be gone, and looking again is cheap.
  if (record.stage == store::obstacle_stage && !is_of_this_job) return false;
  return record.answers_request;
}

}  // namespace

std::string_view to_string(ItemStatus status) {
  switch (status) {
    case ItemStatus::done:
      return "done";
    case ItemStatus::drafted:
      return "drafted";
    case ItemStatus::failed:
      return "failed";
    case ItemStatus::open:
      return "open";
  }
  return "";
}

store::Parameters wanted_parameters(const manifest::ManifestRow& row, const RunContext& context,
                                    const Task& task, const std::optional<store::StampedHash>& recorded) {
  store::Parameters wanted;
  wanted.request =
      manifest::resolve(row, context.requests.command_line, task.defaults, context.requests.settings);
  wanted.task = task.name;
  wanted.automatic_seed =
      manifest::has_automatic_seed(row, context.requests.command_line, context.requests.settings);
  store::StampedHash image = context.requests.image_hashes->of(wanted.request.image, recorded);
  wanted.image_sha256 = std::move(image.sha256);
  wanted.image_stamp = image.stamp;
  wanted.model = context.requests.model;
  if (const LoraRecord* loras = context.requests.loras_of(row)) wanted.model.loras = loras->identity;
  return wanted;
}

FoundItem look_up(const manifest::ManifestRow& row, const RunContext& context, const Task& task,
                  bool by_content) {
  const std::filesystem::path sidecar_path = context.folder.sidecar(row.id);
  const std::filesystem::path failure_path = context.folder.failure(row.id);
  const std::filesystem::path draft_path = context.folder.draft_record(row.id);
  // Most items of a fresh run have neither record. Then nobody needs to read the image.
  const auto is_missing = [](const std::filesystem::path& path) { return !store::plain_file_size(path); };
  if (is_missing(sidecar_path) && is_missing(failure_path) && is_missing(draft_path)) return {};
  std::optional<store::Parameters> parameters;
  const store::Wanted wanted =
      [&](const std::optional<store::StampedHash>& recorded) -> const store::Parameters* {
    if (row.error) return nullptr;
    if (!parameters) parameters = wanted_parameters(row, context, task, recorded);
    return &*parameters;
  };
  FoundItem found;
  // Any seed answers a request that gives none. The seed of another request is kept only if it was drawn.
  const auto keep_seed = [&](const store::StoredRecord& record) {
    if (!counts(record, context) || found.kept_seed) return;
    found.kept_seed = record.answers_request ? record.seed : record.automatic_seed;
  };
  if (auto record = store::read_record(sidecar_path, wanted)) {
    keep_seed(*record);
    found.made_again = why_not_done(*record, row, context, by_content);
    if (found.made_again.empty()) {
      found.status = ItemStatus::done;
      found.record = std::move(record);
      return found;
    }
    found.earlier_run = record->run;
    found.is_earlier_answer = record->answers_request;
  }
  if (auto record = store::read_record(failure_path, wanted)) {
    keep_seed(*record);
    if (is_failed(*record, row, context)) {
      found.status = ItemStatus::failed;
      found.record = std::move(record);
    }
  }
  if (found.status == ItemStatus::failed) return found;
  if (auto record = store::read_record(draft_path, wanted)) {
    keep_seed(*record);
    if (context.results.draft.is_wanted() && is_drafted(*record, row, context, by_content)) {
      found.status = ItemStatus::drafted;
      found.record = std::move(record);
    }
  }
  return found;
}

void clear_away(const store::OutputFolder& folder, const std::string& id, const std::string& token) {
  folder.remove_temporaries(id, token);
  store::SavedStates(folder.states()).remove_temporary(id, token);
}

ItemOutcome to_outcome(const manifest::ManifestRow& row, const FoundItem& found, const std::string& run) {
  ItemOutcome outcome;
  outcome.id = row.id;
  outcome.status = found.status;
  if (found.record) {
    const store::StoredRecord& record = *found.record;
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

std::vector<ItemOutcome> survey(std::span<const manifest::ManifestRow> rows, const RunContext& context,
                                const Task& task) {
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(rows.size());
  for (const manifest::ManifestRow& row : rows) {
    outcomes.push_back(to_outcome(row, look_up(row, context, task, false), context.origin.run));
  }
  return outcomes;
}

}  // namespace wan::batch
