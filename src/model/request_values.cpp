#include "model/request_values.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "core/check.h"
#include "core/parse_value.h"
#include "core/strings.h"

namespace wan {
namespace {

constexpr int grid = 16;  // pixels: 8 per latent, 2 latents per token
constexpr int largest_side = 16384;

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

/// Splits a size into the texts of width and height. Returns nothing if there is no sign between two parts.
std::optional<std::pair<std::string_view, std::string_view>> sides_of(std::string_view text) {
  for (const std::string_view sign : {"*", "x", "X", "\u00D7", "\u2715", "\u2A2F"}) {
    const std::size_t at = text.find(sign);
    if (at == std::string_view::npos) continue;
    return std::pair(trim(text.substr(0, at)), trim(text.substr(at + sign.size())));
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

}  // namespace

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
  return {.low_noise = parse_real(trim(text.substr(0, sign)), 0, 100),
          .high_noise = parse_real(trim(text.substr(sign + 1)), 0, 100)};
}

double parse_boundary(std::string_view text) { return parse_real(text, 0, 1); }

std::optional<std::uint64_t> parse_seed(std::string_view text) {
  if (!text.starts_with('-')) return parse_unsigned(text);
  double value = 0;
  const char* begin = text.data();
  const char* end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error == std::errc::result_out_of_range)
    fail<ValueError>("'{}' is out of range for a whole number", text);
  if (error != std::errc{} || stop != end) fail<ValueError>("'{}' is not a whole number", text);
  if (value == -1) return std::nullopt;
  fail<ValueError>("{} is not between -1 (a random seed) and 18446744073709551615", text);
}

Solver parse_solver_name(std::string_view text) {
  if (const auto solver = parse_solver(text)) return *solver;
  std::string names;
  for (const SolverRow& row : solver_rows()) {
    const bool is_last = &row == &solver_rows().back();
    names.append(names.empty() ? "" : is_last ? " and " : ", ").append(row.name);
  }
  fail<ValueError>("'{}' is not a solver; there are {}", text, names);
}

}  // namespace wan
