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

constexpr int grid = 16;  // 8 pixels per latent, 2 latents per token
constexpr int largest_side = 16384;

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

/// The digits of a whole number that is written with a point or an exponent, as "42.0", "1e3" or "1.5e+1":
/// "42", "1000", "15". Anything else comes back as it is.
std::string plain_digits(std::string_view text) {
  constexpr int most_digits = 40;  // more than any integer has that is read here
  std::string_view rest = text;
  const bool is_negative = rest.starts_with('-');
  if (is_negative || rest.starts_with('+')) rest.remove_prefix(1);
  std::string digits;
  std::int64_t scale = 0;  // digits behind the point
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

std::string_view without_blanks(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

/// Width and height as they are written; nothing if there is no sign between two parts.
std::optional<std::pair<std::string_view, std::string_view>> sides_of(std::string_view text) {
  for (const std::string_view sign : {"*", "x", "X", "\u00D7", "\u2715", "\u2A2F"}) {
    const std::size_t at = text.find(sign);
    if (at == std::string_view::npos) continue;
    return std::pair(without_blanks(text.substr(0, at)), without_blanks(text.substr(at + sign.size())));
  }
  return std::nullopt;
}

/// The sizes that have a name.
std::optional<PixelSize> named_size(std::string_view text) {
  const std::string name = lower_case(text);
  if (name == "480p") return PixelSize{.width = 832, .height = 480};
  if (name == "720p") return PixelSize{.width = 1280, .height = 720};
  return std::nullopt;
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

PixelSize parse_size(std::string_view text) {
  if (const auto size = named_size(text)) return *size;
  const auto sides = sides_of(text);
  if (!sides) fail<ValueError>("'{}' is not a size; write WIDTH*HEIGHT, for example 1280*720", text);
  const PixelSize size{.width = static_cast<int>(parse_integer(sides->first, 1, largest_side)),
                       .height = static_cast<int>(parse_integer(sides->second, 1, largest_side))};
  if (size.width % grid != 0 || size.height % grid != 0) {
    const auto nearest = [](int side) { return std::max(grid, (side + grid / 2) / grid * grid); };
    fail<ValueError>(
        "{} is not supported: width and height must be multiples of {} (the latent grid); nearest: "
        "{}*{}",
        text, grid, nearest(size.width), nearest(size.height));
  }
  return size;
}

int parse_frame_num(std::string_view text) {
  const auto frames = static_cast<int>(parse_integer(text, 1, 1025));
  if (frames % 4 != 1) {
    fail<ValueError>("{} is not of the form 4n+1; nearest: {} or {}", frames, (frames - 1) / 4 * 4 + 1,
                     (frames + 2) / 4 * 4 + 1);
  }
  return frames;
}

int parse_sample_steps(std::string_view text) { return static_cast<int>(parse_integer(text, 1, 1000)); }

double parse_sample_shift(std::string_view text) {
  const double shift = parse_real(text, 0, 100);
  if (shift == 0) fail<ValueError>("0 is not above 0");
  return shift;
}

GuideScale parse_guide_scale(std::string_view text) {
  const std::size_t sign = text.find(text.find(':') != std::string_view::npos ? ':' : ',');
  if (sign == std::string_view::npos) {
    const double both = parse_real(text, 0, 100);
    return {.low_noise = both, .high_noise = both};
  }
  if (text.find(text[sign], sign + 1) != std::string_view::npos)
    fail<ValueError>("'{}' is more than two values; write LOW:HIGH", text);
  return {.low_noise = parse_real(without_blanks(text.substr(0, sign)), 0, 100),
          .high_noise = parse_real(without_blanks(text.substr(sign + 1)), 0, 100)};
}

double parse_boundary(std::string_view text) { return parse_real(text, 0, 1); }

std::optional<std::uint64_t> parse_seed(std::string_view text) {
  const std::string digits = plain_digits(text);
  if (digits.starts_with('-')) {
    if (digits == "-1") return std::nullopt;
    parse_number<double>(text, text, "a whole number");
    fail<ValueError>("{} is not between -1 (a random seed) and 18446744073709551615", text);
  }
  return parse_number<std::uint64_t>(digits, text, "a whole number");
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

Solver parse_solver_name(std::string_view text) {
  if (const auto solver = parse_solver(text)) return *solver;
  fail<ValueError>("'{}' is not a solver; there are unipc, dpm++ and euler", text);
}

}  // namespace wan
