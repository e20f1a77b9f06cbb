#pragma once

#include <filesystem>
#include <string_view>

namespace wan::checkpoint {

/// The setting that a SettingError of this room names.
inline constexpr std::string_view folder_setting = "checkpoint folder";

/// Finds the checkpoint folder that the user means: `given` itself, or the only snapshot of a folder of the
/// hub's cache (models--X--Y with blobs, refs and snapshots). Throws SettingError with the right folder if
/// the user must give another one: `given` is a file, lies inside a checkpoint, contains one, has several
/// snapshots, is a link to nothing, or does not exist.
std::filesystem::path locate_checkpoint(const std::filesystem::path& given);

}  // namespace wan::checkpoint
