#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/lora_choice.h"
#include "wan/request.h"

namespace wan {

/// Parameters of a request, as a command line or a manifest row may give them. An empty one takes the next
/// level's value.
struct RequestOverrides {
  std::optional<std::string> negative_prompt;
  std::optional<std::uint64_t> seed;  ///< empty if not given, or given as -1
  std::optional<PixelSize> size;
  std::optional<int> frame_num;
  std::optional<int> sample_steps;
  std::optional<double> sample_shift;
  std::optional<GuideScale> guide_scale;
  std::optional<double> boundary;
  std::optional<Solver> solver;
  std::optional<std::vector<LoraChoice>> loras;
};

// The values of a request as users write them. Each function throws ValueError (core/parse_value.h).
/// "1280*720" (also with x, X or ×, and blanks around the sign), "480p" or "720p". Both sides are multiples
/// of 16, at most 16384.
PixelSize parse_size(std::string_view text);
int parse_frame_num(std::string_view text);           ///< 4n+1, 1..1025
int parse_sample_steps(std::string_view text);        ///< 1..1000
double parse_sample_shift(std::string_view text);     ///< above 0, at most 100
GuideScale parse_guide_scale(std::string_view text);  ///< "3.5", "LOW,HIGH" or "LOW:HIGH", each 0..100
double parse_boundary(std::string_view text);         ///< 0..1
std::optional<std::uint64_t> parse_seed(
    std::string_view text);                       ///< 0..2^64-1; nothing for -1, which means a random seed
Solver parse_solver_name(std::string_view text);  ///< a name out of solver_rows()

}  // namespace wan
