#pragma once

#include <filesystem>

namespace wan::checkpoint {

/// The checkpoint's folder that a user means: `given` itself, or the only snapshot of a folder of the hub's
/// cache (models--X--Y with blobs, refs and snapshots). Throws UsageError where another folder has to be
/// given, and names it: `given` is a file, lies inside a checkpoint, holds one, has several snapshots, is a
/// link to nothing, or does not exist.
std::filesystem::path locate_checkpoint(const std::filesystem::path& given);

}  // namespace wan::checkpoint
