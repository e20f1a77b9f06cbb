#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

namespace wan::checkpoint {

/// What a JSON text may hold. The bounds keep memory and time in proportion to the text.
struct JsonBounds {
  int depth = 0;            ///< lists and objects that are open at once
  std::size_t values = 0;   ///< texts, numbers, lists, objects, ...
  bool unique_keys = true;  ///< otherwise the last value of a key that occurs twice counts
};

/// Parses `text`, in time that grows with its length alone. Throws Error without a file's name: a bound that
/// is exceeded, or text that is no JSON, with line and column.
nlohmann::json parse_bounded_json(std::string_view text, const JsonBounds& bounds);

}  // namespace wan::checkpoint
