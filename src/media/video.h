#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace wan::media {

/// Widest and highest video: the limit of the encoders' levels, and of the model's position tables.
inline constexpr int largest_video_side_pixels = 16384;

/// How frames become a video.
struct VideoFormat {
  int width = 0;   ///< pixels, even
  int height = 0;  ///< pixels, even
  int fps = 16;
  std::string codec = "libx264";
  int crf = 10;  ///< constant rate factor of the codec, 0 .. 51, smaller is better; 0 not with libx264
};

/// Encoder names that a VideoFormat may name and this FFmpeg has, best known first.
std::vector<std::string> video_codecs();

/// Throws UsageError listing video_codecs() if there is none of that name.
void require_video_codec(const std::string& name);

/// Throws UsageError for a crf (0 .. 51) that makes files which most players refuse.
void require_video_quality(const std::string& codec, int crf);

/// Writes frames as MP4: yuv420p by BT.709 with limited range, tagged as such, no audio, index before the
/// data. The same frames give the same bytes on every machine with the same libraries: encoding is by one
/// thread and no date is written. A writer destroyed before finish() has returned removes its file.
class VideoWriter {
 public:
  /// Creates the file (an existing one is replaced) and opens the encoder. The name needs no ending. Throws
  /// UsageError for an unknown codec or a crf as above, and ItemError (stage "write") for everything else.
  VideoWriter(const std::filesystem::path& path, const VideoFormat& format);
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;
  VideoWriter(VideoWriter&&) = delete;
  VideoWriter& operator=(VideoWriter&&) = delete;
  ~VideoWriter();

  /// Appends a frame, `rgb` [height, width, 3]. Throws ItemError with the library's reason.
  void write_frame(std::span<const std::uint8_t> rgb);

  /// Encodes what is still queued, writes the index and closes the file. Not a flush to the disk: whoever
  /// renames the file does that. Throws ItemError; also when no frame was written.
  void finish();

 private:
  class Encoder;
  std::unique_ptr<Encoder> encoder_;  ///< none after finish()
};

}  // namespace wan::media
