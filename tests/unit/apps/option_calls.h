#pragma once

#include <string>
#include <vector>

#include "apps/options.h"
#include "wan/error.h"

namespace wan::apps {

using Arguments = std::vector<std::string>;

inline launch::Options parse(const Arguments& arguments) { return parse_options(arguments).options; }

/// The options of a valid call, and these.
inline launch::Options parse_with(Arguments arguments) {
  arguments.insert(arguments.end(), {"--ckpt-dir", "ckpt", "rows.csv"});
  return parse(arguments);
}

inline std::string message_of(const Arguments& arguments) {
  try {
    parse_options(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

inline std::string message_with(Arguments arguments) {
  arguments.insert(arguments.end(), {"--ckpt-dir", "ckpt", "rows.csv"});
  return message_of(arguments);
}

}  // namespace wan::apps
