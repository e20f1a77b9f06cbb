#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/file.h"

namespace wan::fuzz {

/// A file in memory with these bytes. If the system refuses such a file, the process ends: that is not the
/// input's fault.
class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* bytes, std::size_t size) : file_(::memfd_create("input", MFD_CLOEXEC)) {
    if (!file_ || ::write(file_.get(), bytes, size) != static_cast<ssize_t>(size)) std::abort();
  }
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }

 private:
  UniqueFd file_;
};

}  // namespace wan::fuzz
