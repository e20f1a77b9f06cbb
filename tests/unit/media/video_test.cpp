#include "media/video.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <random>
#include <set>

#include "core/checksum.h"
#include "core/file.h"
#include "support/read_video.h"
#include "support/temp_dir.h"
#include "wan/error.h"

// libx265 never frees the option texts that it copies. This is not an error of this program.
extern "C" const char* __lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libx265";
}  // NOLINT(bugprone-reserved-identifier)

namespace wan::media {
namespace {

using testing::Contains;
using testing::HasSubstr;

const VideoFormat small{.width = 64, .height = 48, .fps = 16};

std::vector<std::uint8_t> flat_frame(const VideoFormat& format, std::array<std::uint8_t, 3> colour) {
  std::vector<std::uint8_t> rgb;
  for (int i = 0; i < format.width * format.height; ++i) rgb.insert(rgb.end(), colour.begin(), colour.end());
  return rgb;
}

/// Frames that move and do not compress to almost nothing.
std::vector<std::uint8_t> busy_frame(const VideoFormat& format, int number) {
  const std::size_t pixels = static_cast<std::size_t>(format.width) * static_cast<std::size_t>(format.height);
  std::vector<std::uint8_t> rgb(3 * pixels);
  unsigned state = 7;
  for (std::size_t i = 0; i < rgb.size(); ++i) {
    state = state * 1664525U + 1013904223U;
    rgb[i] = static_cast<std::uint8_t>((state >> 24U) / 4 + i / 3 + static_cast<std::size_t>(number) * 5);
  }
  return rgb;
}

void write_busy_video(const std::filesystem::path& path, const VideoFormat& format, int frames) {
  VideoWriter writer(path, format);
  for (int i = 0; i < frames; ++i) writer.write_frame(busy_frame(format, i));
  writer.finish();
}

std::string bytes_of(const std::filesystem::path& path) { return read_text_file(path, 1U << 24U); }

TEST(VideoWriter, WritesWhatPlayersExpect) {
  const test::TempDir dir;
  write_busy_video(dir / "v.tmp", small, 17);
  const test::Video video = test::read_video(dir / "v.tmp");
  EXPECT_THAT(video.container, HasSubstr("mp4"));
  EXPECT_EQ(video.codec, "h264");
  EXPECT_EQ(video.pixels, "yuv420p");
  EXPECT_EQ(video.streams, 1);
  EXPECT_EQ(video.width, 64);
  EXPECT_EQ(video.height, 48);
  EXPECT_EQ(video.fps, 16.0);
  EXPECT_NEAR(video.duration_s, 17.0 / 16.0, 1e-3);
  EXPECT_EQ(video.frames.size(), 17U);
  EXPECT_EQ(video.colours, "tv bt709 bt709 bt709");
  EXPECT_EQ(video.profile, "High");
}

TEST(VideoWriter, SameNoiseGivesTheSameBytesInUsedMemory) {
  const test::TempDir dir;
  const VideoFormat square{.width = 64, .height = 64, .fps = 16, .crf = 10};
  std::mt19937 random(1);
  std::vector<std::vector<std::uint8_t>> frames(5, std::vector<std::uint8_t>(64 * 64 * 3));  // noise
  for (auto& frame : frames)
    std::ranges::generate(frame, [&] { return static_cast<std::uint8_t>(random()); });
  std::set<std::string> checksums;
  for (int repeat = 0; repeat < 150; ++repeat) {
    // Memory that was used before with other sizes each time, as in a larger program.
    std::vector<std::string> used;
    for (int i = 0; i < 50; ++i) used.emplace_back(1000 + random() % 200'000, static_cast<char>(random()));
    used.clear();
    VideoWriter writer(dir / "v.mp4", square);
    for (const auto& frame : frames) writer.write_frame(frame);
    writer.finish();
    checksums.insert(sha256_file_hex(dir / "v.mp4"));
  }
  EXPECT_EQ(checksums.size(), 1U);
}

/// For all sizes: some players guess BT.601 for small untagged videos.
TEST(VideoWriter, ConvertsByBt709LimitedRangeAndSaysSo) {
  struct Case {
    std::array<std::uint8_t, 3> rgb;
    std::array<int, 3> yuv;  // ITU-R BT.709, 219 and 224 levels
  };
  const std::array cases{Case{{0, 0, 0}, {16, 128, 128}},   Case{{255, 255, 255}, {235, 128, 128}},
                         Case{{255, 0, 0}, {63, 102, 240}}, Case{{0, 255, 0}, {173, 42, 26}},
                         Case{{0, 0, 255}, {32, 240, 118}}, Case{{128, 128, 128}, {126, 128, 128}}};
  const test::TempDir dir;
  for (const auto& [width, height] : {std::pair{64, 48}, std::pair{1280, 720}}) {
    const VideoFormat best{.width = width, .height = height, .crf = 1};
    VideoWriter writer(dir / "v", best);
    for (const Case& one : cases) writer.write_frame(flat_frame(best, one.rgb));
    writer.finish();
    const test::Video video = test::read_video(dir / "v");
    EXPECT_EQ(video.colours, "tv bt709 bt709 bt709");
    ASSERT_EQ(video.frames.size(), cases.size());
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const test::VideoFrame& frame = video.frames[i];
      const std::size_t middle = frame.y.size() / 2;
      EXPECT_NEAR(frame.y[middle], cases[i].yuv[0], 1) << i;
      EXPECT_NEAR(frame.u[middle / 4], cases[i].yuv[1], 1) << i;
      EXPECT_NEAR(frame.v[middle / 4], cases[i].yuv[2], 1) << i;
    }
  }
}

TEST(VideoWriter, EveryCodecIsTagged) {
  const test::TempDir dir;
  for (const std::string& codec : video_codecs()) {
    VideoFormat format = small;
    format.codec = codec;
    write_busy_video(dir / "v", format, 2);
    EXPECT_EQ(test::read_video(dir / "v").colours, "tv bt709 bt709 bt709") << codec;
  }
}

TEST(VideoWriter, RefusesTheQualityThatPlayersRefuse) {
  const test::TempDir dir;
  VideoFormat format = small;
  format.crf = 0;
  EXPECT_THROW(VideoWriter(dir / "v", format), UsageError);
  EXPECT_FALSE(std::filesystem::exists(dir / "v"));
  EXPECT_NO_THROW(require_video_quality("libx264", 1));
  EXPECT_NO_THROW(require_video_quality("libx265", 0));
  format.crf = 1;
  write_busy_video(dir / "v", format, 2);
  EXPECT_EQ(test::read_video(dir / "v").profile, "High");
}

TEST(VideoWriter, SameFramesGiveTheSameBytes) {
  const test::TempDir dir;
  for (const std::string& codec : video_codecs()) {
    VideoFormat format = small;
    format.codec = codec;
    write_busy_video(dir / "a", format, 20);
    write_busy_video(dir / "b", format, 20);
    EXPECT_TRUE(bytes_of(dir / "a") == bytes_of(dir / "b")) << codec;
    EXPECT_EQ(test::read_video(dir / "a").frames.size(), 20U) << codec;
  }
}

TEST(VideoWriter, PutsTheIndexBeforeTheData) {
  const test::TempDir dir;
  write_busy_video(dir / "v", small, 3);
  const std::string bytes = bytes_of(dir / "v");
  const std::size_t index = bytes.find("moov");
  const std::size_t content = bytes.find("mdat");
  ASSERT_NE(index, std::string::npos);
  ASSERT_NE(content, std::string::npos);
  EXPECT_LT(index, content);
}

TEST(VideoWriter, LowerCrfKeepsMore) {
  const test::TempDir dir;
  VideoFormat coarse = small;
  coarse.crf = 40;
  write_busy_video(dir / "fine", small, 8);
  write_busy_video(dir / "coarse", coarse, 8);
  EXPECT_GT(std::filesystem::file_size(dir / "fine"), 2 * std::filesystem::file_size(dir / "coarse"));
}

TEST(VideoWriter, AnUnfinishedVideoLeavesNoFile) {
  const test::TempDir dir;
  {
    VideoWriter writer(dir / "v", small);
    for (int i = 0; i < 60; ++i) writer.write_frame(busy_frame(small, i));
    EXPECT_TRUE(std::filesystem::exists(dir / "v"));
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "v"));
  {
    VideoWriter writer(dir / "v", small);
    EXPECT_THROW(writer.finish(), ItemError);  // no frames
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "v"));
}

