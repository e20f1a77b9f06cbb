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

TEST(ParseValue, AcceptsWhatUsersWrite) {
  EXPECT_EQ(parse_size("832*480"), (PixelSize{832, 480}));
  EXPECT_EQ(parse_size("832x480"), (PixelSize{832, 480}));
  EXPECT_EQ(parse_frame_num("81"), 81);
  EXPECT_EQ(parse_guide_scale("3.5"), (GuideScale{3.5, 3.5}));
  EXPECT_EQ(parse_guide_scale("3,4"), (GuideScale{3, 4}));
  EXPECT_EQ(parse_guide_scale("3:4.5"), (GuideScale{3, 4.5}));
  EXPECT_EQ(parse_seed("-1"), -1);
  EXPECT_TRUE(parse_switch("True"));
  EXPECT_FALSE(parse_switch("off"));
}

TEST(ParseValue, SaysWhatIsWrongAndWhatWouldDo) {
  EXPECT_EQ(message_of([] { parse_frame_num("80"); }), "80 is not of the form 4n+1; nearest: 77 or 81");
  EXPECT_EQ(message_of([] { parse_size("830*480"); }),
            "830*480 is not supported: width and height must be multiples of 16 (the latent grid); "
            "nearest: 832*480");
  EXPECT_EQ(message_of([] { parse_sample_steps("0"); }), "0 is not between 1 and 1000");
  EXPECT_EQ(message_of([] { parse_sample_steps("4o"); }), "'4o' is not a whole number");
  EXPECT_EQ(message_of([] { parse_sample_steps("99999999999999999999"); }),
            "'99999999999999999999' is out of range for a whole number");
  EXPECT_EQ(message_of([] { parse_real("nan", 0, 1); }), "nan is not between 0 and 1");
  EXPECT_EQ(message_of([] { parse_solver_name("ddim"); }),
            "'ddim' is not a solver; there are unipc, dpm++ and euler");
  EXPECT_EQ(message_of([] { parse_size("1280"); }),
            "'1280' is not a size; write WIDTH*HEIGHT, for example 1280*720");
}

}  // namespace
}  // namespace wan
