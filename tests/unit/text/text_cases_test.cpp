#include <gtest/gtest.h>

#include <cstring>

#include "small_tokenizer.h"
#include "text/clean.h"
#include "text/tokenizer.h"
#include "wan/request.h"

namespace wan::text {
namespace {

/// Prompts, and the reference's results of cleaning and tokenizing them.
nlohmann::json text_cases() {
  return nlohmann::json::parse(
      read_text_file(std::filesystem::path(WAN_TEST_DATA) / "parity/text_cases.json", 1 << 20));
}

TEST(TextCases, AreCleanedAndTokenizedAsByTheReference) {
  const Tokenizer tokenizer(test::parity_tokenizer());
  int repaired = 0;
  for (const auto& row : text_cases()) {
    const auto text = row.at("text").get<std::string>();
    const auto clean = row.at("clean").get<std::string>();
    if (looks_like_mojibake(text)) {
      ++repaired;  // the reference repairs it; this program warns
      EXPECT_NE(clean_prompt(text), clean);
    } else {
      EXPECT_EQ(clean_prompt(text), clean) << text;
    }
    EXPECT_EQ(tokenizer.encode(clean), row.at("ids").get<std::vector<std::int64_t>>()) << text;
  }
  EXPECT_EQ(repaired, 1);
}

/// A tensor of int32 from a safetensors file, up to and including the first `</s>` (id 1).
std::vector<std::int64_t> ids_up_to_end(const std::string& safetensors, const char* name) {
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, safetensors.data(), sizeof header_bytes);
  const auto header = nlohmann::json::parse(safetensors.substr(sizeof header_bytes, header_bytes));
  const auto& tensor = header.at(name);
  EXPECT_EQ(tensor.at("dtype"), "I32");
  std::vector<std::int64_t> ids;
  const std::size_t begin =
      sizeof header_bytes + header_bytes + tensor.at("data_offsets").at(0).get<std::size_t>();
  for (std::size_t at = begin; ids.empty() || ids.back() != 1; at += sizeof(std::int32_t)) {
    std::int32_t id = 0;
    std::memcpy(&id, &safetensors.at(at), sizeof id);
    ids.push_back(id);
  }
  return ids;
}

TEST(ParityCases, PromptsAndNegativePromptHaveTheRecordedIds) {
  struct Case {
    const char* folder;
    const char* prompt;
  };
  for (const auto& [folder, prompt] :
       {Case{"i2v_landscape", "A white cat wearing sunglasses sits on a surfboard."},
        Case{"i2v_portrait_ragged",
             "A “majestic” eagle soars，wings spread &amp; wide…  Golden hour lighting."},
        Case{"t2v_square", "Two anthropomorphic cats in comfy boxing gear fight on a spotlighted stage."}}) {
    const auto path = std::filesystem::path(WAN_TEST_DATA) / "parity" / folder;
    const Tokenizer tokenizer(path / "ckpt/google/umt5-xxl");
    const std::string expected = read_text_file(path / "expected.safetensors", 1 << 28);
    EXPECT_EQ(tokenizer.encode(clean_prompt(prompt)), ids_up_to_end(expected, "text.ids")) << folder;
    EXPECT_EQ(tokenizer.encode(clean_prompt(default_negative_prompt())),
              ids_up_to_end(expected, "text.negative_ids"))
        << folder;
  }
}

}  // namespace
}  // namespace wan::text
