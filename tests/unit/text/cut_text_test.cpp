#include "text/cut_text.h"

#include <gtest/gtest.h>

#include "small_tokenizer.h"

namespace wan::text {
namespace {

std::string words(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i == 0 ? "w" : " w") + std::to_string(i);
  return text;
}

TEST(CutText, NamesTheFirstWordThatIsLost) {
  const Tokenizer tokenizer(test::parity_tokenizer());
  const std::string text = words(700);
  const auto cut = find_cut(tokenizer, text);
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->tokens, tokenizer.encode(text, 100'000).size());
  ASSERT_TRUE(text.ends_with(cut->lost));
  EXPECT_EQ(cut->lost.front(), 'w') << "from the beginning of a word";
  const std::string used = text.substr(0, text.size() - cut->lost.size() - 1);
  const std::string first = cut->lost.substr(0, cut->lost.find(' '));
  EXPECT_LE(tokenizer.encode(used, 100'000).size(), most_tokens);
  EXPECT_GT(tokenizer.encode(used + " " + first, 100'000).size(), most_tokens);
}

TEST(CutText, ShortTextsAreUsedWhole) {
  const Tokenizer tokenizer(test::parity_tokenizer());
  EXPECT_FALSE(find_cut(tokenizer, ""));
  EXPECT_FALSE(find_cut(tokenizer, "a cat"));
  const std::string text = words(100);
  const std::size_t tokens = tokenizer.encode(text).size();
  EXPECT_FALSE(find_cut(tokenizer, text, tokens));
  EXPECT_TRUE(find_cut(tokenizer, text, tokens - 1));
}

TEST(CutText, LanguagesWithoutBlanksAreCutBetweenCharacters) {
  const Tokenizer tokenizer(test::parity_tokenizer());
  std::string text;
  for (int i = 0; i < 60; ++i) text += "cämera";
  const auto cut = find_cut(tokenizer, text, 20);
  ASSERT_TRUE(cut);
  EXPECT_NE(static_cast<unsigned char>(cut->lost.front()) & 0xC0U, 0x80U) << "inside a character";
  EXPECT_LT(cut->lost.size(), text.size());
}

TEST(CutText, FirstWordsAreShort) {
  EXPECT_EQ(first_words("a cat"), "a cat");
  const std::string shown = first_words(words(100));
  EXPECT_LE(shown.size(), 63U);
  EXPECT_TRUE(shown.starts_with("w0 w1 "));
  EXPECT_TRUE(shown.ends_with("..."));
}

}  // namespace
}  // namespace wan::text
