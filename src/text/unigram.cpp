#include "text/unigram.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <bit>

#include "core/check.h"

namespace wan::text {
namespace {

// The library reads its model as a serialized protocol buffer. These few lines write one, so that the model
// is the vocabulary of tokenizer.json. That file decides; spiece.model has other byte pieces and another
// normalizer. Field numbers: sentencepiece_model.proto.
enum class WireType : unsigned { varint = 0, bytes = 2, fixed32 = 5 };

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7F) | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_tag(std::string& out, unsigned field, WireType type) {
  append_varint(out, (field << 3) | static_cast<unsigned>(type));
}

void append_bytes(std::string& out, unsigned field, std::string_view bytes) {
  append_tag(out, field, WireType::bytes);
  append_varint(out, bytes.size());
  out += bytes;
}

void append_number(std::string& out, unsigned field, std::uint64_t value) {
  append_tag(out, field, WireType::varint);
  append_varint(out, value);
}

void append_little_endian(std::string& out, std::uint32_t value) {
  for (unsigned shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>((value >> shift) & 0xFF));
}

void append_float(std::string& out, unsigned field, float value) {
  append_tag(out, field, WireType::fixed32);
  append_little_endian(out, std::bit_cast<std::uint32_t>(value));
}

/// A character map without entries. Without any map, the library prints a line to stderr at each load.
std::string identity_character_map() {
  constexpr std::uint32_t trie_bytes = 1024;  // one block of empty units
  std::string map;
  append_little_endian(map, trie_bytes);
  map.append(trie_bytes + 1, '\0');  // and the end of the replacements
  return map;
}

std::string serialized_model(const std::vector<VocabularyPiece>& vocabulary, std::int64_t unknown_id) {
  constexpr std::uint64_t normal_piece = 1;
  constexpr std::uint64_t unknown_piece = 2;
  std::string model;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const bool is_unknown = static_cast<std::int64_t>(id) == unknown_id;
    std::string piece;
    append_bytes(piece, 1, vocabulary[id].text);
    append_float(piece, 2, vocabulary[id].score);
    append_number(piece, 3, is_unknown ? unknown_piece : normal_piece);
    append_bytes(model, 1, piece);
  }
  std::string trainer;
  append_number(trainer, 3, 1);  // model_type: unigram
  append_bytes(model, 2, trainer);
  std::string normalizer;
  append_bytes(normalizer, 2, identity_character_map());
  // add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces: off, because the pre-tokenizer has done
  // this work.
  for (const unsigned field : {3U, 4U, 5U}) append_number(normalizer, field, 0);
  append_bytes(model, 3, normalizer);
  return model;
}

}  // namespace

Unigram::Unigram(const std::vector<VocabularyPiece>& vocabulary, std::int64_t unknown_id, bool byte_fallback)
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()), unknown_id_(unknown_id) {
  WAN_CHECK(unknown_id >= 0 && unknown_id < std::ssize(vocabulary), "unknown_id is {} of {}", unknown_id,
            vocabulary.size());
  const auto status = processor_->LoadFromSerializedProto(serialized_model(vocabulary, unknown_id));
  if (!status.ok()) fail("the sentencepiece library refuses it: {}", status.message());
  if (byte_fallback) byte_ids_ = find_byte_pieces();
}

Unigram::~Unigram() = default;

std::vector<std::int64_t> Unigram::find_byte_pieces() const {
  std::vector<std::int64_t> ids(256, -1);
  for (std::size_t byte = 0; byte < ids.size(); ++byte) {
    const int id = processor_->PieceToId(fmt::format("<0x{:02X}>", byte));
    if (id != unknown_id_) ids[byte] = id;
  }
  return ids;
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
  // EncodeAsImmutableProto() does the same, but drops the status.
  sentencepiece::ImmutableSentencePieceText segmented;
  const auto status = processor_->Encode(word, segmented.mutable_proto());
  if (!status.ok()) fail("the sentencepiece library cannot segment '{}': {}", word, status.message());
  std::string unknown;
  for (const auto& piece : segmented.pieces()) {
    if (piece.id() == unknown_id_) {
      unknown += piece.surface();
      continue;
    }
    if (!unknown.empty()) append_unknown(unknown, ids);
    unknown.clear();
    ids.push_back(piece.id());
  }
  if (!unknown.empty()) append_unknown(unknown, ids);
}

}  // namespace wan::text
