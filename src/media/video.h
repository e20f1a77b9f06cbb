#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace wan::media {

/// The largest width and height of a video: the limit of the encoders' levels and of the model's position
/// tables.
inline constexpr int largest_video_side_pixels = 16384;

/// The form in which frames become a video.
struct VideoFormat {
  int width = 0;   ///< pixels, even
  int height = 0;  ///< pixels, even
  int fps = 16;
  std::string codec = "libx264";
  int crf = 10;  ///< constant rate factor of the codec, 0 .. 51, smaller is better; libx264 does not allow 0
};

/// Encoder names that a VideoFormat may name and this FFmpeg has. The best known comes first.
std::vector<std::string> video_codecs();

/// Throws UsageError with the list of video_codecs() if `name` is not in it.
void require_video_codec(const std::string& name);

/// Throws UsageError for a crf (0 .. 51) that makes files which most players refuse.
void require_video_quality(const std::string& codec, int crf);

/// Writes frames as MP4: yuv420p by BT.709 with limited range and the matching tags, no audio, index before
/// the data. The same frames give the same bytes on every machine with the same libraries, because the
/// number of the encoder's threads is fixed and no date is written. If a writer is destroyed before finish()
/// has returned, it removes its file.
class VideoWriter {
 public:
  /// Creates the file (replaces an existing one) and opens the encoder. The name needs no ending. Throws
  /// UsageError for an unknown codec or a crf as above, and ItemError (stage "write") for all other errors.
  VideoWriter(const std::filesystem::path& path, const VideoFormat& format);
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;
  VideoWriter(VideoWriter&&) = delete;
  VideoWriter& operator=(VideoWriter&&) = delete;
  ~VideoWriter();

  /// Appends a frame, `rgb` [height, width, 3]. Throws ItemError with the library's reason.
  void write_frame(std::span<const std::uint8_t> rgb);

  /// Encodes the queued frames, writes the index and closes the file. Does not flush it to the disk: the code
  /// that renames the file does that. Throws ItemError, also if no frame was written.
  void finish();

 private:
  class Encoder;
  std::unique_ptr<Encoder> encoder_;  ///< null after finish()
};

}  // namespace wan::media
