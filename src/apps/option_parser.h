#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/option_table.h"

namespace wan::apps {

/// The text given for an option, and its place: "option --size" or "option size in run.cfg".
struct Given {
  std::string text;
  std::string where;
  bool is_in_file = false;
  std::vector<std::string> before = {};  ///< of an option that may repeat: its earlier values
};
using GivenOptions = std::map<std::string, Given, std::less<>>;

/// Reads command lines and configuration files against a table of options. All members throw UsageError,
/// which names the option and, for a value from a file, the file.
class OptionParser {
 public:
  /// `positional`: the option whose value a bare argument is; empty if there is none.
  OptionParser(std::span<const OptionEntry> table, std::span<const NotBuilt> not_built,
               std::string_view positional)
      : table_(table), not_built_(not_built), positional_(positional) {}

  GivenOptions parse_command_line(std::span<const std::string> arguments) const;
  /// Adds the options of the file that `given` lacks. `where` names the origin of the path, for messages.
  void add_config_file(const std::filesystem::path& path, const std::string& where,
                       GivenOptions& given) const;
  /// Adds the file of --config, if that is given.
  void add_named_config_file(GivenOptions& given) const;
  /// Parses every value into its field.
  launch::Options apply(const GivenOptions& given) const;
  /// --help and --version win over everything else.
  static Action action_of(const GivenOptions& given);
  /// The options by group with their defaults, as --help prints them.
  std::string help() const;

 private:
  void add_given(const std::string& name, Given value, GivenOptions& given) const;
  const OptionEntry* find_entry(std::string_view name) const;
  const OptionEntry* find_meant(std::string_view name) const;
  [[noreturn]] void fail_unknown(std::string_view written, std::string_view name, const std::string& where,
                                 std::string_view dashes) const;
  const OptionEntry& resolve(std::string_view written) const;
  [[noreturn]] void fail_without_value(std::string_view name) const;
  std::size_t add_canonical_option(std::span<const std::string> arguments, std::size_t at,
                                   std::vector<std::string>& result) const;
  std::vector<std::string> canonical_arguments(std::span<const std::string> arguments) const;
  std::string values_before(std::span<const std::string> arguments, std::string_view word) const;
  void refuse_not_built(const OptionEntry& entry, const Given& given) const;

  std::span<const OptionEntry> table_;
  std::span<const NotBuilt> not_built_;
  std::string_view positional_;
};

/// Parses the arguments of a program without a bare argument and without rules between its options. --help
/// and --version win; a file of --config fills in the rest. Throws UsageError.
ParsedCommandLine parse_plain_options(std::span<const OptionEntry> table,
                                      std::span<const std::string> arguments);

}  // namespace wan::apps
