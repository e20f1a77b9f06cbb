#include "core/parse_value.h"

#include <gtest/gtest.h>

namespace wan {
namespace {

template <typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const ValueError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseValue, WholeNumbersMayBeWrittenAsFloats) {
  EXPECT_EQ(parse_integer("42.0", 0, 100), 42);
  EXPECT_EQ(parse_integer("1e3", 0, 1000), 1000);
  EXPECT_EQ(parse_integer("1.50E+01", 0, 100), 15);
  EXPECT_EQ(parse_integer("4200e-2", 0, 100), 42);
  EXPECT_EQ(parse_integer("-0.0", 0, 100), 0);
  EXPECT_EQ(parse_integer("+5.", 0, 100), 5);
  for (const char* text : {"1.5", "1e", "e3", ".", "1e-1", "1e400000000000", "0x10", "1.0.0", "1 000", ""}) {
    EXPECT_NE(message_of([&] { parse_integer(text, 0, 1000); }), "no error") << text;
  }
  EXPECT_NE(message_of([] { parse_integer("1e30", 0, 1000); }).find("'1e30' is out of range"),
            std::string::npos);
}

TEST(ParseValue, PathsKnowTheHomeFolderAndRefuseUrls) {
  const char* home = std::getenv("HOME");
  ASSERT_NE(home, nullptr);
  EXPECT_EQ(parse_path("~/a b.png"), std::filesystem::path(home) / "a b.png");
  EXPECT_EQ(parse_path("x/~/a.png"), "x/~/a.png");
  EXPECT_EQ(parse_path("C:\\pics\\a.png"), "C:\\pics\\a.png");
  for (const char* text : {"https://x/y.png", "s3://bucket/a.png", "data:image/png;base64,AAAA"}) {
    EXPECT_NE(message_of([&] { parse_path(text); }).find("download it first"), std::string::npos) << text;
  }
}

TEST(ParseValue, RealsAreNumbers) {
  EXPECT_EQ(message_of([] { parse_real("nan", 0, 1); }), "nan is not between 0 and 1");
  EXPECT_TRUE(parse_switch("True"));
  EXPECT_FALSE(parse_switch("off"));
}

}  // namespace
}  // namespace wan
