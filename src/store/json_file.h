#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace wan::store {

/// The JSON object in a plain file of at most `max_bytes`; null if the file is missing or holds anything
/// else.
nlohmann::json read_object(const std::filesystem::path& path, std::uint64_t max_bytes);

}  // namespace wan::store
