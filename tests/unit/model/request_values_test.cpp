#include "model/request_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/parse_value.h"

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

TEST(RequestValues, AcceptsWhatUsersWrite) {
  EXPECT_EQ(parse_size("832*480"), (PixelSize{832, 480}));
  EXPECT_EQ(parse_size("832x480"), (PixelSize{832, 480}));
  EXPECT_EQ(parse_frame_num("81"), 81);
  EXPECT_EQ(parse_guide_scale("3.5"), (GuideScale{3.5, 3.5}));
  EXPECT_EQ(parse_guide_scale("3,4"), (GuideScale{3, 4}));
  EXPECT_EQ(parse_guide_scale("3:4.5"), (GuideScale{3, 4.5}));
  EXPECT_EQ(parse_seed("-1"), std::nullopt);
}

TEST(RequestValues, SeedsAreThoseOfTorch) {
  EXPECT_EQ(parse_seed("18446744073709551615"), 18446744073709551615U);
  EXPECT_EQ(parse_seed("9223372036854775808"), 9223372036854775808U);
  EXPECT_EQ(parse_seed("42.0"), 42U);
  EXPECT_EQ(parse_seed("-1.0"), std::nullopt);
  EXPECT_EQ(message_of([] { parse_seed("-2"); }),
            "-2 is not between -1 (a random seed) and 18446744073709551615");
  EXPECT_EQ(message_of([] { parse_seed("18446744073709551616"); }),
            "'18446744073709551616' is out of range for a whole number");
  EXPECT_EQ(message_of([] { parse_seed("-x"); }), "'-x' is not a whole number");
}

TEST(RequestValues, SizesAreReadAsTheyAreUsuallyWritten) {
  const PixelSize hd{1280, 720};
  for (const char* text :
       {"1280X720", "1280 * 720", "1280\u00D7720", "1280 \u00D7 720", "720p", "720P", "1280.0x720.0"}) {
    EXPECT_EQ(parse_size(text), hd) << text;
  }
  EXPECT_EQ(parse_size("480p"), (PixelSize{832, 480}));
  for (const char* text : {"1080p", "1280*", "*720", "1280**720", "1280 720"}) {
    EXPECT_NE(message_of([&] { parse_size(text); }), "no error") << text;
  }
}

TEST(RequestValues, DecimalCommasAreNamed) {
  EXPECT_EQ(message_of([] { parse_sample_shift("5,5"); }),
            "'5,5' is not a number; write a decimal point: 5.5");
  EXPECT_EQ(parse_guide_scale("3.5, 4"), (GuideScale{3.5, 4}));
  EXPECT_EQ(message_of([] { parse_guide_scale("3,5,7"); }),
            "'3,5,7' is more than two values; write LOW:HIGH");
  EXPECT_EQ(message_of([] { parse_guide_scale("3,5:4,5"); }),
            "'3,5' is not a number; write a decimal point: 3.5");
}

TEST(RequestValues, SaysWhatIsWrongAndWhatWouldDo) {
  EXPECT_EQ(message_of([] { parse_frame_num("80"); }), "80 is not of the form 4n+1; nearest: 77 or 81");
  EXPECT_EQ(message_of([] { parse_size("830*480"); }),
            "830*480 is not supported: width and height must be multiples of 16 (the latent grid); "
            "nearest: 832*480");
  EXPECT_EQ(message_of([] { parse_sample_steps("0"); }), "0 is not between 1 and 1000");
  EXPECT_EQ(message_of([] { parse_sample_steps("4o"); }), "'4o' is not a whole number");
  EXPECT_EQ(message_of([] { parse_sample_steps("99999999999999999999"); }),
            "'99999999999999999999' is out of range for a whole number");
  EXPECT_THAT(message_of([] { parse_solver_name("magic"); }),
              testing::MatchesRegex("'magic' is not a solver; there are unipc, dpm\\+\\+.* and .*"));
  EXPECT_EQ(message_of([] { parse_size("1280"); }),
            "'1280' is not a size; write WIDTH*HEIGHT, for example 1280*720");
}

}  // namespace
}  // namespace wan
