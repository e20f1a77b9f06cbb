#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "option_calls.h"
#include "support/temp_dir.h"

namespace wan::apps {
namespace {

using ::testing::HasSubstr;

std::filesystem::path write_config(const test::TempDir& folder, const std::string& text) {
  auto path = folder / "run.cfg";
  std::ofstream(path) << text;
  return path;
}

TEST(ConfigFile, GivesWhatTheCommandLineLeavesOut) {
  const test::TempDir folder;
  const auto path = write_config(folder,
                                 "# a run\nckpt-dir = ckpt\nframe_num = 49\n  # a comment\nsize=96*64\n"
                                 "manifest = rows.csv\ndry-run = on\ndit-fsdp = off\n");
  const launch::Options options = parse({"--config", path.string(), "--size", "64*64"});
  EXPECT_EQ(options.ckpt_dir, "ckpt");
  EXPECT_EQ(options.manifest, "rows.csv");
  EXPECT_EQ(options.request.frame_num, 49);
  EXPECT_EQ(options.request.size, (PixelSize{64, 64}));
  EXPECT_TRUE(options.dry_run);
  EXPECT_EQ(options.dit_fsdp, launch::Switch::off);
}

TEST(ConfigFile, ValuesGoToTheEndOfTheLine) {
  const test::TempDir folder;
  const auto path =
      write_config(folder,
                   "\xEF\xBB\xBFprompt = a house #3 with a red door\r\nnegative-prompt = \"blurry\"\r\n"
                   "# prompt = no\r\nimage = 'a b.png'\r\n\r\nsave-file=a=b.mp4\r\nckpt-dir = ckpt\r\n");
  const launch::Options options = parse({"--config", path.string()});
  EXPECT_EQ(options.prompt, "a house #3 with a red door");
  EXPECT_EQ(options.request.negative_prompt, "blurry");
  EXPECT_EQ(options.image, "a b.png");
  EXPECT_EQ(options.save_file, "a=b.mp4");
}

TEST(ConfigFile, ErrorsNameTheFile) {
  const test::TempDir folder;
  const auto message = [&](const std::string& text) {
    const auto path = write_config(folder, text);
    std::string found = message_with({"--config", path.string()});
    if (const auto at = found.find(path.string()); at != std::string::npos)
      found.replace(at, path.string().size(), "F");
    return found;
  };
  EXPECT_EQ(message("framenum = 5\n"), "unknown option 'framenum' in F; did you mean frame-num?");
  EXPECT_EQ(message("size = 5\n"),
            "option size in F: '5' is not a size; write WIDTH*HEIGHT, for example 1280*720");
  EXPECT_EQ(message("size = 64*64\nsize = 96*64\n"), "option size in F is given twice");
  EXPECT_EQ(message("config = x\n"), "option config in F: a file cannot name another one");
  EXPECT_EQ(message("help = on\n"), "option help in F: it belongs on the command line");
  EXPECT_EQ(message("\nno equals sign\n"),
            "F:2: 'no equals sign' is no option; write NAME = VALUE, one a line");
  EXPECT_THAT(message("prompt = \"a \"red\" cat\"\n"),
              HasSubstr("F:1: the value is in quotes and has such quotes inside"));
  EXPECT_THAT(message("frame-num = 5 # five\n"),
              HasSubstr("a # starts a comment at the start of a line only"));
  EXPECT_THAT(message_with({"--config", "/nowhere/run.cfg"}), HasSubstr("option --config: "));
  EXPECT_THAT(message_with({"--config", folder.path().string()}), HasSubstr(folder.path().string()));
}

}  // namespace
}  // namespace wan::apps
