#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

namespace wan::checkpoint {

/// Bounds on a JSON text. They keep memory and time in proportion to the text.
struct JsonBounds {
  int depth = 0;            ///< most lists and objects that are open at once
  std::size_t values = 0;   ///< most texts, numbers, lists, objects, ... in total
  bool unique_keys = true;  ///< refuses a key that occurs twice; otherwise the last value counts
};

/// Parses `text` in time proportional to its length. Throws Error if a bound is exceeded or the text is not
/// JSON. The message gives line and column, but no file name.
nlohmann::json parse_bounded_json(std::string_view text, const JsonBounds& bounds);

}  // namespace wan::checkpoint
