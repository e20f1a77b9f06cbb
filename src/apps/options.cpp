#include "apps/options.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <map>
#include <sstream>
#include <string_view>
#include <vector>

#include "apps/option_table.h"
#include "core/check.h"
#include "core/file.h"

namespace wan::apps {
namespace {

namespace po = boost::program_options;

constexpr std::uint64_t largest_config_bytes = 1 << 20;

/// What was given for an option, and where: "option --size" or "option size in run.cfg".
struct Given {
  std::string text;
  std::string where;
};
using GivenOptions = std::map<std::string, Given, std::less<>>;

/// Number of single-letter changes that turn one word into the other (Levenshtein).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row[b.size()];
}

const OptionEntry* find_entry(std::string_view name) {
  const auto table = option_table();
  const auto found = std::ranges::find(table, name, &OptionEntry::name);
  return found == table.end() ? nullptr : &*found;
}

/// The message for a name that is no option; `dashes` as the user would write it there.
[[noreturn]] void fail_unknown(std::string_view written, std::string_view name, const std::string& where,
                               std::string_view dashes) {
  constexpr std::size_t longest_name = 64;  // of what is worth comparing: the arguments are untrusted
  const std::string_view compared = name.substr(0, longest_name);
  const auto distance_to = [&](const OptionEntry& entry) { return edit_distance(compared, entry.name); };
  const OptionEntry& nearest = *std::ranges::min_element(option_table(), {}, distance_to);
  if (distance_to(nearest) <= std::max<std::size_t>(2, compared.size() / 3))
    fail<UsageError>("unknown option '{}'{}; did you mean {}{}?", written, where, dashes, nearest.name);
  fail<UsageError>("unknown option '{}'{}; --help lists all", written, where);
}

/// The option that an argument like "--frame_num" or "--frame" means.
const OptionEntry& resolve(std::string_view written) {
  std::string name(written.substr(2));
  std::ranges::replace(name, '_', '-');
  if (const OptionEntry* entry = find_entry(name)) return *entry;
  std::vector<const OptionEntry*> candidates;
  for (const OptionEntry& entry : option_table()) {
    if (!name.empty() && entry.name.starts_with(name)) candidates.push_back(&entry);
  }
  if (candidates.size() == 1) return *candidates.front();
  if (candidates.empty()) fail_unknown(written, name, "", "--");
  std::string list;
  for (const OptionEntry* entry : candidates)
    list += fmt::format("{}--{}", list.empty() ? "" : ", ", entry->name);
  fail<UsageError>("option '{}' is ambiguous: {}", written, list);
}

bool is_switch_word(std::string_view text) {
  if (text == "auto") return true;
  try {
    parse_switch(text);
    return true;
  } catch (const ValueError&) {
    return false;
  }
}

[[noreturn]] void fail_without_value(std::string_view name) {
  const OptionEntry* entry = find_entry(name);
  fail<UsageError>("option --{} needs a value: --{}={}", name, name,
                   entry != nullptr ? entry->value_name : "VALUE");
}

/// Adds one option, written as at `arguments[at]`, in its canonical form; returns the position after it.
std::size_t add_canonical_option(std::span<const std::string> arguments, std::size_t at,
                                 std::vector<std::string>& result) {
  const std::string_view argument = arguments[at];
  const std::size_t equals = std::min(argument.find('='), argument.size());
  const OptionEntry& entry = resolve(argument.substr(0, equals));
  const std::string name = fmt::format("--{}", entry.name);
  const std::string* next = at + 1 < arguments.size() ? &arguments[at + 1] : nullptr;
  if (equals + 1 == argument.size() && entry.takes == Takes::value) {
    // "--negative-prompt=" is an empty text; Boost takes one only as an argument of its own.
    result.insert(result.end(), {name, ""});
    return at + 1;
  }
  if (equals != argument.size()) {
    result.push_back(fmt::format("{}{}", name, argument.substr(equals)));
    return at + 1;
  }
  if (entry.takes == Takes::value) {
    // A value that begins with two dashes is more likely a forgotten one; '=' takes it all the same.
    if (next == nullptr || next->starts_with("--")) fail_without_value(entry.name);
    result.push_back(name);
    result.push_back(*next);
    return at + 2;
  }
  const bool has_value = entry.takes == Takes::optional && next != nullptr && is_switch_word(*next);
  result.push_back(name + "=" + (has_value ? *next : "on"));
  return has_value ? at + 2 : at + 1;
}

/// Rewrites the arguments to what Boost reads without doubt: full names with dashes, and optional values
/// joined with '=', since "--dit-fsdp rows.csv" would make the manifest its value.
std::vector<std::string> canonical_arguments(std::span<const std::string> arguments) {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < arguments.size();) {
    const std::string& argument = arguments[i];
    if (argument == "-h") {
      result.emplace_back("--help=on");
      ++i;
    } else if (argument == "--") {
      fail<UsageError>("'--' is not needed: write options and the manifest in any order");
    } else if (argument.starts_with("--")) {
      i = add_canonical_option(arguments, i, result);
    } else if (argument.size() > 1 && argument.starts_with('-')) {
      fail<UsageError>("unknown option '{}'; all options but -h have long names with two dashes, see --help",
                       argument);
    } else {
      result.push_back(argument);
      ++i;
    }
  }
  return result;
}

