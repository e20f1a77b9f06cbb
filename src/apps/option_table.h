#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/options.h"

namespace wan::apps {

enum class Takes {
  nothing,   ///< --dry-run; in a file: dry-run = on
  optional,  ///< --dit-fsdp or --dit-fsdp auto
  value,     ///< --size 1280*720
};

/// One option: how it is written, what --help says, and where its value goes.
struct OptionEntry {
  std::string_view group;  ///< the heading in --help
  std::string_view name;   ///< without dashes in front
  Takes takes = Takes::value;
  std::string_view value_name;
  std::string_view help;
  /// Parses the text into its field; throws ValueError. Null for the options that parse_options() itself
  /// answers and those accepted without effect.
  void (*apply)(launch::Options& options, std::string_view text) = nullptr;
  /// Writes the end of `help`, where the choices are the rows of a table elsewhere; null: `help` is all.
  std::string (*choices)() = nullptr;
};

/// Every option, in the order of --help.
std::span<const OptionEntry> option_table();

/// Every option of wan_bench: its own, and those of wan_batch that say where and how to compute.
std::vector<OptionEntry> bench_option_table();

/// Every option of wan_doctor: its own, and those of wan_batch that say where things are.
std::vector<OptionEntry> doctor_option_table();

/// An option, or one value of it, that the command line promises and the program does not have yet.
struct NotBuilt {
  std::string_view name;
  std::string_view value;  ///< empty: every value
};

/// What is refused by name until it is built. A line goes when its feature comes.
std::span<const NotBuilt> not_built_table();

}  // namespace wan::apps
