#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace wan {

/// The experts that a LoRA changes. A model with one expert takes `automatic` and `both` alike.
enum class LoraExperts {
  automatic,  ///< as the file's names of tensors or its own name say, else both
  high_noise,
  low_noise,
  both,
};

/// "automatic", "high", "low", "both".
std::string_view to_string(LoraExperts experts);

/// A LoRA as a user asks for it.
struct LoraChoice {
  std::filesystem::path path;  ///< a file, or a folder with one file for each expert
  double strength = 1;
  LoraExperts experts = LoraExperts::automatic;
  bool operator==(const LoraChoice&) const = default;
};

/// Parses FILE[:STRENGTH][@high|low|both] from the right. If a file has the whole text as its name, the text
/// is a name and nothing else. A relative path is relative to `folder`. Throws ValueError if there is no such
/// file or folder, or if the strength is no number between -100 and 100.
LoraChoice parse_lora(std::string_view text, const std::filesystem::path& folder = {});

/// Parses several, divided by semicolons. Throws ValueError, also if there are more than 64.
std::vector<LoraChoice> parse_loras(std::string_view text, const std::filesystem::path& folder = {});

/// The choice as parse_lora() reads it, with an absolute path.
std::string to_text(const LoraChoice& choice);

}  // namespace wan
