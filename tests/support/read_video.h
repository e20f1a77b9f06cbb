#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace wan::test {

/// A decoded yuv420p frame without row padding.
struct VideoFrame {
  std::vector<std::uint8_t> y;  ///< [height, width]
  std::vector<std::uint8_t> u;  ///< [height / 2, width / 2]
  std::vector<std::uint8_t> v;  ///< [height / 2, width / 2]
};

struct Video {
  std::string container;  ///< FFmpeg's name of the demuxer
  std::string codec;      ///< "h264"
  std::string pixels;     ///< "yuv420p"
  std::string profile;    ///< "High"
  std::string colours;  ///< "unspecified ..." by range, matrix, primaries and transfer when nothing is tagged
  int streams = 0;
  int width = 0;
  int height = 0;
  double fps = 0;
  double duration_s = 0;
  std::vector<VideoFrame> frames;
};

/// Reads a whole small video. Throws Error with the function that failed.
Video read_video(const std::filesystem::path& path);

}  // namespace wan::test
