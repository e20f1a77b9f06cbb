#include "store/identity.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/checksum.h"
#include "core/strings.h"
#include "model/precision_name.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::size_t shown_bytes = 60;   // of a value in a message
constexpr std::size_t before_bytes = 20;  // of the value, in front of the first difference
constexpr std::size_t shown_hex_digits = 12;
constexpr std::size_t most_shown = 3;  // differences in a message
constexpr std::size_t mark_digits = 24;

/// Fields of a record's parameters that are not compared.
constexpr std::array<const char*, 2> not_compared{"seed_is_automatic", "image"};
/// Fields with long texts that are cut to their first digits.
constexpr std::array<std::string_view, 2> checksums{"image_sha256", "weights"};
/// The fields that are named first, as they concern all items of a run.
constexpr std::array<const char*, 4> told_first{"weights", "loras", "precision", "task"};

std::string file_name_of(const json& fields) {
  return std::filesystem::path(fields.value("image", std::string())).filename().string();
}

/// The place where two texts begin to differ, as the first byte of a UTF-8 character.
std::size_t first_difference(std::string_view a, std::string_view b) {
  const auto [in_a, in_b] = std::ranges::mismatch(a, b);
  auto at = static_cast<std::size_t>(in_a - a.begin());
  constexpr auto is_continuation = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };
  while (at > 0 && at < std::max(a.size(), b.size()) && is_continuation(at < a.size() ? a[at] : b[at])) --at;
  return at;
}

/// A value in the form that a message shows. A long text is cut to the part around `at`.
std::string shown(std::string_view field, const json& value, std::size_t at) {
  if (value.is_null()) return "none";
  if (!value.is_string()) return printable(value.dump(-1, ' ', false, json::error_handler_t::replace), 200);
  const auto& text = value.get_ref<const std::string&>();
  if (std::ranges::find(checksums, field) != checksums.end()) return text.substr(0, shown_hex_digits);
  std::size_t begin = text.size() > shown_bytes && at > before_bytes ? at - before_bytes : 0;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80U) --begin;
  return fmt::format("{}'{}'", begin > 0 ? "..." : "",
                     printable(std::string_view(text).substr(begin), shown_bytes));
}

Difference difference_in(const std::string& field, const json& was, const json& now) {
  std::size_t at = 0;
  if (was.is_string() && now.is_string())
    at = first_difference(was.get_ref<const std::string&>(), now.get_ref<const std::string&>());
  return {.field = field, .was = shown(field, was, at), .now = shown(field, now, at)};
}

/// The values of a request that are compared, in the form that a record gives back: writing may alter a path
/// or a text.
json compared(const Parameters& parameters) {
  json fields = json::parse(dump(to_json(parameters)));
  for (const char* name : not_compared) fields.erase(name);
  return fields;
}

std::vector<Difference> compare(const json& recorded, const Parameters& wanted) {
  json theirs = recorded;
  json ours = compared(wanted);
  if (const auto found = theirs.find("precision"); found != theirs.end() && found->is_string()) {
    *found = current_precision_name(found->get<std::string>());
  }
  if (!theirs.contains("weights")) {
    return {{.field = "weights",
             .was = "unnamed, because an earlier version wrote the record",
             .now = shown("weights", ours.at("weights"), 0)}};
  }
  const bool image_unknown = wanted.image_sha256.empty() && !wanted.request.image.empty();
  if (image_unknown) {
    const std::string name = wanted.request.image.filename().string();
    if (const std::string was = file_name_of(theirs); was != name) return {difference_in("image", was, name)};
    theirs["image_sha256"] = ours["image_sha256"];
  }
  if (wanted.automatic_seed) theirs["seed"] = ours["seed"];
  for (const char* name : not_compared) theirs.erase(name);
  std::vector<Difference> found;
  const auto look_at = [&](const std::string& name) {
    const json was = theirs.value(name, json());
    const json now = ours.value(name, json());
    if (was != now) found.push_back(difference_in(name, was, now));
    theirs.erase(name);
    ours.erase(name);
  };
  for (const char* name : told_first) look_at(name);
  while (!ours.empty()) look_at(ours.begin().key());
  while (!theirs.empty()) look_at(theirs.begin().key());
  return found;
}

}  // namespace

std::vector<Difference> differences(const json& recorded, const Parameters& wanted) {
  if (!recorded.is_object()) return {{.field = "parameters", .was = "not readable", .now = "a request"}};
  try {
    return compare(recorded, wanted);
  } catch (const json::exception&) {
    return {{.field = "parameters", .was = "not readable", .now = "a request"}};
  }
}

std::string describe(const std::vector<Difference>& differences) {
  std::string text;
  for (std::size_t i = 0; i < std::min(differences.size(), most_shown); ++i) {
    const Difference& one = differences[i];
    text += fmt::format("{}{}: {}, now {}", i == 0 ? "" : "; ", one.field, one.was, one.now);
  }
  if (differences.size() > most_shown) text += fmt::format("; and {} more", differences.size() - most_shown);
  return text;
}

std::string request_mark(const Parameters& parameters) {
  json fields = compared(parameters);
  fields.erase("seed");
  // As up to version 0.2.0, whose runs may share the folder and compare marks.
  if (parameters.model.precision == bf16_name) fields["precision"] = earlier_bf16_name;
  fields["id"] = parameters.request.id;
  if (parameters.image_sha256.empty()) fields["image"] = parameters.request.image.filename().string();
  return fmt::format("{} {}", sha256_hex(dump(fields)).substr(0, mark_digits),
                     parameters.automatic_seed ? std::string("-") : std::to_string(parameters.request.seed));
}

bool is_same_request(std::string_view theirs, std::string_view mine) {
  if (theirs.empty()) return true;
  const std::size_t seed = mine.find(' ') + 1;
  if (theirs.substr(0, seed) != mine.substr(0, seed)) return false;
  return mine.substr(seed) == "-" || theirs.substr(seed) == mine.substr(seed);
}

}  // namespace wan::store
