#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "wan/error.h"

namespace wan {

/// A text has the wrong form or value. The message says what was found and what is expected. The caller adds
/// the place: the option's name, or the manifest's line and column.
class ValueError : public Error {
 public:
  using Error::Error;
};

// Each function throws ValueError. A whole number may be written as 42, 42.0 or 1e3.
std::int64_t parse_integer(std::string_view text, std::int64_t smallest, std::int64_t largest);
std::uint64_t parse_unsigned(std::string_view text);  ///< 0..2^64-1
double parse_real(std::string_view text, double smallest, double largest);
bool parse_switch(std::string_view text);  ///< on/off, true/false, 1/0, yes/no in any case
/// Parses the path of a file; "~/" is the home folder. Refuses an empty text and a URL.
std::filesystem::path parse_path(std::string_view text);

}  // namespace wan
