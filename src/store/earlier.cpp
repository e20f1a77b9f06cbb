#include "store/earlier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/file.h"
#include "core/strings.h"
#include "store/saved_states.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_note_bytes = 64U << 10;
constexpr int most_earlier = 100'000;

bool is_there(const std::filesystem::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

bool is_folder(const std::filesystem::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::filesystem::path note_path(const OutputFolder& folder, std::string_view id) {
  // No id begins with a dot, so an item's saved state never has this name.
  return folder.states() / fmt::format(".publishing-{}.json", id);
}

json to_json(const OutputFile& file) { return {{"bytes", file.bytes}, {"sha256", file.sha256}}; }

std::optional<OutputFile> noted(const json& note, const char* name) {
  if (!note.contains(name)) return std::nullopt;
  return OutputFile{.bytes = note.at(name).at("bytes").get<std::uint64_t>(),
                    .sha256 = note.at(name).at("sha256").get<std::string>()};
}

NewOutputs read_note(const OutputFolder& folder, std::string_view id) {
  const std::filesystem::path path = note_path(folder, id);
  if (!plain_file_size(path)) return {};
  try {
    const json note = json::parse(read_text_file(path, max_note_bytes));
    return {.video = noted(note, "video").value_or(OutputFile()), .latents = noted(note, "latents")};
  } catch (const json::exception&) {
    return {};
  } catch (const Error&) {
    return {};
  }
}

std::string advice(const std::filesystem::path& path, std::string_view reason) {
  return fmt::format("{} {}. A run would replace it: move it away, or give the item another name",
                     printable(path.string()), reason);
}

/// Describes a video or latents without a record, unless the note says that they are ours.
std::optional<std::string> stranger(const std::filesystem::path& path,
                                    const std::optional<OutputFile>& noted) {
  if (!is_there(path)) return std::nullopt;
  if (noted && !noted->sha256.empty() && matches(path, *noted, true)) return std::nullopt;
  return advice(path, "does not belong to wan_batch: no record of wan_batch lies beside it");
}

/// Renames to a name that was free a moment ago. Never replaces a file if the file system supports that.
void move_to_free(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (!is_there(from)) return;
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return;
  if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP) {
    if (::rename(from.c_str(), to.c_str()) == 0) return;
  }
  fail("cannot keep the earlier {} as {}: {}", printable(from.string()), printable(to.string()),
       std::strerror(errno));
}

}  // namespace

std::optional<std::string> find_obstacle(const OutputFolder& folder, std::string_view id, bool with_latents) {
  const std::filesystem::path record = folder.sidecar(id);
  const std::filesystem::path failure = folder.failure(id);
  for (const std::filesystem::path& path : {record, failure}) {
    if (is_there(path) && !is_record(path)) return advice(path, "is not a record of wan_batch");
  }
  const std::filesystem::path video = folder.video(id);
  const std::filesystem::path latents = folder.latents(id);
  if (is_folder(video)) return advice(video, "is a folder");
  const bool has_record = is_there(record);
  const NewOutputs note = has_record ? NewOutputs() : read_note(folder, id);
  if (!has_record) {
    if (auto found = stranger(video, note.video)) return found;
  }
  if (!with_latents || !is_there(latents)) return std::nullopt;
  if (has_record) {
    const auto read = read_record(record, [](const auto&) { return nullptr; });
    return read && read->latents ? std::nullopt : stranger(latents, std::nullopt);
  }
  return stranger(latents, note.latents);
}

/// The record of a preview comes before its video, so that no video of ours is ever without one. A draft must
/// save its state, too.
std::optional<std::string> find_draft_obstacle(const OutputFolder& folder, std::string_view id) {
  if (const auto state = SavedStates(folder.states()).foreign_record(id))
    return advice(*state, "is not a record of wan_batch");
  const std::filesystem::path record = folder.draft_record(id);
  const std::filesystem::path video = folder.draft_video(id);
  if (is_there(record)) {
    if (!is_record(record)) return advice(record, "is not a record of wan_batch");
    return is_folder(video) ? std::optional(advice(video, "is a folder")) : std::nullopt;
  }
  return stranger(video, std::nullopt);
}

void require_free_names(const std::filesystem::path& folder, std::string_view id, bool with_latents,
                        std::string_view option) {
  if (!is_folder(folder)) return;
  const std::filesystem::path run = folder / "run.json";
  if (plain_file_size(run) &&
      !is_run_record(run)) {  // probe_output_folder() reports anything that is no file
    fail<UsageError>(
        "{}: {} is not a record of wan_batch, and the run's record would replace it: move it away, or "
        "choose another folder with {}",
        option, printable(run.string()), option);
  }
  if (id.empty()) return;
  if (const auto obstacle = find_obstacle(OutputFolder::view(folder), id, with_latents)) {
    fail<UsageError>("{}: {} with {}", option, *obstacle, option);
  }
}

void note_outputs(const OutputFolder& folder, std::string_view id, std::string_view token,
                  const NewOutputs& outputs) {
  json note{{"id", id}, {"video", to_json(outputs.video)}};
  if (outputs.latents) note["latents"] = to_json(*outputs.latents);
  const std::filesystem::path temporary = folder.states() / hidden_name(id, token, "json");
  try {
    create_file(temporary, dump(note));
    publish_file(temporary, note_path(folder, id));
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void remove_note(const OutputFolder& folder, std::string_view id) { remove_file(note_path(folder, id)); }

std::string keep_earlier(const OutputFolder& folder, std::string_view id, const NewOutputs& outputs,
                         bool answers) {
  const std::filesystem::path record = folder.sidecar(id);
  const std::filesystem::path video = folder.video(id);
  const std::filesystem::path latents = folder.latents(id);
  const bool has_record = is_there(record);
  std::optional<StoredRecord> read;
  if (has_record) read = read_record(record, [](const auto&) { return nullptr; });
  const bool has_latents = is_there(latents) && (outputs.latents || (read && read->latents));
  if (!has_record && !is_there(video) && !has_latents) return {};
  const bool same_video = !is_there(video) || matches(video, outputs.video, true);
  const bool same_latents = !has_latents || (outputs.latents && matches(latents, *outputs.latents, true));
  if ((answers || !has_record) && same_video && same_latents) return {};
  for (int number = 1; number <= most_earlier; ++number) {
    std::string name = fmt::format("{}.earlier-{}", id, number);
    const std::array<std::filesystem::path, 4> taken{folder.video(name), folder.latents(name),
                                                     folder.sidecar(name), folder.failure(name)};
    if (std::ranges::any_of(taken, is_there)) continue;
    move_to_free(video, folder.video(name));
    if (has_latents) move_to_free(latents, folder.latents(name));
    move_to_free(record, folder.sidecar(name));
    sync_path(folder.path());
    return name;
  }
  fail("{} has {} earlier results: move some away from {}", id, most_earlier,
       printable(folder.path().string()));
}

}  // namespace wan::store
