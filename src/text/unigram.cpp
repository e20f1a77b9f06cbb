#include "text/unigram.h"

#include <algorithm>

#include "core/check.h"

namespace wan::text {
namespace {

constexpr double unknown_penalty = 10;  // below the lowest score of the vocabulary

/// Bytes of the character that starts with `lead` in valid UTF-8.
std::size_t character_bytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0xC0) return 1;
  if (byte < 0xE0) return 2;
  return byte < 0xF0 ? 3 : 4;
}

}  // namespace

Unigram::Unigram(std::vector<VocabularyPiece> vocabulary, std::int64_t unknown_id, bool byte_fallback)
    : size_(std::ssize(vocabulary)), unknown_id_(unknown_id) {
  WAN_CHECK(unknown_id >= 0 && unknown_id < size_, "unknown_id is {} of {}", unknown_id, size_);
  double lowest_score = vocabulary.front().score;
  for (const VocabularyPiece& piece : vocabulary) lowest_score = std::min(lowest_score, piece.score);
  unknown_score_ = lowest_score - unknown_penalty;
  entries_.reserve(vocabulary.size());
  for (VocabularyPiece& piece : vocabulary) {
    entries_.push_back({std::move(piece.text), piece.score, std::ssize(entries_)});
  }
  // Among equal pieces the last comes first and stays.
  std::sort(entries_.begin(), entries_.end(), [](const Entry& one, const Entry& other) {
    const int order = one.text.compare(other.text);
    return order != 0 ? order < 0 : one.id > other.id;
  });
  const auto alike = [](const Entry& one, const Entry& other) { return one.text == other.text; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), alike), entries_.end());
  if (byte_fallback) byte_ids_ = find_byte_pieces();
}

std::vector<std::int64_t> Unigram::find_byte_pieces() const {
  std::vector<std::int64_t> ids(256, -1);
  for (std::size_t byte = 0; byte < ids.size(); ++byte) {
    const std::string text = fmt::format("<0x{:02X}>", byte);
    const auto found = std::ranges::lower_bound(entries_, text, {}, &Entry::text);
    if (found != entries_.end() && found->text == text) ids[byte] = found->id;
  }
  return ids;
}

/// Offers every piece that the word has at `begin` to the node where it ends, shorter pieces first. Returns
/// whether one of them is a single character.
bool Unigram::offer_pieces(std::string_view word, std::size_t begin, std::vector<Node>& nodes) const {
  const std::size_t first_character = character_bytes(word[begin]);
  bool single = false;
  // The entries that begin like the word from `begin` on: one range, narrowed byte by byte. An entry that is
  // just these bytes is its first.
  auto first = entries_.begin();
  auto last = entries_.end();
  for (std::size_t length = 1; begin + length <= word.size(); ++length) {
    const auto byte_here = [length](const Entry& entry) {
      return entry.text.size() < length ? -1 : static_cast<unsigned char>(entry.text[length - 1]);
    };
    const int wanted = static_cast<unsigned char>(word[begin + length - 1]);
    first = std::ranges::lower_bound(first, last, wanted, {}, byte_here);
    last = std::ranges::upper_bound(first, last, wanted, {}, byte_here);
    if (first == last) break;
    if (first->text.size() != length) continue;
    Node& node = nodes[begin + length];
    const double score = nodes[begin].score + first->score;
    if (node.id < 0 || score > node.score) node = {.score = score, .begin = begin, .id = first->id};
    single = single || length == first_character;
  }
  return single;
}

/// nodes[i]: the best segmentation of the first i bytes; filled at the ends of characters.
std::vector<Unigram::Node> Unigram::best_segmentations(std::string_view word) const {
  std::vector<Node> nodes(word.size() + 1);
  for (std::size_t begin = 0; begin < word.size();) {
    const std::size_t end = std::min(begin + character_bytes(word[begin]), word.size());
    if (!offer_pieces(word, begin, nodes)) {
      const double score = nodes[begin].score + unknown_score_;
      Node& node = nodes[end];
      if (node.id < 0 || score > node.score) node = {.score = score, .begin = begin, .id = unknown_id_};
    }
    begin = end;
  }
  return nodes;
}

void Unigram::append_unknown(std::string_view text, std::vector<std::int64_t>& ids) const {
  const auto has_piece = [this](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; };
  if (byte_ids_.empty() || !std::ranges::all_of(text, has_piece)) {
    ids.push_back(unknown_id_);
    return;
  }
  for (const char c : text) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
}

void Unigram::segment(std::string_view word, std::vector<std::int64_t>& ids) const {
  const std::vector<Node> nodes = best_segmentations(word);
  std::vector<std::size_t> ends;  // of the pieces
  for (std::size_t end = word.size(); end > 0; end = nodes[end].begin) ends.push_back(end);
  std::reverse(ends.begin(), ends.end());
  std::size_t unknown_bytes = 0;
  const auto finish_unknown = [&](std::size_t end) {
    if (unknown_bytes > 0) append_unknown(word.substr(end - unknown_bytes, unknown_bytes), ids);
    unknown_bytes = 0;
  };
  for (const std::size_t end : ends) {
    const Node& node = nodes[end];
    if (node.id == unknown_id_) {
      unknown_bytes += end - node.begin;
      continue;
    }
    finish_unknown(node.begin);
    ids.push_back(node.id);
  }
  finish_unknown(word.size());
}

}  // namespace wan::text
