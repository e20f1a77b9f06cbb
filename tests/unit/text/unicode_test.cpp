#include "text/unicode.h"

#include <gtest/gtest.h>

namespace wan::text {
namespace {

using namespace std::string_literals;

TEST(Unicode, InvalidBytesBecomeReplacementCharacters) {
  EXPECT_EQ(decode_utf8("a\xFFz"), U"a\uFFFDz");
  EXPECT_EQ(decode_utf8("\xC0\xAF"), U"\uFFFD\uFFFD") << "overlong";
  EXPECT_EQ(decode_utf8("\xED\xA0\x80"), U"\uFFFD\uFFFD\uFFFD") << "an encoded surrogate";
  EXPECT_EQ(decode_utf8("\xE4\xB8"), U"\uFFFD\uFFFD") << "cut short";
  EXPECT_EQ(decode_utf8("x\xED\x9F\xBFy"), U"x\uD7FFy") << "the last code point before the surrogates";
}

TEST(Unicode, EncodesEveryLengthAndReplacesWhatCannotBeEncoded) {
  EXPECT_EQ(encode_utf8(U"a\u00E9\u4E2D\U0001F3AC"), "a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x8E\xAC");
  EXPECT_EQ(encode_utf8(std::u32string{0xD800, 0x110000}), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(encode_utf8(decode_utf8("a\0b"s)), "a\0b"s);
}

TEST(Unicode, NfcComposesAndKeepsCompatibilityCharacters) {
  EXPECT_EQ(to_nfc("e\u0301 \u212B"), "\u00E9 \u00C5");
  EXPECT_EQ(to_nfc("\u00BD\u2122"), "\u00BD\u2122");
  EXPECT_EQ(to_nfkc("\uFF21\uFF76"), "A\u30AB");
  EXPECT_EQ(to_nfc("a\0e\u0301"s), "a\0\u00E9"s) << "a NUL does not end the text";
}

}  // namespace
}  // namespace wan::text
