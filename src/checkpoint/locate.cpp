#include "checkpoint/locate.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "checkpoint/checkpoint_layout.h"
#include "checkpoint/file_kind.h"
#include "checkpoint/lone_file.h"
#include "checkpoint/tensor_file.h"
#include "core/file.h"
#include "core/setting_error.h"
#include "model/model_kind.h"

namespace wan::checkpoint {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code unreadable;
  return fs::is_directory(path, unreadable);
}

bool is_there(const fs::path& path) {
  std::error_code unreadable;
  return fs::exists(fs::symlink_status(path, unreadable));
}

/// Whether a part of a checkpoint of some kind is there.
bool has_parts(const fs::path& folder) {
  if (is_diffusers_repository(folder)) return true;
  return std::ranges::any_of(model::model_kinds(), [&](const model::ModelKind& kind) {
    return exists(folder / kind.text_encoder_file) || is_there(folder / kind.vae_file) ||
           std::ranges::any_of(kind.experts, [&](const model::ExpertKind& expert) {
             return !expert.folder.empty() && is_folder(folder / expert.folder);
           });
  });
}

bool is_cache_entry(const fs::path& folder) { return is_folder(folder / "snapshots"); }

/// The folders in a folder, in alphabetical order. Empty if it cannot be read.
std::vector<fs::path> folders_in(const fs::path& folder) {
  constexpr std::size_t most = 1000;
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    if (found.size() == most) break;
    if (is_folder(at->path())) found.push_back(at->path());
  }
  std::ranges::sort(found);
  return found;
}

/// The snapshot that refs/main names. Empty if there is none.
fs::path main_snapshot(const fs::path& entry) {
  constexpr std::uint64_t longest_name_bytes = 256;
  try {
    std::string name = read_text_file(entry / "refs" / "main", longest_name_bytes);
    while (!name.empty() && (name.back() == '\n' || name.back() == ' ')) name.pop_back();
    const bool is_plain = !name.empty() && name.find('/') == std::string::npos && name != "." && name != "..";
    if (is_plain && is_folder(entry / "snapshots" / name)) return entry / "snapshots" / name;
  } catch (const Error&) {
    return {};  // without the file, no snapshot is preferred
  }
  return {};
}

[[noreturn]] void refuse(const fs::path& given, std::string_view why, const fs::path& instead) {
  fail_setting(folder_setting, "{} {}; give {}", given.string(), why, instead.string());
}

/// The only snapshot of an entry of the hub's cache.
fs::path only_snapshot(const fs::path& given, const fs::path& entry) {
  const std::vector<fs::path> snapshots = folders_in(entry / "snapshots");
  if (snapshots.size() == 1) return snapshots.front();
  if (snapshots.empty()) {
    fail_setting(
        folder_setting,
        "{}, a folder of the hub's cache, has no snapshot: the download did not finish. Start it again",
        given.string());
  }
  const fs::path preferred = main_snapshot(entry);
  std::vector<std::string> names;
  names.reserve(snapshots.size());
  for (const fs::path& snapshot : snapshots) names.push_back(snapshot.string());
  fail_setting(folder_setting,
               "{}, a folder of the hub's cache, has {} snapshots; choose one of them:\n  {}{}",
               given.string(), snapshots.size(), fmt::join(names, "\n  "),
               preferred.empty() ? "" : fmt::format("\nrefs/main names {}", preferred.filename().string()));
}

/// The nearest parent that is a checkpoint or an entry of the hub's cache. Empty if there is none.
fs::path checkpoint_above(const fs::path& path) {
  constexpr int levels = 3;
  std::error_code error;
  fs::path folder = fs::absolute(path, error).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  for (int level = 0; level < levels && folder.has_relative_path(); ++level) {
    folder = folder.parent_path();
    if (has_parts(folder) || is_cache_entry(folder)) return folder;
  }
  return {};
}

/// Checkpoints in a folder (at most a few): its folders, and snapshots if the hub's cache is in it.
std::vector<std::string> checkpoints_in(const fs::path& folder) {
  constexpr std::size_t most = 5;
  std::vector<std::string> found;
  for (const fs::path& parent : {folder, folder / "hub"}) {
    for (const fs::path& inner : folders_in(parent)) {
      const bool cached = is_cache_entry(inner) && inner.filename().string().starts_with("models--");
      if (found.size() < most && (has_parts(inner) || cached)) found.push_back(inner.string());
    }
  }
  return found;
}

void require_folder(const fs::path& given) {
  if (is_folder(given)) return;
  if (const std::string note = dangling_note(given); !note.empty()) {
    fail_setting(folder_setting, "the checkpoint folder {} does not exist{}", given.string(), note);
  }
  if (!is_there(given)) {
    fail_setting(folder_setting,
                 "the checkpoint folder {} does not exist or is not a folder; give the right one",
                 given.string());
  }
  const fs::path above = checkpoint_above(given);
  if (!above.empty()) refuse(given, "is a file, but a checkpoint is a folder", above);
  refuse_lone_file(given);
}

}  // namespace

fs::path locate_checkpoint(const fs::path& given) {
  require_folder(given);
  if (has_parts(given)) return given;
  if (is_cache_entry(given)) return only_snapshot(given, given);
  if (const fs::path above = checkpoint_above(given); !above.empty()) {
    // A user who names one of the cache's own folders (snapshots, blobs, refs) means its entry. A snapshot
    // may be another model's.
    const bool is_snapshot =
        is_cache_entry(above) && fs::absolute(given).lexically_normal().parent_path() != above;
    if (is_snapshot) return given;
    if (is_cache_entry(above)) return only_snapshot(given, above);
    refuse(given, "is a part of a checkpoint", above);
  }
  const std::vector<std::string> inner = checkpoints_in(given);
  if (!inner.empty()) {
    fail_setting(folder_setting, "{} is not a checkpoint, but contains {}; give {}", given.string(),
                 inner.size() == 1 ? "one" : "some", fmt::join(inner, " or "));
  }
  return given;
}

}  // namespace wan::checkpoint
