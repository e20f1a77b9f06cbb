#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "launch/options.h"

namespace wan::apps {

enum class Action { run, help, version };

struct ParsedCommandLine {
  Action action = Action::run;
  launch::Options options;  ///< meaningful for Action::run only
  bool demo = false;        ///< started without any argument; the options come from demo_config_file
};

/// The configuration file for a start without arguments, relative to the working directory.
inline constexpr const char* demo_config_file = "inputs/demo/demo.cfg";

/// Parses the arguments after the program's name. Option names may be written with underscores, as in
/// generate.py, and shortened while they stay unambiguous. If an option is given twice, the last one counts.
/// A file named by --config gives values for the options that the arguments leave out. --help and --version
/// win over everything else. Reads the configuration file and no other file. Throws UsageError, which names
/// the option and, for a value from a file, the file.
ParsedCommandLine parse_options(std::span<const std::string> arguments);

/// The text of --help: usage, options by group with their defaults, exit codes.
std::string help_text();

/// A number of bytes with its unit: "48GiB", "141 GB", "512M" (K, M, G and T alone are binary). Throws
/// ValueError.
std::uint64_t parse_bytes(std::string_view text);

/// The seconds of a time in sbatch's form: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS. Throws ValueError.
double parse_time_limit(std::string_view text);

/// A number of hours over 0: "1.5". Throws ValueError.
double parse_max_hours(std::string_view text);

}  // namespace wan::apps
