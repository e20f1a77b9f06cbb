#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/manifest.h"

namespace wan::manifest {

/// The ids in a user's choice: the ids of a manifest's rows if the name ends in .csv, .json, .jsonl, .ndjson
/// or .json-lines, else one on each line. Blanks around an id, empty lines, CRLF and a byte order mark do not
/// count. Throws UsageError, with file and line, for a text that is no id, and for a choice of nothing.
std::vector<std::string> chosen_ids(std::string_view text, const std::filesystem::path& path, TaskKind task);

/// Keeps the rows with these ids, each with its index, line and id in the whole manifest. Throws UsageError,
/// which names `path`, for an id that no row has.
void keep_chosen(std::vector<ManifestRow>& rows, const std::vector<std::string>& ids,
                 const std::filesystem::path& path);

}  // namespace wan::manifest
