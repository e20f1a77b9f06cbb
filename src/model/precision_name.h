#pragma once

#include <string_view>

namespace wan {

/// The precisions as options, records and traces write them.
inline constexpr std::string_view bf16_name = "bf16";
inline constexpr std::string_view fp16_name = "fp16";
inline constexpr std::string_view fp32_name = "fp32";
/// The word for bf16 in options, records, saved states and traces up to version 0.2.0. It is still read.
inline constexpr std::string_view earlier_bf16_name = "exact";

/// A precision's name as it is written now: "bf16" for "exact", any other text unchanged.
constexpr std::string_view current_precision_name(std::string_view name) {
  return name == earlier_bf16_name ? bf16_name : name;
}

}  // namespace wan
