#include "text/tokenizer_config.h"

extern "C" {
#include <libavutil/base64.h>
}

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "checkpoint/file_kind.h"
#include "checkpoint/json_bounds.h"
#include "core/check.h"
#include "core/file.h"

namespace wan::text {
namespace {

using Json = nlohmann::json;

// The umT5 tokenizer.json has 17 MB and a million values.
constexpr std::uint64_t largest_file_bytes = 64ULL << 20;
constexpr std::size_t most_values = 6'000'000;
constexpr int deepest_nesting = 64;
constexpr std::int64_t largest_id = (1 << 24) - 1;
constexpr double largest_score = 1e6;
// The umT5 tokenizer has 302 added tokens, 2 normalizers and 1 special id. At every byte, a text is compared
// with every added token. It passes through every step.
constexpr std::size_t most_added_tokens = 10'000;
constexpr std::size_t most_steps = 32;
constexpr std::size_t most_special_ids = 16;
// By default, pieces are trained with at most 16 characters. The library's recursion is as deep as a piece is
// long.
constexpr std::size_t longest_piece_bytes = 1024;

/// A value of the file and its place, so that every error can name the place.
class Entry {
 public:
  Entry(const Json& value, std::string where) : value_(value), where_(std::move(where)) {}

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{} {}", where_.empty() ? "the file" : where_, fmt::format(format, std::forward<Args>(args)...));
  }

  bool has(const char* key) const {
    return value_.is_object() && value_.contains(key) && !value_[key].is_null();
  }
  Entry operator[](const char* key) const {
    if (!value_.is_object()) refuse("is {}, not an object", value_.type_name());
    const auto found = value_.find(key);
    if (found == value_.end()) refuse("has no '{}'", key);
    return {*found, where_.empty() ? key : fmt::format("{}.{}", where_, key)};
  }
  Entry operator[](std::size_t index) const {
    return {value_.at(index), fmt::format("{}[{}]", where_, index)};
  }
  bool is_null() const { return value_.is_null(); }
  std::size_t size() const {
    if (!value_.is_array()) refuse("is {}, not an array", value_.type_name());
    return value_.size();
  }
  const std::string& text() const {
    const auto* text = value_.get_ptr<const Json::string_t*>();
    if (text == nullptr) refuse("is {}, not a string", value_.type_name());
    return *text;
  }
  bool flag() const {
    if (!value_.is_boolean()) refuse("is {}, not true or false", value_.type_name());
    return value_.get<bool>();
  }
  bool flag_or(const char* key, bool otherwise) const { return has(key) ? (*this)[key].flag() : otherwise; }
  std::int64_t id(std::int64_t largest) const {
    // The comparison of doubles also refuses an unsigned value above the signed type's range.
    if (!value_.is_number_integer() || value_.get<double>() < 0 ||
        value_.get<double>() > static_cast<double>(largest)) {
      refuse("is not an id between 0 and {}", largest);
    }
    return value_.get<std::int64_t>();
  }
  float score() const {
    if (!value_.is_number() || !(std::abs(value_.get<double>()) <= largest_score)) refuse("is not a score");
    return value_.get<float>();
  }

