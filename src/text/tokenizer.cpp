#include "text/tokenizer.h"

#include <algorithm>

#include "core/check.h"
#include "text/bounded_text.h"
#include "text/unicode.h"

namespace wan::text {
namespace {

constexpr std::string_view metaspace = "\u2581";

TokenizerConfig read_config(const std::filesystem::path& path) {
  TokenizerConfig config = read_tokenizer_config(path);
  // If several tokens have the same beginning, the longest comes first. So the first match is the right one.
  std::ranges::stable_sort(config.added_tokens, std::ranges::greater{},
                           [](const AddedToken& token) { return token.content.size(); });
  return config;
}

/// One more than the largest id in the configuration.
std::int64_t ids_used(const TokenizerConfig& config) {
  std::int64_t size = std::ssize(config.vocabulary);
  for (const AddedToken& token : config.added_tokens) size = std::max(size, token.id + 1);
  for (const std::int64_t id : config.ids_before) size = std::max(size, id + 1);
  for (const std::int64_t id : config.ids_after) size = std::max(size, id + 1);
  return size;
}

Unigram make_unigram(const TokenizerConfig& config, const std::filesystem::path& path) {
  try {
    return {config.vocabulary, config.unknown_id, config.byte_fallback};
  } catch (const std::exception& error) {  // the library has its own exceptions
    fail<UsageError>("{}: model.vocab cannot be used: {}; copy the file from the official checkpoint again",
                     path.string(), error.what());
  }
}

std::string_view without_space_left(std::string_view text) {
  while (!text.empty()) {
    // Decode one character only: the longest has four bytes.
    const char32_t c = decode_utf8(text.substr(0, 4)).front();
    if (!is_white_space(c)) break;
    std::string bytes;
    append_utf8(bytes, c);
    text.remove_prefix(bytes.size());
  }
  return text;
}

std::string_view without_space_right(std::string_view text) {
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!is_white_space(decode_utf8(text.substr(begin)).front())) break;
    text = text.substr(0, begin);
  }
  return text;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  while (true) {
    const std::size_t at = text.find(from);
    append_bounded(out, text.substr(0, at));
    if (at == std::string_view::npos) return out;
    append_bounded(out, to);
    text.remove_prefix(at + from.size());
  }
}

std::string replace_runs_of_spaces(std::string_view text, std::string_view to) {
  std::string out;
  while (!text.empty()) {
    const std::size_t run = std::min(text.find_first_not_of(' '), text.size());
    append_bounded(out, run >= 2 ? to : text.substr(0, run));
    text.remove_prefix(run);
    const std::size_t other = std::min(text.find(' '), text.size());
    append_bounded(out, text.substr(0, other));
    text.remove_prefix(other);
  }
  return out;
}

/// Applies one step of the normalizer to a text.
struct ApplyNormalizer {
  std::string_view text;

  std::string operator()(const CharacterMap& map) const { return map.normalize(text); }
  std::string operator()(const StripStep& step) const {
    const std::string_view left = step.left ? without_space_left(text) : text;
    return std::string(step.right ? without_space_right(left) : left);
  }
  std::string operator()(const ReplaceStep& step) const {
    return step.literal.empty() ? replace_runs_of_spaces(text, step.content)
                                : replace_all(text, step.literal, step.content);
  }
};

/// Applies one step of the pre-tokenizer to a piece of text and appends the resulting words.
struct ApplyPreTokenizer {
  std::string_view text;
  bool is_first;  ///< the piece is the beginning of the whole text
  std::vector<std::string>& words;

  void operator()(const WhitespaceSplitStep&) const {
    std::string word;
    for (const char32_t c : decode_utf8(text)) {
      if (!is_white_space(c)) {
        append_utf8(word, c);
      } else if (!word.empty()) {
        words.push_back(std::move(word));
        word.clear();
      }
    }
    if (!word.empty()) words.push_back(std::move(word));
  }

