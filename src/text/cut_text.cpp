#include "text/cut_text.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace wan::text {
namespace {

constexpr std::size_t no_limit = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t longest_word_bytes = 60;  // longer words, and languages without blanks, are cut inside

bool is_inside_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

/// Positions at which the text can be cut: the first bytes of its characters.
std::vector<std::size_t> character_starts(std::string_view text) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_inside_character(text[i])) starts.push_back(i);
  }
  return starts;
}

/// The beginning of the word at `at`, if it is near; otherwise `at`.
std::size_t word_start(std::string_view text, std::size_t at) {
  const std::size_t blank = text.rfind(' ', at);
  return blank != std::string_view::npos && at - blank <= longest_word_bytes ? blank + 1 : at;
}

}  // namespace

std::optional<CutText> find_cut(const Tokenizer& tokenizer, std::string_view cleaned,
                                std::size_t max_tokens) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  // A text has at most one token for each byte, one for the blank before the first word, and </s>.
  if (cleaned.size() + 2 <= max_tokens && std::ranges::all_of(cleaned, is_ascii)) return std::nullopt;
  const std::size_t tokens = tokenizer.encode(cleaned, no_limit).size();
  if (tokens <= max_tokens) return std::nullopt;
  const std::vector<std::size_t> starts = character_starts(cleaned);
  const auto fits = [&](std::size_t begin) {
    return tokenizer.encode(cleaned.substr(0, begin), no_limit).size() <= max_tokens;
  };
  // The longest prefix that fits ends where the first one that is too long begins to differ.
  const auto first_too_long = std::ranges::partition_point(starts, fits);
  const std::size_t begin = first_too_long == starts.begin() ? 0 : *std::prev(first_too_long);
  return CutText{.tokens = tokens, .lost = std::string(cleaned.substr(word_start(cleaned, begin)))};
}

std::string first_words(std::string_view text) {
  if (text.size() <= longest_word_bytes) return std::string(text);
  std::size_t end = longest_word_bytes;
  while (end > 0 && is_inside_character(text[end])) --end;
  const std::size_t blank = text.rfind(' ', end);
  return std::string(text.substr(0, blank == std::string_view::npos || blank == 0 ? end : blank)) + "...";
}

}  // namespace wan::text
