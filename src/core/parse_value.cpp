#include "core/parse_value.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "core/check.h"

namespace wan {
namespace {

template <typename Number>
Number parse_number(std::string_view text, std::string_view written, const char* kind) {
  Number value{};
  const char* begin = text.data();
  const char* end = begin + text.size();
  if (text.size() > 1 && text.front() == '+') ++begin;
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error == std::errc::result_out_of_range) fail<ValueError>("'{}' is out of range for {}", written, kind);
  if (error != std::errc{} || stop != end || text.empty()) fail<ValueError>("'{}' is not {}", written, kind);
  return value;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The digits of a whole number with a point or an exponent: "42.0", "1e3" and "1.5e+1" become "42", "1000"
/// and "15". Returns any other text unchanged.
std::string plain_digits(std::string_view text) {
  constexpr int most_digits = 40;  // more digits than any integer that this program reads
  std::string_view rest = text;
  const bool is_negative = rest.starts_with('-');
  if (is_negative || rest.starts_with('+')) rest.remove_prefix(1);
  std::string digits;
  std::int64_t scale = 0;  // number of digits behind the point
  bool has_point = false;
  for (; !rest.empty() && (is_digit(rest.front()) || (rest.front() == '.' && !has_point));
       rest.remove_prefix(1)) {
    if (rest.front() == '.') {
      has_point = true;
      continue;
    }
    digits += rest.front();
    if (has_point) ++scale;
  }
  if (digits.empty()) return std::string(text);
  if (!rest.empty()) {
    if (rest.front() != 'e' && rest.front() != 'E') return std::string(text);
    rest.remove_prefix(rest.starts_with("e+") || rest.starts_with("E+") ? 2 : 1);
    int exponent = 0;
    const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), exponent);
    if (error != std::errc{} || stop != rest.data() + rest.size()) return std::string(text);
    scale -= exponent;
  }
  while (scale > 0 && digits.size() > 1 && digits.back() == '0') {
    digits.pop_back();
    --scale;
  }
  if (digits == "0") scale = 0;
  if (scale > 0 || scale < -most_digits) return std::string(text);
  return (is_negative ? "-" : "") + digits + std::string(static_cast<std::size_t>(-scale), '0');
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

bool is_url(std::string_view text) {
  const std::size_t colon = text.find("://");
  if (colon != std::string_view::npos && colon > 1) {
    return std::ranges::all_of(text.substr(0, colon), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '+' || c == '-' || c == '.';
    });
  }
  return lower_case(text.substr(0, 5)) == "data:" && text.find(',') != std::string_view::npos;
}

}  // namespace

std::int64_t parse_integer(std::string_view text, std::int64_t smallest, std::int64_t largest) {
  const auto value = parse_number<std::int64_t>(plain_digits(text), text, "a whole number");
  if (value < smallest || value > largest) {
    fail<ValueError>("{} is not between {} and {}", value, smallest, largest);
  }
  return value;
}

std::uint64_t parse_unsigned(std::string_view text) {
  return parse_number<std::uint64_t>(plain_digits(text), text, "a whole number");
}

double parse_real(std::string_view text, double smallest, double largest) {
  const std::size_t comma = text.find(',');
  if (comma != std::string_view::npos && text.find_first_not_of("+-0123456789,") == std::string_view::npos) {
    std::string with_point(text);
    with_point[comma] = '.';
    fail<ValueError>("'{}' is not a number; write a decimal point: {}", text, with_point);
  }
  const auto value = parse_number<double>(text, text, "a number");
  if (!(value >= smallest && value <= largest))
    fail<ValueError>("{} is not between {} and {}", text, smallest, largest);
  return value;
}

bool parse_switch(std::string_view text) {
  const std::string lower = lower_case(text);
  for (const std::string_view word : {"on", "true", "1", "yes"}) {
    if (lower == word) return true;
  }
  for (const std::string_view word : {"off", "false", "0", "no"}) {
    if (lower == word) return false;
  }
  fail<ValueError>("'{}' is neither on nor off", text);
}

std::filesystem::path parse_path(std::string_view text) {
  if (text.empty()) fail<ValueError>("the path is empty");
  if (is_url(text)) {
    fail<ValueError>("'{}' is a URL, and only files are read: download it first", text.substr(0, 200));
  }
  if (text != "~" && !text.starts_with("~/")) return {text};
  const char* home = std::getenv("HOME");  // NOLINT(concurrency-mt-unsafe)
  if (home == nullptr || *home == '\0')
    fail<ValueError>("'{}' begins with the home folder, and HOME is not set; write the whole path", text);
  return std::filesystem::path(home) / text.substr(std::min<std::size_t>(text.size(), 2));
}

}  // namespace wan