 private:
  const Json& value_;
  std::string where_;
};

std::string decode_base64(const Entry& entry) {
  const std::string& encoded = entry.text();
  std::string decoded(AV_BASE64_DECODE_SIZE(encoded.size()), '\0');
  const int size = av_base64_decode(reinterpret_cast<std::uint8_t*>(decoded.data()), encoded.c_str(),
                                    static_cast<int>(decoded.size()));
  if (size < 0) entry.refuse("is not base64");
  decoded.resize(static_cast<std::size_t>(size));
  return decoded;
}

void require_short(const Entry& row, const std::string& piece) {
  if (piece.size() > longest_piece_bytes) {
    row.refuse("has a piece of {} bytes; at most {} are read", piece.size(), longest_piece_bytes);
  }
}

std::vector<AddedToken> read_added_tokens(const Entry& entry) {
  std::vector<AddedToken> tokens;
  if (entry.size() > most_added_tokens) {
    entry.refuse("has {} entries; at most {} are read", entry.size(), most_added_tokens);
  }
  for (std::size_t i = 0; i < entry.size(); ++i) {
    const Entry row = entry[i];
    AddedToken token{.content = row["content"].text(),
                     .id = row["id"].id(largest_id),
                     .takes_left_space = row.flag_or("lstrip", false),
                     .takes_right_space = row.flag_or("rstrip", false),
                     .normalized = row.flag_or("normalized", false)};
    if (token.content.empty()) row.refuse("has an empty 'content'");
    require_short(row, token.content);
    if (row.flag_or("single_word", false)) row.refuse("sets 'single_word', which is not supported");
    tokens.push_back(std::move(token));
  }
  return tokens;
}

ReplaceStep read_replace(const Entry& entry) {
  const Entry pattern = entry["pattern"];
  ReplaceStep step{.literal = {}, .content = entry["content"].text()};
  if (pattern.has("String")) {
    step.literal = pattern["String"].text();
    if (step.literal.empty()) pattern.refuse("is an empty string");
  } else if (pattern["Regex"].text() != " {2,}") {
    pattern.refuse("is '{}'; the only supported regular expression is ' {{2,}}'", pattern["Regex"].text());
  }
  return step;
}

void read_normalizer(const Entry& entry, std::vector<NormalizerStep>& steps) {
  if (entry.is_null()) return;
  if (steps.size() == most_steps)
    entry.refuse("is step {}; at most {} are read", steps.size() + 1, most_steps);
  const std::string& type = entry["type"].text();
  if (type == "Sequence") {
    const Entry list = entry["normalizers"];
    for (std::size_t i = 0; i < list.size(); ++i) read_normalizer(list[i], steps);
  } else if (type == "Precompiled") {
    const Entry map = entry["precompiled_charsmap"];
    try {
      steps.emplace_back(CharacterMap(decode_base64(map)));
    } catch (const Error& error) {
      entry.refuse("cannot be used: {}", error.what());
    }
  } else if (type == "Strip") {
    steps.emplace_back(StripStep{.left = entry["strip_left"].flag(), .right = entry["strip_right"].flag()});
  } else if (type == "Replace") {
    steps.emplace_back(read_replace(entry));
  } else {
    entry.refuse("has type '{}'; Sequence, Precompiled, Strip and Replace are supported", type);
  }
}

/// Refuses replacements that, one after the other, could turn a short text into a text of any length.
void require_bounded_growth(const Entry& entry, const std::vector<NormalizerStep>& steps) {
  constexpr double most_growth = 64;
  constexpr double shortest_run = 2;  // in spaces
  double growth = 1;
  for (const NormalizerStep& step : steps) {
    const auto* replace = std::get_if<ReplaceStep>(&step);
    if (replace == nullptr) continue;
    const double from =
        replace->literal.empty() ? shortest_run : static_cast<double>(replace->literal.size());
    growth *= std::max(1.0, static_cast<double>(replace->content.size()) / from);
  }
  if (growth > most_growth) {
    entry.refuse("replaces texts by longer ones, up to {:.3g} times as long; at most {} times is allowed",
                 growth, most_growth);
  }
}

MetaspaceStep read_metaspace(const Entry& entry) {
  using Prepend = MetaspaceStep::Prepend;
  if (entry["replacement"].text() != "\u2581") entry.refuse("has a 'replacement' other than U+2581");
  MetaspaceStep step{.prepend = Prepend::always, .split = entry.flag_or("split", true)};
  if (!entry.has("prepend_scheme")) {
    // Older files have only the flag.
    step.prepend = entry.flag_or("add_prefix_space", true) ? Prepend::always : Prepend::never;
    return step;
  }
  const std::string& scheme = entry["prepend_scheme"].text();
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    entry.refuse("has prepend_scheme '{}'; there are always, first and never", scheme);
  }
  if (scheme != "always") step.prepend = scheme == "first" ? Prepend::first : Prepend::never;
  return step;
}

