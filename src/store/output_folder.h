#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wan/engine.h"

namespace wan::store {

/// The subject of this room's SettingErrors.
inline constexpr std::string_view folder_setting = "output folder";

/// The folder that a run writes to, and the names in it. Final names appear by a rename only, which replaces
/// a link or a pipe of that name instead of following it. The caller checks ids (check_id()) and tokens
/// (random_token()).
class OutputFolder {
 public:
  /// Creates the folder, its parents, and .claims and .state in it, where they are missing. Throws
  /// SettingError with the folder and the reason if it cannot be created or written to. The folder itself may
  /// be a link; the folders in it may not.
  explicit OutputFolder(std::filesystem::path path);
  /// The names in a folder that is only read: creates nothing.
  static OutputFolder view(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path claims() const { return path_ / ".claims"; }
  std::filesystem::path states() const { return path_ / ".state"; }
  std::filesystem::path video(std::string_view id) const;
  std::filesystem::path latents(std::string_view id) const;
  std::filesystem::path sidecar(std::string_view id) const;
  std::filesystem::path failure(std::string_view id) const;
  std::filesystem::path draft_video(std::string_view id) const;
  std::filesystem::path draft_record(std::string_view id) const;

  /// The hidden names of one owner's unfinished outputs of an item, in the same file system.
  OutputPaths temporary_outputs(std::string_view id, std::string_view token, bool with_latents) const;
  /// Removes the hidden files that the owner of `token` left of an item, if there are any.
  void remove_temporaries(std::string_view id, std::string_view token) const;

  /// Replaces `target`, a file of this folder, by `text` in one step: writes a hidden file with `token`,
  /// flushes it and renames it. `check`, if given, is called before the rename and may throw to prevent it.
  /// Throws Error.
  void publish_text(const std::filesystem::path& target, std::string_view text, std::string_view token,
                    const std::function<void()>& check = {}) const;

 private:
  OutputFolder() = default;

  std::filesystem::path path_;
};

/// The name of an unfinished file, ".STEM.wan-TOKEN.SUFFIX". The program removes files without a record only
/// if they have such a name.
std::string hidden_name(std::string_view stem, std::string_view token, std::string_view suffix);
/// The token in such a name; nothing if the name is not one of this program's.
std::optional<std::string> token_in(std::string_view name);

/// Throws UsageError with `option` if the folder `path` neither exists nor can be made: something else is in
/// its place, or the nearest folder above it is no folder or is not writable. Changes nothing, so that it can
/// run before a checkpoint is loaded and in a dry run.
void require_writable_place(const std::filesystem::path& path, std::string_view option);

/// Size in bytes of a regular file that is not a link; nothing if `path` is anything else or missing.
std::optional<std::uint64_t> plain_file_size(const std::filesystem::path& path);

/// The names in a folder, in no order. Empty if it is not a folder or cannot be read. Files that come or go
/// meanwhile may or may not be among them.
std::vector<std::string> names_in(const std::filesystem::path& folder);

/// Removes a file if it is there. Throws Error if it cannot be removed.
void remove_file(const std::filesystem::path& path);

/// Creates a new file and writes `text` to it. Throws Error, and then leaves no file.
void create_file(const std::filesystem::path& path, std::string_view text);

}  // namespace wan::store
