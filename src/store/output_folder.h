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

/// What a SettingError of this room is about.
inline constexpr std::string_view folder_setting = "output folder";

/// The folder that a run writes to, and the names in it. Final names only ever appear by rename, which
/// replaces a link or a pipe of that name instead of following it. Ids and tokens are checked by the caller:
/// ids by check_id(), tokens are random_token()'s.
class OutputFolder {
 public:
  /// Creates the folder (and its parents) if need be, and .claims and .state in it. Throws SettingError
  /// naming the folder and the reason when it cannot be created or written to. The folder itself may be a
  /// link; those in it may not.
  explicit OutputFolder(std::filesystem::path path);
  /// The names in a folder that is only looked at: nothing is created.
  static OutputFolder view(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path claims() const { return path_ / ".claims"; }
  std::filesystem::path states() const { return path_ / ".state"; }
  std::filesystem::path video(std::string_view id) const;
  std::filesystem::path latents(std::string_view id) const;
  std::filesystem::path sidecar(std::string_view id) const;
  std::filesystem::path failure(std::string_view id) const;

  /// Hidden names, in the same file system, of one owner's unfinished outputs of an item.
  OutputPaths temporary_outputs(std::string_view id, std::string_view token, bool with_latents) const;
  /// Removes what the owner of `token` left of an item under hidden names; nothing there is fine.
  void remove_temporaries(std::string_view id, std::string_view token) const;

  /// Replaces `target` (in this folder) by `text` in one step: written under a hidden name with `token`,
  /// flushed, renamed. `check`, if given, is called before the rename and may throw to prevent it. Throws
  /// Error.
  void publish_text(const std::filesystem::path& target, std::string_view text, std::string_view token,
                    const std::function<void()>& check = {}) const;

 private:
  OutputFolder() = default;

  std::filesystem::path path_;
};

/// The name of an unfinished file, ".STEM.wan-TOKEN.SUFFIX". Only files of such names are ever removed
/// without a record that tells of them.
std::string hidden_name(std::string_view stem, std::string_view token, std::string_view suffix);
/// The token in such a name; nothing if the name is not one of this program's.
std::optional<std::string> token_in(std::string_view name);

/// Throws UsageError naming `option` if the folder `path` can neither be there nor be made: what is in its
/// place, or the nearest folder above it, is no folder or not writable. Touches nothing, so that it can come
/// before a checkpoint is loaded and in a dry run.
void require_writable_place(const std::filesystem::path& path, std::string_view option);

/// Size in bytes of a regular file that is not a link; nothing if `path` is anything else or not there.
std::optional<std::uint64_t> plain_file_size(const std::filesystem::path& path);

/// The names in a folder, in no order; none if it is not a folder or cannot be read. What comes or goes
/// meanwhile may or may not be among them.
std::vector<std::string> names_in(const std::filesystem::path& folder);

/// Removes a file if it is there; throws Error when it is there and cannot be removed.
void remove_file(const std::filesystem::path& path);

/// Creates a file that is not there yet and writes `text` to it; throws Error, and then leaves no file.
void create_file(const std::filesystem::path& path, std::string_view text);

}  // namespace wan::store
