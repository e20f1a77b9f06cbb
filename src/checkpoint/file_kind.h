#pragma once

#include <filesystem>
#include <string>

#include "core/file.h"

namespace wan::checkpoint {

/// The kind of a file whose content differs from its name, for a message that begins with its path: a Git LFS
/// pointer, an HTML or XML page, an empty file, a text or zeros instead of weights, or another format of
/// weights. The text contains the remedy. Empty if the first bytes show none of these. `expected` is the
/// format that the caller reads; it is not reported.
enum class FileFormat { json, safetensors, torch_archive };
std::string foreign_kind(const UniqueFd& file, const std::filesystem::path& path, FileFormat expected);

/// Throws UsageError if foreign_kind() is not empty.
void refuse_foreign_kind(const UniqueFd& file, const std::filesystem::path& path, FileFormat expected);

/// If `path` is a link to a missing file: the target, for a message (" (a link to ..., which is missing)").
/// Otherwise empty.
std::string dangling_note(const std::filesystem::path& path);

}  // namespace wan::checkpoint
