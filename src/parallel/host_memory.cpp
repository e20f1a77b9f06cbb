#include "parallel/host_memory.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace wan::parallel {
namespace {

// Messages of the CPU allocator, and those for sizes beyond 64 bits.
constexpr std::array<std::string_view, 4> shortage_texts{
    "DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory",
    "Storage size calculation overflowed", "numel: integer multiplication overflow"};

}  // namespace

bool is_host_shortage(const c10::Error& error) {
  const std::string_view text = error.what_without_backtrace();
  return std::ranges::any_of(shortage_texts,
                             [&](std::string_view part) { return text.find(part) != std::string::npos; });
}

std::string describe_shortage(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

void throw_shortage(const std::string& message) { C10_THROW_ERROR(OutOfMemoryError, message); }

}  // namespace wan::parallel
