#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace wan {

/// SHA-256 of `bytes`, as 64 lower-case hex digits.
std::string sha256_hex(std::string_view bytes);

/// SHA-256 of a file's content, which is read in pieces. Throws Error with the file's path.
std::string sha256_file_hex(const std::filesystem::path& path);

}  // namespace wan
