#include "core/strings.h"

#include <gtest/gtest.h>

#include "core/utf8.h"

namespace wan {
namespace {

TEST(FormatDuration, ReadsWell) {
  EXPECT_EQ(format_duration(3.21), "3.2 s");
  EXPECT_EQ(format_duration(42), "42 s");
  EXPECT_EQ(format_duration(780), "13 min");
  EXPECT_EQ(format_duration(7500), "2 h 05 min");
}

TEST(EditDistance, CountsSingleLetterChanges) {
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("size", "size"), 0U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(PrintableLines, KeepsLineFeedsAndNothingElseThatControls) {
  EXPECT_EQ(printable_lines("a\nb\x1b[0m\n"), "a\nb\\x1b[0m\n");
  EXPECT_EQ(printable_lines("abcdef\nxy", 3), "abc...\nxy") << "each line is cut by itself";
}

TEST(Utf8, CodePointsAndTheirLengths) {
  EXPECT_EQ(first_code_point("a").value, 'a');
  EXPECT_EQ(first_code_point("\xc3\xa4z").value, 0xe4);
  EXPECT_EQ(first_code_point("\xc3\xa4z").bytes, 2U);
  EXPECT_EQ(first_code_point("\xc3z").value, -1);
  EXPECT_EQ(first_code_point("\xc3z").bytes, 1U);
  EXPECT_TRUE(is_visible('a'));
  EXPECT_FALSE(is_visible('\n'));
  EXPECT_FALSE(is_visible(0x202e)) << "turns the writing direction";
}

}  // namespace
}  // namespace wan