std::string reason_for(const std::filesystem::path& path, const VideoFormat& format) {
  try {
    write_busy_video(path, format, 2);
  } catch (const ItemError& error) {
    EXPECT_EQ(error.stage(), "write");
    EXPECT_THAT(error.what(), HasSubstr(path.string()));
    return error.what();
  }
  return "was written";
}

TEST(VideoWriter, SaysWhyItCannotWrite) {
  const test::TempDir dir;
  EXPECT_THAT(reason_for(dir / "none" / "v", small), HasSubstr("No such file or directory"));
  EXPECT_THAT(reason_for(dir.path(), small), HasSubstr("Is a directory"));
  EXPECT_THAT(reason_for("/dev/full", small), HasSubstr("No space left on device"));
  EXPECT_THAT(reason_for(dir / "v", {.width = 63, .height = 48}), HasSubstr("63x48 pixels"));
  EXPECT_THAT(reason_for(dir / "v", {.width = 64, .height = 48, .fps = 0}), HasSubstr("0 frames per second"));
  EXPECT_THAT(reason_for(dir / "v", {.width = 64, .height = 48, .crf = 52}), HasSubstr("crf 52"));
  EXPECT_FALSE(std::filesystem::exists(dir / "v"));
}

TEST(VideoWriter, AnUnknownCodecIsAUsageErrorThatListsTheKnown) {
  EXPECT_THAT(video_codecs(), Contains("libx264"));
  const test::TempDir dir;
  for (const char* name : {"h264", "", "rawvideo"}) {
    VideoFormat format = small;
    format.codec = name;
    try {
      const VideoWriter writer(dir / "v", format);
      FAIL() << name;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("this build has: libx264"));
    }
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "v"));
}

/// Limits the size of this process's files within a scope. Writes then fail as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  FileSizeLimit(FileSizeLimit&&) = delete;
  FileSizeLimit& operator=(FileSizeLimit&&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(VideoWriter, AFullDiskIsAnErrorAtEverySize) {
  const test::TempDir dir;
  constexpr int frames = 2;
  write_busy_video(dir / "whole", small, frames);
  const auto whole_bytes = static_cast<rlim_t>(std::filesystem::file_size(dir / "whole"));
  for (rlim_t bytes = 0; bytes < whole_bytes; bytes += whole_bytes / 25 + 1) {
    std::string reason = "was written";
    {
      const FileSizeLimit limit(bytes);
      try {
        write_busy_video(dir / "v", small, frames);
      } catch (const ItemError& error) {
        reason = error.what();
      }
    }
    EXPECT_THAT(reason, HasSubstr("File too large")) << bytes << " of " << whole_bytes;
    EXPECT_FALSE(std::filesystem::exists(dir / "v"));
  }
}

}  // namespace
}  // namespace wan::media
