#include "text/clean.h"

#include <gtest/gtest.h>

#include <random>

#include "text/html_entities.h"
#include "text/unicode.h"
#include "wan/error.h"
#include "wan/request.h"

namespace wan::text {
namespace {

using namespace std::string_literals;

struct CleaningRow {
  int row;  ///< of the table (model.md 2.4)
  std::string input;
  std::string cleaned;
};

class CleaningTable : public testing::TestWithParam<CleaningRow> {};

TEST_P(CleaningTable, IsCleanedAsByTheReference) {
  EXPECT_EQ(clean_prompt(GetParam().input), GetParam().cleaned);
  EXPECT_FALSE(looks_like_mojibake(GetParam().input));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, CleaningTable,
    testing::Values(
        CleaningRow{1, "“A cat’s” tail — ‘slow’ pan…", "\"A cat's\" tail — 'slow' pan…"},
        CleaningRow{2, "ＨＤ　Ｖｉｄｅｏ：８Ｋ（ｕｌｔｒａ）！", "HD Video:8K(ultra)!"},
        CleaningRow{3, "一只猫，坐在冲浪板上。背景：海滩、蓝天！", "一只猫,坐在冲浪板上。背景:海滩、蓝天!"},
        CleaningRow{4, "ﾈｺとﾊﾟﾝﾀﾞ", "ネコとパンダ"},
        CleaningRow{5, "eﬀect ﬁne ﬂow eﬃcient ﬆ Ǆ ĳ", "effect fine flow efficient st DŽ ij"},
        CleaningRow{6, "line1\r\nline2\rline3\u2028line4\u2029line5\xC2\x85line6",
                    "line1 line2 line3 line4 line5…line6"},
        CleaningRow{7, "a\0b\ac\x1F"s + "d\x7F" + "e\uFEFFf\u200Bg\u200Dh", "abcdef\u200Bg\u200Dh"},
        CleaningRow{8, "e\u0301te\u0301 \u212B \u2126", "\u00E9t\u00E9 \u00C5 \u03A9"},
        CleaningRow{9, "Tom &amp; Jerry &lt;3 &quot;x&quot; &copy; &hellip; &#39;q&#39;",
                    "Tom & Jerry <3 \"x\" © … 'q'"},
        CleaningRow{10, "Tom &amp;amp; Jerry &amp;amp;amp; Spike", "Tom & Jerry & Spike"},
        CleaningRow{11, "&ldquo;bold&rdquo; &amp; more", "\"bold\" & more"},
        CleaningRow{12, "<b>&ldquo;bold&rdquo;</b> &amp; more", "<b>“bold”</b> & more"},
        CleaningRow{13, "first &ldquo;line&rdquo;\na < b &ldquo;x&rdquo;", "first \"line\" a < b “x”"},
        CleaningRow{14, "AT&T &copy 2024 this&not that &ampx", "AT&T © 2024 this¬ that &x"},
        CleaningRow{15, "  two  spaces\t tab\u00A0nbsp\u3000ideographic\u2003em  ",
                    "two spaces tab nbsp ideographic em"},
        CleaningRow{16, "\x1B[31mred\x1B[0m text", "red text"},
        CleaningRow{18, "café naïve Ångström São Paulo", "café naïve Ångström São Paulo"},
        CleaningRow{19, "10³ µm ½ ™ ① Ⅳ", "10³ µm ½ ™ ① Ⅳ"},
        CleaningRow{20, "2 × 3 – 5 — 7 ‐ 8 − 9", "2 × 3 – 5 — 7 ‐ 8 − 9"},
        CleaningRow{21, "&#x2019; &#8217; &#x80; &#0; &#xD800; &#65;", "' ' € \uFFFD \uFFFD A"},
        CleaningRow{22, "\u0149 \u02BCn \u201Bx\u201F \u201Elow\u201A «g»", "'n 'n 'x\" \"low' «g»"},
        CleaningRow{23, " \n\t \n", ""}),
    [](const auto& row) { return "Row" + std::to_string(row.param.row); });

TEST(Clean, NegativePromptKeepsAllButItsCommas) {
  std::string expected(default_negative_prompt());
  for (std::size_t at = expected.find("，"); at != std::string::npos; at = expected.find("，")) {
    expected.replace(at, std::string_view("，").size(), ",");
  }
  EXPECT_EQ(clean_prompt(default_negative_prompt()), expected);
}

TEST(Clean, MojibakeIsReportedNotRepaired) {
  EXPECT_TRUE(looks_like_mojibake("naÃ¯ve cafÃ©")) << "row 17 (model.md 2.4)";
  EXPECT_EQ(clean_prompt("naÃ¯ve cafÃ©"), "naÃ¯ve cafÃ©");
  EXPECT_TRUE(looks_like_mojibake("donâ€™t"));
  EXPECT_TRUE(looks_like_mojibake("ä¸­æ–‡"));
  EXPECT_TRUE(looks_like_mojibake("ðŸŽ¬"));
  for (const char* good :
       {"", "plain", "Ã", "CAFÉ»", "É…", "Ångström", "Übergröße", "Привет", "日本語", "5 €"}) {
    EXPECT_FALSE(looks_like_mojibake(good)) << good;
  }
}

TEST(Clean, RefusesWhatIsNoPrompt) {
  EXPECT_NO_THROW(clean_prompt(std::string(longest_prompt_bytes, 'x')));
  try {
    clean_prompt(std::string(longest_prompt_bytes + 1, 'x'));
    FAIL() << "a prompt of more than 64 KiB was taken";
  } catch (const ItemError& error) {
    EXPECT_EQ(error.stage(), "text");
    EXPECT_NE(std::string(error.what()).find("65537 bytes"), std::string::npos) << error.what();
  }
}

TEST(Clean, NestedReferencesEndInTime) {
  std::string nested = "&";
  while (nested.size() + 4 <= longest_prompt_bytes) nested += "amp;";
  EXPECT_LT(clean_prompt(nested).size(), nested.size());
}

TEST(HtmlEntities, CertainReferencesNeedTheirSemicolon) {
  EXPECT_EQ(unescape_certain_html("&eacute;&Eacute;&EACUTE;&SZLIG;&nTILDE;"), "éÉÉSS&nTILDE;");
  EXPECT_EQ(unescape_certain_html("&copy 2024 &nosuchname; &; &#; &#x; & &#59;"),
            "&copy 2024 &nosuchname; &; &#; &#x; & &#59;");
  EXPECT_EQ(unescape_certain_html("&NotEqualTilde;"), "\u2242\u0338") << "two code points";
}

TEST(HtmlEntities, Html5TakesTheLongestOldName) {
  EXPECT_EQ(unescape_html("&notit; &notin; &not &AMPx &#65 &#x41g &#99999999999999999999;"),
            "¬it; ∉ ¬ &x A Ag \uFFFD");
  EXPECT_EQ(unescape_html("&#1;&#x7f;&#xFDD0;&#x1FFFE;|"), "|") << "code points that HTML5 drops";
  EXPECT_EQ(unescape_html("&amp;amp;"), "&amp;") << "one round";
}

/// Random bytes with many things that cleaning treats: references, escapes, combining marks, broken UTF-8.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts{"&",
                                              "amp;",
                                              "&#",
                                              "x",
                                              "65;",
                                              "<",
                                              "\x1B[",
                                              "31m",
                                              "\r",
                                              "\n",
                                              " ",
                                              "\u3000",
                                              "\u0301",
                                              "e",
                                              "\uFF26",
                                              "\u2028",
                                              "\uFB03",
                                              "\u0149",
                                              "\xFF",
                                              "\xE4\xB8",
                                              "\xED\xA0\x80",
                                              "\xF0\x9F\x8E\xAC",
                                              "\u200B",
                                              "&NewLine;",
                                              "&nbsp;",
                                              "&#133;",
                                              "\0"s,
                                              "\xC2\x85",
                                              "\uFFDC",
                                              "\u1100\u1161",
                                              "&EACUTE;",
                                              "&not"};
  std::string text;
  const auto count = random() % 40;
  for (std::size_t i = 0; i < count; ++i) {
    if (random() % 4 == 0) {
      text.push_back(static_cast<char>(random() % 256));
    } else {
      text += parts[random() % parts.size()];
    }
  }
  return text;
}

TEST(Clean, AnyBytesGiveValidTextWithSingleInnerSpaces) {
  std::mt19937 random(20240229);
  for (int i = 0; i < 20000; ++i) {
    const std::string input = random_text(random);
    const std::string cleaned = clean_prompt(input);
    ASSERT_EQ(encode_utf8(decode_utf8(cleaned)), cleaned) << testing::PrintToString(input);
    ASSERT_EQ(cleaned.find("  "), std::string::npos) << testing::PrintToString(input);
    ASSERT_TRUE(cleaned.empty() || (cleaned.front() != ' ' && cleaned.back() != ' '))
        << testing::PrintToString(input);
    for (const char32_t c : decode_utf8(cleaned)) {
      ASSERT_TRUE(c == ' ' || !is_white_space(c)) << testing::PrintToString(input);
    }
    looks_like_mojibake(input);
  }
}

}  // namespace
}  // namespace wan::text
