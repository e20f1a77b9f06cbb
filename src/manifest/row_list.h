#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "manifest/manifest.h"
#include "wan/request.h"

namespace wan::manifest {

/// Prints the rows of a manifest for a program that writes the manifest again: one line with the manifest's
/// columns, then one line per row of the shard with its values, their places and every cell as it is written.
/// Each line is a JSON object. jobs/prompts/manifest.py reads them; docs/prompts.md describes them. Without
/// `task`, a row with an image is one for i2v, and any other row is one for t2v. No column is required.
/// Throws UsageError for a problem of the whole manifest.
void list_rows(std::string_view text, const std::filesystem::path& path, std::optional<TaskKind> task,
               const Shard& shard, const std::function<void(std::string_view)>& print);

}  // namespace wan::manifest
