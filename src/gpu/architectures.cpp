#include "gpu/architectures.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "core/check.h"

namespace wan::gpu {
namespace {

/// One entry of the list.
struct Architecture {
  int major = 0;
  int minor = 0;
  char letter = 0;  ///< 'a', 'f' or no letter
  bool has_machine_code = true;
  bool has_ptx = false;

  bool runs_on(int gpu_major, int gpu_minor) const {
    const bool is_same = gpu_major == major && gpu_minor == minor;
    if (letter == 'a') return is_same;  // covers its PTX, too
    const bool is_later_of_generation = gpu_major == major && gpu_minor >= minor;
    if (letter == 'f') return is_later_of_generation;
    return is_later_of_generation || (has_ptx && gpu_major > major);
  }
  std::string version() const {
    return fmt::format("{}.{}{}", major, minor, letter != 0 ? std::string(1, letter) : std::string());
  }
};

/// "90a-real"
Architecture parse(std::string_view text) {
  Architecture result;
  const std::size_t dash = text.find('-');
  const std::string_view kind = dash == std::string_view::npos ? std::string_view() : text.substr(dash + 1);
  result.has_machine_code = kind != "virtual";
  result.has_ptx = kind != "real";
  std::string number(text.substr(0, dash));
  if (number.ends_with('a') || number.ends_with('f')) {
    result.letter = number.back();
    number.pop_back();
  }
  const int value = static_cast<int>(std::strtol(number.c_str(), nullptr, 10));
  result.major = value / 10;
  result.minor = value % 10;
  return result;
}

std::vector<Architecture> parse_all(std::string_view built) {
  std::vector<Architecture> all;
  while (!built.empty()) {
    const std::size_t comma = std::min(built.find(','), built.size());
    all.push_back(parse(built.substr(0, comma)));
    built.remove_prefix(std::min(comma + 1, built.size()));
  }
  return all;
}

}  // namespace

bool has_code_for(std::string_view built, int major, int minor) {
  const std::vector<Architecture> all = parse_all(built);
  return std::ranges::any_of(all, [&](const Architecture& one) { return one.runs_on(major, minor); });
}

std::string describe_architectures(std::string_view built) {
  std::vector<std::string> parts;
  for (const Architecture& one : parse_all(built)) {
    if (one.has_machine_code) parts.push_back(one.version());
    if (one.has_ptx) parts.push_back("PTX of " + one.version());
  }
  if (parts.empty()) return "no GPU";
  std::string text = parts.front();
  for (std::size_t i = 1; i < parts.size(); ++i) text += (i + 1 == parts.size() ? " and " : ", ") + parts[i];
  return text;
}

}  // namespace wan::gpu
