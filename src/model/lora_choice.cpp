#include "model/lora_choice.h"

#include <array>
#include <charconv>
#include <optional>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/parse_value.h"
#include "core/printable.h"
#include "core/strings.h"

namespace wan {
namespace {

constexpr double largest_strength = 100;
constexpr std::size_t longest_shown = 200;  // of a text in a message, in bytes
constexpr std::size_t most_in_a_row = 64;   // each is an open file of each rank

constexpr std::array<std::pair<std::string_view, LoraExperts>, 3> expert_words{
    {{"high", LoraExperts::high_noise}, {"low", LoraExperts::low_noise}, {"both", LoraExperts::both}}};

bool is_there(const std::filesystem::path& path) {
  std::error_code unreadable;
  return std::filesystem::exists(path, unreadable);
}

bool is_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec != std::errc::invalid_argument && parsed.ptr == text.data() + text.size();
}

/// The text behind the last `sign` of a file's name; nothing if there is none.
std::optional<std::string_view> behind(std::string_view text, char sign) {
  const std::size_t at = text.rfind(sign);
  if (at == std::string_view::npos || text.find('/', at) != std::string_view::npos) return std::nullopt;
  return text.substr(at + 1);
}

/// Takes the expert or the strength from the end of `rest`. False if neither stands there.
bool take_ending(std::string_view& rest, LoraChoice& choice) {
  if (const auto word = behind(rest, '@')) {
    for (const auto& [known, experts] : expert_words) {
      if (*word != known) continue;
      choice.experts = experts;
      rest.remove_suffix(word->size() + 1);
      return true;
    }
  }
  if (const auto number = behind(rest, ':'); number && is_number(*number)) {
    try {
      choice.strength = parse_real(*number, -largest_strength, largest_strength);
    } catch (const ValueError& error) {
      fail<ValueError>("the strength: {}", error.what());
    }
    rest.remove_suffix(number->size() + 1);
    return true;
  }
  return false;
}

[[noreturn]] void fail_absent(std::string_view rest) {
  std::string hint;
  if (const auto word = behind(rest, '@')) {
    hint = fmt::format("; if '@{}' names an expert, write @high, @low or @both",
                       printable(*word, longest_shown));
  } else if (const auto number = behind(rest, ':')) {
    hint = fmt::format("; if '{}' is a strength, write a number", printable(*number, longest_shown));
  }
  fail<ValueError>("there is no file or folder '{}'{}", printable(rest, longest_shown), hint);
}

}  // namespace

std::string_view to_string(LoraExperts experts) {
  for (const auto& [word, value] : expert_words)
    if (value == experts) return word;
  return "automatic";
}

LoraChoice parse_lora(std::string_view text, const std::filesystem::path& folder) {
  LoraChoice choice;
  std::string_view rest = text;
  choice.path = folder / parse_path(rest);
  for (int endings = 0; endings < 2 && !is_there(choice.path); ++endings) {
    if (!take_ending(rest, choice)) break;
    choice.path = folder / parse_path(rest);
  }
  if (!is_there(choice.path)) fail_absent(rest);
  return choice;
}

std::vector<LoraChoice> parse_loras(std::string_view text, const std::filesystem::path& folder) {
  std::vector<LoraChoice> choices;
  for (std::size_t first = 0; first <= text.size();) {
    const std::size_t end = std::min(text.find(';', first), text.size());
    const std::string_view one = trim(text.substr(first, end - first));
    if (!one.empty() && choices.size() == most_in_a_row) {
      fail<ValueError>("it names more than {} LoRAs; add some of them to the weights beforehand",
                       most_in_a_row);
    }
    if (!one.empty()) choices.push_back(parse_lora(one, folder));
    first = end + 1;
  }
  return choices;
}

std::string to_text(const LoraChoice& choice) {
  const std::string experts =
      choice.experts == LoraExperts::automatic ? "" : fmt::format("@{}", to_string(choice.experts));
  return fmt::format("{}:{}{}", std::filesystem::absolute(choice.path).string(), choice.strength, experts);
}

}  // namespace wan