  void operator()(const MetaspaceStep& step) const {
    using Prepend = MetaspaceStep::Prepend;
    std::string marked = replace_all(text, " ", metaspace);
    const bool wanted = step.prepend == Prepend::always || (step.prepend == Prepend::first && is_first);
    if (wanted && !marked.starts_with(metaspace)) marked.insert(0, metaspace);
    std::string_view rest = marked;
    while (!rest.empty()) {
      const std::size_t next = step.split ? rest.find(metaspace, 1) : std::string_view::npos;
      words.emplace_back(rest.substr(0, next));
      rest.remove_prefix(words.back().size());
    }
  }
};

}  // namespace

Tokenizer::Tokenizer(const std::filesystem::path& folder)
    : file_(folder / "tokenizer.json"),
      config_(read_config(file_)),
      unigram_(make_unigram(config_, file_)),
      vocabulary_size_(ids_used(config_)) {
  config_.vocabulary = {};  // frees a quarter of a million strings that are no longer needed
}

const AddedToken* Tokenizer::added_token_at(std::string_view text, bool normalized) const {
  for (const AddedToken& token : config_.added_tokens) {
    if (token.normalized == normalized && text.starts_with(token.content)) return &token;
  }
  return nullptr;
}

std::vector<Tokenizer::Part> Tokenizer::split_at_added_tokens(std::string_view text, bool normalized) const {
  std::vector<Part> parts;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = added_token_at(text.substr(at), normalized);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::string_view before = text.substr(begin, at - begin);
    if (token->takes_left_space) before = without_space_right(before);
    if (!before.empty()) parts.push_back({before, nullptr});
    parts.push_back({text.substr(at, token->content.size()), token});
    std::string_view after = text.substr(at + token->content.size());
    if (token->takes_right_space) after = without_space_left(after);
    at = begin = text.size() - after.size();
  }
  if (begin < text.size()) parts.push_back({text.substr(begin), nullptr});
  return parts;
}

std::string Tokenizer::normalize(std::string_view text) const {
  std::string out(text);
  try {
    for (const NormalizerStep& step : config_.normalizer) out = std::visit(ApplyNormalizer{out}, step);
  } catch (const Error& error) {
    fail<UsageError>("{}: {}", file_.string(), error.what());
  }
  return out;
}

std::vector<std::string> Tokenizer::split_into_words(std::string_view text, bool is_first) const {
  std::vector<std::string> words{std::string(text)};
  try {
    for (const PreTokenizerStep& step : config_.pre_tokenizer) {
      std::vector<std::string> split;
      for (std::size_t i = 0; i < words.size(); ++i) {
        std::visit(ApplyPreTokenizer{words[i], is_first && i == 0, split}, step);
      }
      words = std::move(split);
    }
  } catch (const Error& error) {
    fail<UsageError>("{}: {}", file_.string(), error.what());
  }
  return words;
}

void Tokenizer::encode_text(std::string_view text, bool is_first, std::vector<std::int64_t>& ids) const {
  const std::string normalized = normalize(text);
  for (const Part& part : split_at_added_tokens(normalized, true)) {
    if (part.token != nullptr) {
      ids.push_back(part.token->id);
      continue;
    }
    const bool begins = is_first && part.text.data() == normalized.data();
    for (const std::string& word : split_into_words(part.text, begins)) unigram_.segment(word, ids);
  }
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view cleaned, std::size_t max_tokens) const {
  const std::size_t special = config_.ids_before.size() + config_.ids_after.size();
  if (max_tokens < special) fail("{} tokens leave no room for the {} special ones", max_tokens, special);
  const std::string text = encode_utf8(decode_utf8(cleaned));  // makes any input valid

  std::vector<std::int64_t> ids;
  for (const Part& part : split_at_added_tokens(text, false)) {
    if (part.token != nullptr) {
      ids.push_back(part.token->id);
    } else {
      encode_text(part.text, part.text.data() == text.data(), ids);
    }
    if (ids.size() >= max_tokens) break;
  }
  ids.resize(std::min(ids.size(), max_tokens - special));
  ids.insert(ids.begin(), config_.ids_before.begin(), config_.ids_before.end());
  ids.insert(ids.end(), config_.ids_after.begin(), config_.ids_after.end());
  return ids;
}

}  // namespace wan::text