/// The options as Boost knows them: every value is taken as text and parsed by the option's own parser.
po::options_description boost_options() {
  po::options_description options;
  for (const OptionEntry& entry : option_table()) {
    auto* value = po::value<std::vector<std::string>>()->composing();
    if (entry.takes != Takes::value) value->implicit_value({"on"}, "on");
    options.add_options()(std::string(entry.name).c_str(), value);
  }
  return options;
}

GivenOptions parse_command_line(std::span<const std::string> arguments) {
  const po::options_description options = boost_options();
  po::positional_options_description positional;
  positional.add("manifest", -1);
  // Without short options, so that "--base-seed -1" is a value.
  constexpr int style = po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent |
                        po::command_line_style::long_allow_next;
  GivenOptions given;
  std::optional<std::string> manifest;
  try {
    const auto parsed = po::command_line_parser(canonical_arguments(arguments))
                            .options(options)
                            .positional(positional)
                            .style(style)
                            .run();
    for (const auto& option : parsed.options) {
      const std::string text = option.value.empty() ? "on" : option.value.front();
      if (option.position_key >= 0) {
        if (manifest) fail<UsageError>("two manifests are given: '{}' and '{}'", *manifest, text);
        manifest = text;
        given.insert_or_assign("manifest", Given{text, "the manifest"});
      } else {
        given.insert_or_assign(option.string_key, Given{text, "option --" + option.string_key});
      }
    }
  } catch (const po::error_with_option_name& error) {
    std::string name = error.get_option_name();
    name.erase(0, std::min(name.find_first_not_of('-'), name.size()));
    fail_without_value(name);
  } catch (const po::error& error) {
    fail<UsageError>("the command line cannot be read: {}", error.what());
  }
  return given;
}

/// Adds what the file says and `given` lacks.
void add_config_file(const std::filesystem::path& path, const std::string& where, GivenOptions& given) {
  std::string text;
  try {
    text = read_text_file(path, largest_config_bytes);
  } catch (const Error& error) {
    fail<UsageError>("{}: {}", where, error.what());
  }
  std::istringstream stream(text);
  GivenOptions in_file;
  try {
    const auto parsed = po::parse_config_file(stream, boost_options(), true);
    for (const auto& option : parsed.options) {
      std::string name = option.string_key;
      std::ranges::replace(name, '_', '-');
      const std::string in_path = fmt::format(" in {}", path.string());
      if (find_entry(name) == nullptr) fail_unknown(option.string_key, name, in_path, "");
      if (name == "config") fail<UsageError>("option config{}: a file cannot name another one", in_path);
      const std::string value = option.value.empty() ? "" : option.value.front();
      if (!in_file.emplace(name, Given{value, fmt::format("option {}{}", name, in_path)}).second)
        fail<UsageError>("option {}{} is given twice", name, in_path);
    }
  } catch (const po::error& error) {
    fail<UsageError>("{}: {}; write NAME = VALUE, one a line", path.string(), error.what());
  }
  given.merge(in_file);
}

/// One spelling for all the ways to write on and off, as the table of what is not built has it.
std::string_view canonical_value(const OptionEntry& entry, std::string_view text) {
  if (entry.takes == Takes::value || text == "auto" || !is_switch_word(text)) return text;
  return parse_switch(text) ? "on" : "off";
}

void refuse_not_built(const OptionEntry& entry, const Given& given) {
  for (const NotBuilt& missing : not_built_table()) {
    if (missing.name != entry.name) continue;
    if (missing.value.empty())
      fail<UsageError>("{} is not built yet in this version; leave it out", given.where);
    if (missing.value == canonical_value(entry, given.text)) {
      fail<UsageError>("{}: the value {} is not built yet in this version; leave it out", given.where,
                       missing.value);
    }
  }
}

