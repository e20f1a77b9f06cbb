#include "launch/option_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/locate.h"
#include "core/setting_error.h"
#include "store/output_folder.h"

namespace wan::launch {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

template <typename Work>
std::string shown(Work&& work) {
  try {
    work();
  } catch (const std::exception& error) {
    return with_option(error);
  }
  return "no error";
}

TEST(OptionNames, StandBeforeTheMessagesOfLibraries) {
  EXPECT_THAT(shown([] { checkpoint::locate_checkpoint("/nowhere/ckpt"); }),
              StartsWith("--ckpt-dir: the checkpoint folder /nowhere/ckpt does not exist"));
  EXPECT_THAT(shown([] { store::OutputFolder("/dev/null/out"); }),
              StartsWith("--output-dir: cannot create the output folder /dev/null/out"));
}

TEST(OptionNames, OtherMessagesStayAsTheyAre) {
  EXPECT_EQ(shown([] { throw UsageError("the manifest is empty"); }), "the manifest is empty");
  EXPECT_EQ(shown([] { fail_setting("colour", "red is not known"); }), "red is not known");
}

TEST(OptionNames, AreNotInTheLibrariesMessages) {
  try {
    checkpoint::locate_checkpoint("/nowhere/ckpt");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), Not(HasSubstr("--")));
  }
}

TEST(HintingAt, PutsTheOptionBehindARemedy) {
  EXPECT_EQ(hinting_at("--device cpu", [] { return 3; }), 3);
  try {
    hinting_at("--device cpu", [] { throw UsageError("no code for this GPU: compute on the CPU"); });
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "no code for this GPU: compute on the CPU (--device cpu)");
  }
  EXPECT_THROW(hinting_at("--device cpu", [] { throw Error("a broken GPU"); }), Error);
}

}  // namespace
}  // namespace wan::launch
