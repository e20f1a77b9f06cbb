#include "checkpoint/noise_name.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace wan::checkpoint {

Noise noise_in_name(const std::filesystem::path& path) {
  std::string name = "_" + (path.has_filename() ? path : path.parent_path()).filename().string();
  std::ranges::transform(name, name.begin(), [](unsigned char c) {
    return std::isalnum(c) ? static_cast<char>(std::tolower(c)) : '_';
  });
  const auto says = [&](const std::string& word) {
    return name.find("_" + word + "_") != std::string::npos || name.find(word + "noise") != std::string::npos;
  };
  if (says("high") == says("low")) return Noise::unknown;
  return says("high") ? Noise::high : Noise::low;
}

}  // namespace wan::checkpoint
