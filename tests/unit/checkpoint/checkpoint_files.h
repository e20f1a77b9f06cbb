#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "wan/error.h"

namespace wan::checkpoint::test {

inline std::string test_data(const std::string& name) { return std::string(WAN_TEST_DATA) + "/" + name; }

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good()) << path;
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// An integer's little-endian bytes.
template <typename T>
std::string little_endian(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// A safetensors file with this header and `bytes` bytes of data.
inline std::string safetensors(const std::string& header, std::size_t data_bytes) {
  return little_endian<std::uint64_t>(header.size()) + header + std::string(data_bytes, '\1');
}

/// Processor seconds of this process so far. A time limit must use them on a machine that others use, too.
inline double cpu_s() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// The most processor seconds that one hostile file may cost. AddressSanitizer checks each access, so it
/// costs a few times as much.
#ifdef __SANITIZE_ADDRESS__
inline constexpr double time_limit_s = 5.0;
#else
inline constexpr double time_limit_s = 1.0;
#endif

/// The error's message. Fails the test if there is no error or it is not a UsageError.
template <typename Action>
std::string usage_error_of(Action action) {
  try {
    action();
  } catch (const UsageError& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not a UsageError: " << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

/// One member of a zip archive to be built, and the errors to put into it.
struct ZipMemberSpec {
  std::string name;
  std::string bytes;
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  std::string local_name = {};      ///< name in the local header, if it must differ
  std::uint32_t claimed_bytes = 0;  ///< if not 0: the size that the directory claims
};

struct ZipOptions {
  bool zip64 = false;  ///< sizes, offsets and the end record in their 64-bit forms
  std::string comment = {};
  int extra_members = 0;  ///< members that the end record counts but the directory lacks
  std::uint16_t disk = 0;
};

/// Builds zip archives byte by byte, also wrong ones.
std::string build_zip(const std::vector<ZipMemberSpec>& members, const ZipOptions& options = {});

}  // namespace wan::checkpoint::test
