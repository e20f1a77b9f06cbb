#include "apps/option_parser.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <optional>
#include <sstream>

#include "apps/config_file.h"
#include "core/check.h"
#include "core/file.h"
#include "core/printable.h"
#include "core/strings.h"
#include "model/value_names.h"

namespace wan::apps {
namespace {

namespace po = boost::program_options;

constexpr std::uint64_t largest_config_bytes = 1 << 20;

bool is_switch_word(std::string_view text) {
  if (text == "auto") return true;
  try {
    parse_switch(text);
    return true;
  } catch (const ValueError&) {
    return false;
  }
}

/// Whether `text` may be the value of an option that also stands alone: a switch, or one of the words of its
/// help.
bool is_word_of(const OptionEntry& entry, std::string_view text) {
  if (is_switch_word(text)) return true;
  for (std::string_view words = entry.value_name; !words.empty();) {
    const std::size_t end = std::min(words.find('|'), words.size());
    if (words.substr(0, end) == text) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

/// The options in Boost's form. Every value is taken as text and parsed by the option's own parser.
po::options_description boost_options(std::span<const OptionEntry> table) {
  po::options_description options;
  for (const OptionEntry& entry : table) {
    auto* value = po::value<std::vector<std::string>>()->composing();
    if (entry.takes != Takes::value) value->implicit_value({"on"}, "on");
    options.add_options()(std::string(entry.name).c_str(), value);
  }
  return options;
}

/// One spelling for all ways to write on and off: the spelling of not_built_table().
std::string_view canonical_value(const OptionEntry& entry, std::string_view text) {
  if (entry.takes == Takes::value || text == "auto" || !is_switch_word(text)) return text;
  return parse_switch(text) ? "on" : "off";
}

/// Boost leaves a blank where it breaks a line.
std::string without_trailing_blanks(const std::string& text) {
  std::string result;
  for (const char letter : text) {
    if (letter == '\n') result.erase(result.find_last_not_of(' ') + 1);
    result += letter;
  }
  return result;
}

/// Whether a switch such as --help is given and on.
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

const OptionEntry* OptionParser::find_entry(std::string_view name) const {
  const auto found = std::ranges::find(table_, name, &OptionEntry::name);
  return found == table_.end() ? nullptr : &*found;
}

/// The option of this program that another program calls `name`, if there is one.
const OptionEntry* OptionParser::find_meant(std::string_view name) const {
  std::string spelling(name);
  std::ranges::replace(spelling, '-', '_');
  const auto value = value_called(spelling);
  if (!value) return nullptr;
  spelling = *value;
  std::ranges::replace(spelling, '_', '-');
  return find_entry(spelling);
}

/// Throws the message for an unknown option name. `dashes` are those that the user would write there.
void OptionParser::fail_unknown(std::string_view written, std::string_view name, const std::string& where,
                                std::string_view dashes) const {
  if (find_entry("prompt") != nullptr && name.find("prompt-extend") != std::string_view::npos) {
    fail<UsageError>(
        "unknown option '{}'{}: prompts are used as they are; jobs/extend_prompts.py makes those of a "
        "manifest longer (docs/prompts.md)",
        written, where);
  }
  if (const OptionEntry* meant = find_meant(name))
    fail<UsageError>("unknown option '{}'{}; did you mean {}{}?", written, where, dashes, meant->name);
  constexpr std::size_t longest_name = 64;  // longer names are not compared: the arguments are untrusted
  const std::string_view compared = name.substr(0, longest_name);
  const auto distance_to = [&](const OptionEntry& entry) { return edit_distance(compared, entry.name); };
  const OptionEntry& nearest = *std::ranges::min_element(table_, {}, distance_to);
  if (distance_to(nearest) <= std::max<std::size_t>(2, compared.size() / 3))
    fail<UsageError>("unknown option '{}'{}; did you mean {}{}?", written, where, dashes, nearest.name);
  fail<UsageError>("unknown option '{}'{}; --help lists all", written, where);
}

/// The option that an argument like "--frame_num" or "--frame" means.
const OptionEntry& OptionParser::resolve(std::string_view written) const {
  std::string name(written.substr(2));
  std::ranges::replace(name, '_', '-');
  if (const OptionEntry* entry = find_entry(name)) return *entry;
  std::vector<const OptionEntry*> candidates;
  for (const OptionEntry& entry : table_) {
    if (!name.empty() && entry.name.starts_with(name)) candidates.push_back(&entry);
  }
  if (candidates.size() == 1) return *candidates.front();
  if (candidates.empty()) fail_unknown(written, name, "", "--");
  std::string list;
  for (const OptionEntry* entry : candidates)
    list += fmt::format("{}--{}", list.empty() ? "" : ", ", entry->name);
  fail<UsageError>("option '{}' is ambiguous: {}", written, list);
}

void OptionParser::fail_without_value(std::string_view name) const {
  const OptionEntry* entry = find_entry(name);
  fail<UsageError>("option --{} needs a value: --{}={}", name, name,
                   entry != nullptr ? entry->value_name : "VALUE");
}

/// Adds one option, written as at `arguments[at]`, in its canonical form; returns the position after it.
std::size_t OptionParser::add_canonical_option(std::span<const std::string> arguments, std::size_t at,
                                               std::vector<std::string>& result) const {
  const std::string_view argument = arguments[at];
  const std::size_t equals = std::min(argument.find('='), argument.size());
  const OptionEntry& entry = resolve(argument.substr(0, equals));
  const std::string name = fmt::format("--{}", entry.name);
  const std::string* next = at + 1 < arguments.size() ? &arguments[at + 1] : nullptr;
  if (equals + 1 == argument.size() && entry.takes == Takes::value) {
    // "--negative-prompt=" is an empty text. Boost takes an empty text only as an argument of its own.
    result.insert(result.end(), {name, ""});
    return at + 1;
  }
  if (equals != argument.size()) {
    result.push_back(fmt::format("{}{}", name, argument.substr(equals)));
    return at + 1;
  }
  if (entry.takes == Takes::value) {
    // A value that begins with two dashes is probably the next option, and the value was forgotten. The user
    // can still give it with '='.
    if (next == nullptr || next->starts_with("--")) fail_without_value(entry.name);
    result.push_back(name);
    result.push_back(*next);
    return at + 2;
  }
  const bool has_value = entry.takes == Takes::optional && next != nullptr && is_word_of(entry, *next);
  result.push_back(name + "=" + (has_value ? *next : "on"));
  return has_value ? at + 2 : at + 1;
}

/// Rewrites the arguments to a form that Boost reads without doubt: full names with dashes, and optional
/// values joined with '='. Without that, "--dit-fsdp rows.csv" would take the manifest as its value.
std::vector<std::string> OptionParser::canonical_arguments(std::span<const std::string> arguments) const {
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
      if (positional_.empty()) {
        fail<UsageError>("'{}' is no option, and this program takes options only; see --help",
                         printable(argument));
      }
      result.push_back(argument);
      ++i;
    }
  }
  return result;
}

/// Says which values an option takes, if `word` stands behind one whose value may be left out.
std::string OptionParser::values_before(std::span<const std::string> arguments, std::string_view word) const {
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& before = arguments[i - 1];
    if (arguments[i] != word || !before.starts_with("--") || before.find('=') != std::string::npos) continue;
    const OptionEntry& entry = resolve(before);
    if (entry.takes == Takes::optional)
      return fmt::format(" (--{} takes {}, and not '{}')", entry.name, entry.value_name, printable(word));
  }
  return {};
}

GivenOptions OptionParser::parse_command_line(std::span<const std::string> arguments) const {
  const po::options_description options = boost_options(table_);
  po::positional_options_description positional;
  if (!positional_.empty()) positional.add(std::string(positional_).c_str(), -1);
  // Without short options, so that "--base-seed -1" is a value.
  constexpr int style = po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent |
                        po::command_line_style::long_allow_next;
  GivenOptions given;
  std::optional<std::string> bare;  // whether bare or as the value of its option
  const auto add_bare = [&](const std::string& text) {
    if (bare) {
      fail<UsageError>(
          "two {}s are given: '{}' and '{}'; give one, and run the program again for the other{}{}",
          positional_, printable(*bare), printable(text), values_before(arguments, *bare),
          values_before(arguments, text));
    }
    bare = text;
  };
  try {
    const auto parsed = po::command_line_parser(canonical_arguments(arguments))
                            .options(options)
                            .positional(positional)
                            .style(style)
                            .run();
    for (const auto& option : parsed.options) {
      const std::string text = option.value.empty() ? "on" : option.value.front();
      if (option.position_key >= 0) {
        // Boost makes one option of consecutive bare arguments.
        for (const std::string& value : option.value) add_bare(value);
        given.insert_or_assign(std::string(positional_), Given{text, fmt::format("the {}", positional_)});
      } else {
        if (option.string_key == positional_) add_bare(text);
        add_given(option.string_key, Given{text, "option --" + option.string_key}, given);
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

/// Adds an option. Earlier values of one that may repeat stay.
void OptionParser::add_given(const std::string& name, Given value, GivenOptions& given) const {
  const auto earlier = given.find(name);
  if (earlier != given.end() && find_entry(name)->may_repeat) {
    value.before = std::move(earlier->second.before);
    value.before.push_back(std::move(earlier->second.text));
  }
  given.insert_or_assign(name, std::move(value));
}

/// Adds the options of the file that `given` lacks.
void OptionParser::add_config_file(const std::filesystem::path& path, const std::string& where,
                                   GivenOptions& given) const {
  std::string text;
  try {
    text = read_text_file(path, largest_config_bytes);
  } catch (const Error& error) {
    fail<UsageError>("{}: {}", where, error.what());
  }
  GivenOptions in_file;
  for (const ConfigValue& option : read_config_text(text, path)) {
    std::string name = option.name;
    std::ranges::replace(name, '_', '-');
    const std::string in_path = fmt::format(" in {}", path.string());
    if (find_entry(name) == nullptr) fail_unknown(option.name, name, in_path, "");
    if (name == "config") fail<UsageError>("option config{}: a file cannot name another one", in_path);
    if (find_entry(name)->group == option_group::general)
      fail<UsageError>("option {}{}: it belongs on the command line", name, in_path);
    if (in_file.contains(name) && !find_entry(name)->may_repeat)
      fail<UsageError>("option {}{} is given twice", name, in_path);
    add_given(name, Given{option.value, fmt::format("option {}{}", name, in_path), true}, in_file);
  }
  given.merge(in_file);
}

void OptionParser::refuse_not_built(const OptionEntry& entry, const Given& given) const {
  for (const NotBuilt& missing : not_built_) {
    if (missing.name != entry.name) continue;
    if (missing.value.empty())
      fail<UsageError>("{} is not built yet in this version; leave it out", given.where);
    if (missing.value == canonical_value(entry, given.text)) {
      fail<UsageError>("{}: the value {} is not built yet in this version; leave it out", given.where,
                       missing.value);
    }
  }
}

launch::Options OptionParser::apply(const GivenOptions& given) const {
  launch::Options options;
  for (const auto& [name, value] : given) {
    const OptionEntry* entry = find_entry(name);
    WAN_CHECK(entry != nullptr, "option {} is in no table", name);
    refuse_not_built(*entry, value);
    if (entry->apply == nullptr) continue;
    try {
      for (const std::string& earlier : value.before) entry->apply(options, earlier);
      entry->apply(options, value.text);
    } catch (const ValueError& error) {
      const bool has_comment = value.is_in_file && value.text.find('#') != std::string::npos;
      fail<UsageError>("{}: {}{}", value.where, error.what(),
                       has_comment ? "; a # starts a comment at the start of a line only" : "");
    }
  }
  return options;
}

void OptionParser::add_named_config_file(GivenOptions& given) const {
  const auto config = given.find("config");
  if (config == given.end()) return;
  const Given named = config->second;
  if (named.text.empty()) fail<UsageError>("{}: the path is empty", named.where);
  add_config_file(named.text, named.where, given);
}

Action OptionParser::action_of(const GivenOptions& given) {
  if (is_on(given, "help")) return Action::help;
  return is_on(given, "version") ? Action::version : Action::run;
}

std::string OptionParser::help() const {
  constexpr unsigned line_length = 110;
  constexpr unsigned shortest_description = 70;
  std::ostringstream text;
  std::string_view group;
  std::vector<po::options_description> groups;
  for (const OptionEntry& entry : table_) {
    if (entry.group != group) {
      group = entry.group;
      groups.emplace_back(std::string(group), line_length, shortest_description);
    }
    const std::string name(entry.name);
    const bool may_stand_alone = entry.takes == Takes::optional;
    const std::string value_name =
        may_stand_alone ? fmt::format("[{}]", entry.value_name) : std::string(entry.value_name);
    std::string description(entry.help);
    if (entry.choices != nullptr) description += entry.choices();
    for (const NotBuilt& missing : not_built_) {
      if (missing.name != entry.name) continue;
      description +=
          missing.value.empty() ? " (not built yet)" : fmt::format(" ({}: not built yet)", missing.value);
    }
    if (entry.takes == Takes::nothing) {
      groups.back().add_options()(name.c_str(), description.c_str());
      continue;
    }
    groups.back().add_options()(name.c_str(), po::value<std::string>()->value_name(value_name),
                                description.c_str());
  }
  for (const auto& description : groups) text << description << "\n";
  return without_trailing_blanks(text.str());
}

ParsedCommandLine parse_plain_options(std::span<const OptionEntry> table,
                                      std::span<const std::string> arguments) {
  const OptionParser parser(table, not_built_table(), {});
  GivenOptions given = parser.parse_command_line(arguments);
  ParsedCommandLine result;
  result.action = OptionParser::action_of(given);
  if (result.action != Action::run) return result;
  parser.add_named_config_file(given);
  result.options = parser.apply(given);
  return result;
}

}  // namespace wan::apps