Options apply(const GivenOptions& given) {
  Options options;
  for (const auto& [name, value] : given) {
    const OptionEntry* entry = find_entry(name);
    WAN_CHECK(entry != nullptr, "option {} is in no table", name);
    refuse_not_built(*entry, value);
    if (entry->apply == nullptr) continue;
    try {
      entry->apply(options, value.text);
    } catch (const ValueError& error) {
      fail<UsageError>("{}: {}", value.where, error.what());
    }
  }
  return options;
}

/// What no single option can tell.
void check_consistency(const Options& options) {
  const bool single = options.image || options.prompt || options.save_file;
  if (options.manifest && single) {
    fail<UsageError>(
        "a manifest ({}) and a single request (--image, --prompt, --save-file) exclude each other",
        options.manifest->string());
  }
  if (single && !options.prompt) {
    fail<UsageError>("{} is given without --prompt; a single request needs its text",
                     options.image ? "--image" : "--save-file");
  }
  if (options.plan && options.dry_run) fail<UsageError>("--plan and --dry-run exclude each other");
  if (!options.plan && options.gpus)
    fail<UsageError>("--gpus goes with --plan only; mpirun sets the ranks of a run");
  if (!options.plan && options.gpu_memory_bytes)
    fail<UsageError>("--gpu-memory goes with --plan only; a run asks the GPUs themselves");
  if (!options.manifest && !single && !options.plan)
    fail<UsageError>("there is nothing to make: give a manifest, or --prompt with --image; see --help");
  if (options.ckpt_dir.empty())
    fail<UsageError>("--ckpt-dir is missing: the folder of the checkpoint in the official layout");
}

bool is_on(const GivenOptions& given, std::string_view name) {
  const auto found = given.find(name);
  if (found == given.end()) return false;
  try {
    return parse_switch(found->second.text);
  } catch (const ValueError& error) {
    fail<UsageError>("{}: {}", found->second.where, error.what());
  }
}

}  // namespace

ParsedCommandLine parse_options(std::span<const std::string> arguments) {
  ParsedCommandLine result;
  GivenOptions given = parse_command_line(arguments);
  if (is_on(given, "help")) {
    result.action = Action::help;
    return result;
  }
  if (is_on(given, "version")) {
    result.action = Action::version;
    return result;
  }
  result.demo = arguments.empty();
  if (result.demo) {
    add_config_file(demo_config_file, "no option is given, and the demo is not in this folder (see --help)",
                    given);
  } else if (const auto config = given.find("config"); config != given.end()) {
    const Given named = config->second;
    if (named.text.empty()) fail<UsageError>("{}: the path is empty", named.where);
    add_config_file(named.text, named.where, given);
  }
  result.options = apply(given);
  check_consistency(result.options);
  return result;
}

std::string help_text() {
  constexpr unsigned line_length = 110;
  constexpr unsigned shortest_description = 70;
  std::ostringstream text;
  text << "Makes a video of each image and prompt of a manifest with Wan2.2, on one or many ranks.\n\n"
          "  wan_batch [options] MANIFEST\n"
          "  wan_batch [options] --image FILE --prompt TEXT --save-file FILE.mp4\n"
          "  wan_batch                      the demo in inputs/demo\n"
          "  mpirun -np N wan_batch ...     the same on N ranks\n\n";
  std::string_view group;
  std::vector<po::options_description> groups;
  for (const OptionEntry& entry : option_table()) {
    if (entry.group != group) {
      group = entry.group;
      groups.emplace_back(std::string(group), line_length, shortest_description);
    }
    const std::string name(entry.name);
    const std::string value_name(entry.value_name);
    std::string description(entry.help);
    for (const NotBuilt& missing : not_built_table()) {
      if (missing.name != entry.name) continue;
      description +=
          missing.value.empty() ? " (not built yet)" : fmt::format(" ({}: not built yet)", missing.value);
    }
    if (entry.takes == Takes::nothing) {
      groups.back().add_options()(name.c_str(), description.c_str());
      continue;
    }
    auto* value = po::value<std::string>()->value_name(value_name);
    if (entry.takes == Takes::optional) value->implicit_value("on");
    groups.back().add_options()(name.c_str(), value, description.c_str());
  }
  for (const auto& description : groups) text << description << "\n";
  text << "Names may be shortened, and written with underscores as in generate.py.\n"
          "Exit codes: 0 all done; 2 usage or configuration; 3 some items failed; 85 stopped early, run "
          "again to\n"
          "go on; 1 anything else.\n";
  return text.str();
}

}  // namespace wan::apps
