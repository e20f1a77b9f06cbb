#include "batch/item_publisher.h"

#include <unistd.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/log.h"

namespace wan::batch {
namespace {

/// For use when a file is complete under its hidden name, before it gets its final one. An owner that was
/// suspended in between may have a successor: either it sees that here, or its successor has removed the
/// hidden file.
void require_claim(const ItemInHand& item) {
  if (item.claim.is_held()) return;
  fail("another process took this item over, as this one was silent for too long");
}

/// The file that the engine left under a hidden name.
store::OutputFile finished_output(const std::filesystem::path& path) {
  const auto size = store::plain_file_size(path);
  if (!size || *size == 0) fail("the engine left no output in {}", path.string());
  return {.bytes = *size, .sha256 = sha256_file_hex(path)};
}

void publish_output(const ItemInHand& item, const std::filesystem::path& from,
                    const std::filesystem::path& to) {
  require_claim(item);
  publish_file(from, to);
}

/// Somebody else's file stays, whatever it holds.
bool is_foreign(const std::filesystem::path& record) {
  return std::filesystem::symlink_status(record).type() != std::filesystem::file_type::not_found &&
         !store::is_record(record);
}

}  // namespace

/// Comes last: with the sidecar the item is done.
void ItemPublisher::publish_sidecar(const ItemInHand& item, const store::Sidecar& sidecar) const {
  const store::OutputFolder& folder = context_.folder;
  const std::filesystem::path path = folder.sidecar(item.row.id);
  try {
    folder.publish_text(path, store::to_json_text(sidecar), token_, [&] { require_claim(item); });
  } catch (const Error&) {
    // The sidecar may have its name and not be safe on disk. An older one would describe another video.
    if (item.claim.is_held()) ::unlink(path.c_str());
    throw;
  }
}

/// Keeps the results of earlier runs that lie under the item's names.
std::optional<store::MadeAgain> ItemPublisher::make_room(const ItemInHand& item,
                                                         const store::NewOutputs& outputs) const {
  const store::OutputFolder& folder = context_.folder;
  require_claim(item);
  if (const auto obstacle = store::find_obstacle(folder, item.row.id, context_.results.save_latents))
    fail("{}", *obstacle);
  store::note_outputs(folder, item.row.id, token_, outputs);
  require_claim(
      item);  // again: the note was flushed meanwhile, and the files may be a successor's result by now
  const std::string earlier = store::keep_earlier(folder, item.row.id, outputs, item.is_earlier_answer);
  std::optional<store::MadeAgain> made_again = item.made_again;
  if (earlier.empty()) return made_again;
  if (!made_again) made_again = store::MadeAgain();
  made_again->earlier = earlier;
  context_.log->info("{}: the earlier result is kept as {}.*", item.row.id, earlier);
  return made_again;
}

store::Sidecar ItemPublisher::sidecar_of(const ItemInHand& item, const RequestReport& report) const {
  store::Sidecar sidecar;
  sidecar.parameters = item.parameters;
  sidecar.report = report;
  sidecar.report.phase_s = item.cost.phase_s;
  sidecar.seconds = item.seconds();
  sidecar.gpu_seconds = context_.place.on_gpu ? item.gpu_seconds() : 0;
  sidecar.energy_j = item.energy_j();
  sidecar.resumed_at = item.resumed_at();
  sidecar.origin = item.origin;
  sidecar.extension = item.row.extension;
  return sidecar;
}

ItemOutcome ItemPublisher::publish(const ItemInHand& item, const RequestReport& report) const {
  if (report.end == RunEnd::drafted) return publish_draft(item, report);
  const store::OutputFolder& folder = context_.folder;
  const std::string& id = item.row.id;
  try {
    const OutputPaths temporary = folder.temporary_outputs(id, token_, context_.results.save_latents);
    store::Sidecar sidecar = sidecar_of(item, report);
    sidecar.video = finished_output(temporary.video);
    if (context_.results.save_latents) sidecar.latents = finished_output(temporary.latents);
    sidecar.step_latents = context_.results.step_latents;
    sidecar.made_again = make_room(item, {.video = sidecar.video, .latents = sidecar.latents});
    publish_output(item, temporary.video, folder.video(id));
    if (context_.results.save_latents) publish_output(item, temporary.latents, folder.latents(id));
    store::remove_file(
        folder.failure(id));  // first: a run killed in between leaves no item both done and failed
    publish_sidecar(item, sidecar);
  } catch (const StorageError&) {
    throw;
  } catch (const Error& error) {
    throw ItemError("write", error.what());
  }
  try {
    store::remove_note(folder, id);
    states_.remove(id);
    deaths_.clear(id);
  } catch (const Error& error) {
    context_.log->warn("{} is done, but: {}", id, error.what());
  }
  return outcome_of(item, report, ItemStatus::done);
}

/// The record comes first: it makes the video's name ours, and counts once the video beside it is the one
/// that it names.
ItemOutcome ItemPublisher::publish_draft(const ItemInHand& item, const RequestReport& report) const {
  const store::OutputFolder& folder = context_.folder;
  const std::string& id = item.row.id;
  try {
    const OutputPaths temporary = folder.temporary_outputs(id, token_, /*with_latents=*/false);
    store::Sidecar sidecar = sidecar_of(item, report);
    sidecar.draft = context_.results.draft;
    sidecar.video = finished_output(temporary.video);
    require_claim(item);
    if (const auto obstacle = store::find_draft_obstacle(folder, id)) fail("{}", *obstacle);
    folder.publish_text(folder.draft_record(id), store::to_json_text(sidecar), token_,
                        [&] { require_claim(item); });
    publish_output(item, temporary.video, folder.draft_video(id));
    store::remove_file(folder.failure(id));
  } catch (const StorageError&) {
    throw;
  } catch (const Error& error) {
    throw ItemError("write", error.what());
  }
  return outcome_of(item, report, ItemStatus::drafted);
}

ItemOutcome ItemPublisher::outcome_of(const ItemInHand& item, const RequestReport& report,
                                      ItemStatus status) {
  return {.id = item.row.id,
          .status = status,
          .of_this_run = true,
          .size = report.size,
          .frames = report.frames,
          .steps = item.parameters.request.sample_steps,
          .seconds = item.seconds(),
          .median_step_s = report.median_step_s,
          .stage = {},
          .message = {}};
}

ItemOutcome ItemPublisher::record_failure(const ItemInHand& item, const ItemError& error) const {
  const double seconds = item.seconds();
  const std::filesystem::path path = context_.folder.failure(item.row.id);
  // If another process took the item over, that process records the result.
  if (item.claim.is_held() && !is_foreign(path)) {
    store::FailureRecord failure{.id = item.row.id,
                                 .stage = error.stage(),
                                 .message = error.what(),
                                 .parameters = {},
                                 .rank = context_.place.world_rank,
                                 .origin = item.origin,
                                 .extension = item.row.extension};
    if (!item.row.error) failure.parameters = item.parameters;
    try {
      context_.folder.publish_text(path, store::to_json_text(failure), token_, [&] { require_claim(item); });
      deaths_.clear(item.row.id);
    } catch (const Error&) {
      if (item.claim.is_held()) throw;
    }
  }
  context_.log->detail("{} failed ({}): {}", item.row.id, error.stage(), error.what());
  ItemOutcome outcome;
  outcome.id = item.row.id;
  outcome.status = ItemStatus::failed;
  outcome.of_this_run = true;
  outcome.seconds = seconds;
  outcome.stage = error.stage();
  outcome.message = error.what();
  return outcome;
}

}  // namespace wan::batch
