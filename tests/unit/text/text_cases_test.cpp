#include <gtest/gtest.h>

#include "small_tokenizer.h"
#include "text/clean.h"
#include "text/tokenizer.h"

namespace wan::text {
namespace {

/// Prompts with what the reference's cleaning and tokenizer made of them.
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
      ++repaired;  // the reference repairs it, this program warns
      EXPECT_NE(clean_prompt(text), clean);
    } else {
      EXPECT_EQ(clean_prompt(text), clean) << text;
    }
    EXPECT_EQ(tokenizer.encode(clean), row.at("ids").get<std::vector<std::int64_t>>()) << text;
  }
  EXPECT_EQ(repaired, 1);
}

}  // namespace
}  // namespace wan::text
