#include "core/parse_value.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>

#include "core/check.h"

namespace wan {
namespace {

constexpr int grid = 16;  // 8 pixels per latent, 2 latents per token
constexpr int largest_side = 16384;

template <typename Number>
Number parse_number(std::string_view text, const char* kind) {
  Number value{};
  const char* begin = text.data();
  const char* end = begin + text.size();
  if (text.size() > 1 && text.front() == '+') ++begin;
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error == std::errc::result_out_of_range) fail<ValueError>("'{}' is out of range for {}", text, kind);
  if (error != std::errc{} || stop != end || text.empty()) fail<ValueError>("'{}' is not {}", text, kind);
  return value;
}

}  // namespace

std::int64_t parse_integer(std::string_view text, std::int64_t smallest, std::int64_t largest) {
  const auto value = parse_number<std::int64_t>(text, "a whole number");
  if (value < smallest || value > largest) {
    fail<ValueError>("{} is not between {} and {}", value, smallest, largest);
  }
  return value;
}

double parse_real(std::string_view text, double smallest, double largest) {
  const auto value = parse_number<double>(text, "a number");
  if (!(value >= smallest && value <= largest))
    fail<ValueError>("{} is not between {} and {}", text, smallest, largest);
  return value;
}

bool parse_switch(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string_view word : {"on", "true", "1", "yes"}) {
    if (lower == word) return true;
  }
  for (const std::string_view word : {"off", "false", "0", "no"}) {
    if (lower == word) return false;
  }
  fail<ValueError>("'{}' is neither on nor off", text);
}

PixelSize parse_size(std::string_view text) {
  const std::size_t star = text.find_first_of("*x");
  if (star == std::string_view::npos)
    fail<ValueError>("'{}' is not a size; write WIDTH*HEIGHT, for example 1280*720", text);
  const PixelSize size{.width = static_cast<int>(parse_integer(text.substr(0, star), 1, largest_side)),
                       .height = static_cast<int>(parse_integer(text.substr(star + 1), 1, largest_side))};
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
  const std::size_t comma = text.find_first_of(",:");
  if (comma == std::string_view::npos) {
    const double both = parse_real(text, 0, 100);
    return {.low_noise = both, .high_noise = both};
  }
  return {.low_noise = parse_real(text.substr(0, comma), 0, 100),
          .high_noise = parse_real(text.substr(comma + 1), 0, 100)};
}

double parse_boundary(std::string_view text) { return parse_real(text, 0, 1); }

std::int64_t parse_seed(std::string_view text) {
  return parse_integer(text, -1, std::numeric_limits<std::int64_t>::max());
}

Solver parse_solver_name(std::string_view text) {
  if (const auto solver = parse_solver(text)) return *solver;
  fail<ValueError>("'{}' is not a solver; there are unipc, dpm++ and euler", text);
}

}  // namespace wan
