#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "core/file.h"
#include "support/temp_dir.h"

namespace wan::text::test {

/// The tokenizer of the parity data: 505 pieces, ten sentinels, the character map of the T5 family.
inline std::filesystem::path parity_tokenizer() {
  return std::filesystem::path(WAN_TEST_DATA) / "parity/i2v_landscape/ckpt/google/umt5-xxl";
}

/// A tokenizer.json of a few pieces, to be changed by a test before it is written.
inline nlohmann::json small_tokenizer() {
  return nlohmann::json::parse(R"({
    "added_tokens": [
      {"id": 0, "content": "<pad>"}, {"id": 1, "content": "</s>"},
      {"id": 20, "content": "<x>"}, {"id": 21, "content": "<x>y"}
    ],
    "normalizer": null,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
      "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
    "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": [
      ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["\u2581", -2.0], ["\u2581a", -2.5], ["a", -3.0],
      ["b", -3.5], ["ab", -4.0], ["<0xC3>", 0.0], ["<0xA9>", 0.0]]}
  })");
}

inline void write_tokenizer(const wan::test::TempDir& folder, const nlohmann::json& json) {
  std::ofstream(folder / "tokenizer.json", std::ios::binary) << json.dump();
}

}  // namespace wan::text::test