void read_pre_tokenizer(const Entry& entry, std::vector<PreTokenizerStep>& steps) {
  if (entry.is_null()) return;
  if (steps.size() == most_steps)
    entry.refuse("is step {}; at most {} are read", steps.size() + 1, most_steps);
  const std::string& type = entry["type"].text();
  if (type == "Sequence") {
    const Entry list = entry["pretokenizers"];
    for (std::size_t i = 0; i < list.size(); ++i) read_pre_tokenizer(list[i], steps);
  } else if (type == "WhitespaceSplit") {
    steps.emplace_back(WhitespaceSplitStep{});
  } else if (type == "Metaspace") {
    steps.emplace_back(read_metaspace(entry));
  } else {
    entry.refuse("has type '{}'; Sequence, WhitespaceSplit and Metaspace are supported", type);
  }
}

void read_post_processor(const Entry& entry, TokenizerConfig& config) {
  if (entry["type"].text() != "TemplateProcessing") {
    entry.refuse("has type '{}'; TemplateProcessing is supported", entry["type"].text());
  }
  bool text_seen = false;
  const Entry list = entry["single"];
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Entry row = list[i];
    if (row.has("Sequence")) {
      if (text_seen) row.refuse("is a second text");
      text_seen = true;
      continue;
    }
    const std::string& name = row["SpecialToken"]["id"].text();
    const Entry ids = entry["special_tokens"][name.c_str()]["ids"];
    for (std::size_t k = 0; k < ids.size(); ++k) {
      (text_seen ? config.ids_after : config.ids_before).push_back(ids[k].id(largest_id));
    }
  }
  if (!text_seen) list.refuse("has no place for the text");
  if (const std::size_t ids = config.ids_before.size() + config.ids_after.size(); ids > most_special_ids) {
    list.refuse("puts {} special ids around a text; at most {} are read", ids, most_special_ids);
  }
}

void read_model(const Entry& entry, TokenizerConfig& config) {
  if (entry["type"].text() != "Unigram") {
    entry.refuse("has type '{}'; Unigram is supported", entry["type"].text());
  }
  const Entry vocabulary = entry["vocab"];
  const std::size_t size = vocabulary.size();
  if (size == 0) vocabulary.refuse("is empty");
  if (size > static_cast<std::size_t>(largest_id)) vocabulary.refuse("has {} pieces, too many", size);
  config.vocabulary.reserve(size);
  for (std::size_t id = 0; id < size; ++id) {
    const Entry row = vocabulary[id];
    if (row.size() != 2) row.refuse("is not a pair [piece, score]");
    VocabularyPiece piece{.text = row[std::size_t{0}].text(), .score = row[std::size_t{1}].score()};
    if (piece.text.empty() || piece.text.find('\0') != std::string::npos) {
      row.refuse("has an empty piece, or one with a NUL");
    }
    require_short(row, piece.text);
    config.vocabulary.push_back(std::move(piece));
  }
  config.unknown_id = entry["unk_id"].id(static_cast<std::int64_t>(size) - 1);
  config.byte_fallback = entry.flag_or("byte_fallback", false);
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::filesystem::path& path) {
  try {
    checkpoint::refuse_foreign_kind(open_regular_file(path), path, checkpoint::FileFormat::json);
    const Json json = checkpoint::parse_bounded_json(
        read_text_file(path, largest_file_bytes),
        {.depth = deepest_nesting, .values = most_values, .unique_keys = false});
    const Entry root(json, "");
    TokenizerConfig config;
    config.added_tokens = read_added_tokens(root["added_tokens"]);
    read_normalizer(root["normalizer"], config.normalizer);
    require_bounded_growth(root["normalizer"], config.normalizer);
    read_pre_tokenizer(root["pre_tokenizer"], config.pre_tokenizer);
    read_model(root["model"], config);
    read_post_processor(root["post_processor"], config);
    return config;
  } catch (const UsageError&) {
    throw;  // the error already names the file
  } catch (const Error& error) {
    fail<UsageError>("{}: {}; copy the file from the official checkpoint again", path.string(), error.what());
  }
}

}  // namespace wan::text
