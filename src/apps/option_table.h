#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/options.h"

namespace wan::apps {

/// Headings in --help.
namespace option_group {
inline constexpr std::string_view input = "Input";
inline constexpr std::string_view sampling = "Sampling (a manifest row may set its own)";
inline constexpr std::string_view output = "Output";
inline constexpr std::string_view machine = "Machine and layout";
inline constexpr std::string_view running = "The run";
inline constexpr std::string_view general = "General";
inline constexpr std::string_view measured = "What is measured";
}  // namespace option_group

enum class Takes {
  nothing,   ///< --dry-run; in a file: dry-run = on
  optional,  ///< --dit-fsdp or --dit-fsdp auto
  value,     ///< --size 1280*720
};

/// One option: its spelling, its text in --help, and the field that takes its value.
struct OptionEntry {
  std::string_view group;  ///< the heading in --help
  std::string_view name;   ///< without dashes in front
  Takes takes = Takes::value;
  std::string_view value_name;
  std::string_view help;
  /// Parses the text into its field; throws ValueError. Null for options that parse_options() handles itself,
  /// and for options that are accepted without effect.
  void (*apply)(launch::Options& options, std::string_view text) = nullptr;
  /// Writes the end of `help`, where the choices are the rows of a table elsewhere; null: `help` is all.
  std::string (*choices)() = nullptr;
  bool may_repeat = false;  ///< each value counts; of other options the last one
};

/// Every option, in the order of --help.
std::span<const OptionEntry> option_table();

/// Every option of wan_bench: its own, and the options of wan_batch that say where and how to compute.
std::vector<OptionEntry> bench_option_table();

/// Every option of wan_doctor: its own, and the options of wan_batch that say where files are.
std::vector<OptionEntry> doctor_option_table();

/// An option, or one value of it, that the command line promises and the program does not have yet.
struct NotBuilt {
  std::string_view name;
  std::string_view value;  ///< empty: every value
};

/// Options and values that are refused by name until they are built. A line is removed when its feature is
/// built.
std::span<const NotBuilt> not_built_table();

}  // namespace wan::apps
