#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace wan::checkpoint {

/// Reads a JSON file that contains one object. Throws UsageError: unreadable, larger than `max_bytes`, not
/// JSON (with line and column), not an object, nested more than 16 deep, more than a million values, or a key
/// twice in one object.
nlohmann::json read_json_object(const std::filesystem::path& path, std::uint64_t max_bytes);

}  // namespace wan::checkpoint
