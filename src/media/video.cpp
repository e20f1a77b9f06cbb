#include "media/video.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/check.h"
#include "core/file.h"
#include "media/ffmpeg.h"

extern "C" {
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
}

namespace wan::media {
namespace {

/// An encoder that we know how to run, with options of its own library that no FFmpeg option covers.
struct CodecChoice {
  const char* name;
  const char* library_options_key;  ///< null: no such options are needed
  const char* library_options;
};
// x264's code for AVX-512 gave other bytes in 1 to 4 of 100 runs on the same frames (macroblock tree, x264
// 164). Its option "cpu-independent" also gives the same bytes on every machine. x265 writes its own log and
// has its own threads.
constexpr std::array codec_choices{
    CodecChoice{
        .name = "libx264", .library_options_key = "x264-params", .library_options = "cpu-independent=1"},
    CodecChoice{.name = "libx265",
                .library_options_key = "x265-params",
                .library_options = "log-level=none:frame-threads=1:pools=none:wpp=0"},
};
// The number of frame threads changes the result, so it must not depend on the machine. A single video and
// the last one of a batch wait for the encoder, and one core would take 10 s and more for them. libx265's
// option above keeps it at one.
constexpr int encoder_threads = 8;
constexpr int largest_side = largest_video_side_pixels;
constexpr int largest_fps = 1000;
constexpr int largest_crf = 51;

const CodecChoice& find_codec(const std::string& name) {
  for (const CodecChoice& choice : codec_choices) {
    if (name == choice.name && avcodec_find_encoder_by_name(choice.name) != nullptr) return choice;
  }
  std::string known;
  for (const std::string& codec : video_codecs()) known += (known.empty() ? "" : ", ") + codec;
  fail<UsageError>("unknown video codec '{}'; this build has: {}", name, known.empty() ? "none" : known);
}

void check_format(const std::filesystem::path& path, const VideoFormat& format) {
  const auto bad_side = [](int side) { return side < 2 || side > largest_side || side % 2 != 0; };
  if (bad_side(format.width) || bad_side(format.height)) {
    fail_item(
        "write",
        "cannot write {}: {}x{} pixels is not a valid size for yuv420p: width and height must be even, 2..{}",
        path.string(), format.width, format.height, largest_side);
  }
  if (format.fps < 1 || format.fps > largest_fps) {
    fail_item("write", "cannot write {}: {} frames per second; 1..{} are possible", path.string(), format.fps,
              largest_fps);
  }
  if (format.crf < 0 || format.crf > largest_crf) {
    fail_item("write", "cannot write {}: crf {}; 0..{} are possible", path.string(), format.crf, largest_crf);
  }
  require_video_quality(format.codec, format.crf);
}

int allocate(AVFrame& frame, const VideoFormat& format, AVPixelFormat pixels) {
  frame.width = format.width;
  frame.height = format.height;
  frame.format = pixels;
  return av_frame_get_buffer(&frame, 0);
}

/// Removes its file on destruction, unless the file was marked as complete.
class PartialFile {
 public:
  PartialFile() = default;
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  PartialFile(PartialFile&&) = delete;
  PartialFile& operator=(PartialFile&&) = delete;
  ~PartialFile() {
    std::error_code ignored;  // a device or folder of that name is not ours, so it stays
    if (std::filesystem::is_regular_file(path_, ignored)) std::filesystem::remove(path_, ignored);
  }
  void created(const std::filesystem::path& path) { path_ = path; }
  void complete() { path_.clear(); }

 private:
  std::filesystem::path path_;
};

/// Closes and frees a muxing context with its file.
struct MuxerDeleter {
  void operator()(AVFormatContext* muxer) const {
    if (muxer->pb != nullptr) avio_closep(&muxer->pb);
    avformat_free_context(muxer);
  }
};
using MuxerPtr = std::unique_ptr<AVFormatContext, MuxerDeleter>;

}  // namespace

void require_video_codec(const std::string& name) { find_codec(name); }

void require_video_quality(const std::string& codec, int crf) {
  if (crf > 0 || codec != "libx264") return;
  fail<UsageError>(
      "crf 0 makes libx264 write a profile of H.264 (High 4:4:4 Predictive, lossless) that most players "
      "refuse; crf 1 is the best that they play, and saved latents keep the exact frames");
}

std::vector<std::string> video_codecs() {
  std::vector<std::string> names;
  for (const CodecChoice& choice : codec_choices) {
    if (avcodec_find_encoder_by_name(choice.name) != nullptr) names.emplace_back(choice.name);
  }
  return names;
}

/// The chain RGB frame -> yuv420p frame -> packets -> MP4 file.
class VideoWriter::Encoder {
 public:
  Encoder(std::filesystem::path path, const VideoFormat& format);
  void encode(std::span<const std::uint8_t> rgb);
  void finish();

 private:
  void check(int rc, const char* doing) const;
  void open_codec(const VideoFormat& format);
  void open_scaler();
  void open_file();
  void drain();
  void close_file();

  std::filesystem::path path_;
  PartialFile file_;  // before the muxer, so that the file is closed before it is removed
  MuxerPtr muxer_;
  CodecPtr codec_;
  ScalerPtr scaler_;
  FramePtr rgb_ = make_frame();
  FramePtr frame_ = make_frame();  ///< yuv420p
  PacketPtr packet_ = make_packet();
  std::int64_t frames_ = 0;
};

void VideoWriter::Encoder::check(int rc, const char* doing) const {
  if (rc >= 0) return;
  const std::string message =
      fmt::format("cannot write {}: {} failed: {}", path_.string(), doing, error_text(rc));
  // The library returns system errors as negative errno values.
  if (is_storage_errno(-rc)) throw StorageError(message);
  throw ItemError("write", message);
}

VideoWriter::Encoder::Encoder(std::filesystem::path path, const VideoFormat& format)
    : path_(std::move(path)) {
  // Names the file protocol, because a colon in a path must not choose another protocol.
  AVFormatContext* muxer = nullptr;
  const std::string url = "file:" + path_.string();
  check(avformat_alloc_output_context2(&muxer, nullptr, "mp4", url.c_str()), "setting up MP4");
  muxer_.reset(muxer);
  open_codec(format);
  open_scaler();
  open_file();
}

void VideoWriter::Encoder::open_codec(const VideoFormat& format) {
  const CodecChoice& choice = find_codec(format.codec);
  const AVCodec* encoder = avcodec_find_encoder_by_name(choice.name);
  codec_ = make_codec_context(encoder);
  codec_->width = format.width;
  codec_->height = format.height;
  codec_->pix_fmt = AV_PIX_FMT_YUV420P;
  codec_->color_range = AVCOL_RANGE_MPEG;
  codec_->colorspace = AVCOL_SPC_BT709;
  codec_->color_primaries = AVCOL_PRI_BT709;
  codec_->color_trc = AVCOL_TRC_BT709;
  codec_->chroma_sample_location = AVCHROMA_LOC_LEFT;
  codec_->time_base = {1, format.fps};
  codec_->framerate = {format.fps, 1};
  codec_->thread_count = encoder_threads;
  codec_->flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_GLOBAL_HEADER;
  // the tag that players look for
  if (format.codec == "libx265") codec_->codec_tag = MKTAG('h', 'v', 'c', '1');
  const std::string crf = std::to_string(format.crf);
  check(av_opt_set(codec_->priv_data, "crf", crf.c_str(), 0), "setting the quality");
  check(av_opt_set(codec_->priv_data, "preset", "medium", 0), "setting the preset");
  if (choice.library_options_key != nullptr) {
    check(av_opt_set(codec_->priv_data, choice.library_options_key, choice.library_options, 0),
          "setting the encoder's options");
  }
  check(avcodec_open2(codec_.get(), encoder, nullptr), "opening the encoder");

  check(allocate(*rgb_, format, AV_PIX_FMT_RGB24), "allocating a frame");
  check(allocate(*frame_, format, codec_->pix_fmt), "allocating a frame");
}

void VideoWriter::Encoder::open_scaler() {
  // Bicubic, the ffmpeg program's default, but with rounding that does not depend on the CPU.
  scaler_.reset(sws_getContext(codec_->width, codec_->height, AV_PIX_FMT_RGB24, codec_->width, codec_->height,
                               codec_->pix_fmt, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT, nullptr,
                               nullptr, nullptr));
  constexpr int full = 1;
  constexpr int limited = 0;
  constexpr int one = 1 << 16;  // the value 1 for contrast and saturation
  const int* const bt709 = sws_getCoefficients(SWS_CS_ITU709);
  if (!scaler_ || sws_setColorspaceDetails(scaler_.get(), bt709, full, bt709, limited, 0, one, one) < 0) {
    fail_item("write", "cannot write {}: no conversion from RGB to yuv420p", path_.string());
  }
}

void VideoWriter::Encoder::open_file() {
  AVStream* const stream = avformat_new_stream(muxer_.get(), nullptr);
  if (stream == nullptr) check(AVERROR(ENOMEM), "adding a stream");
  stream->time_base = codec_->time_base;
  stream->avg_frame_rate = codec_->framerate;
  check(avcodec_parameters_from_context(stream->codecpar, codec_.get()), "describing the stream");
  muxer_->flags |= AVFMT_FLAG_BITEXACT;
  check(avio_open2(&muxer_->pb, muxer_->url, AVIO_FLAG_WRITE, nullptr, nullptr), "creating the file");
  file_.created(path_);
  check(av_opt_set(muxer_->priv_data, "movflags", "+faststart", 0), "asking for the index in front");
  check(avformat_write_header(muxer_.get(), nullptr), "writing the header");
}

void VideoWriter::Encoder::encode(std::span<const std::uint8_t> rgb) {
  const auto row_bytes = static_cast<std::size_t>(codec_->width) * 3;
  WAN_CHECK(rgb.size() == row_bytes * static_cast<std::size_t>(codec_->height),
            "frame of {} bytes for {}x{} pixels", rgb.size(), codec_->width, codec_->height);
  check(av_frame_make_writable(frame_.get()), "reusing a frame");
  // swscale's vector code reads beyond the end of a row. These rows have room for that.
  av_image_copy_plane(rgb_->data[0], rgb_->linesize[0], rgb.data(), static_cast<int>(row_bytes),
                      static_cast<int>(row_bytes), codec_->height);
  const int rows =
      sws_scale(scaler_.get(), rgb_->data, rgb_->linesize, 0, codec_->height, frame_->data, frame_->linesize);
  if (rows != codec_->height) {
    fail_item("write", "cannot write {}: conversion to yuv420p stopped at row {}", path_.string(), rows);
  }
  frame_->pts = frames_++;
  frame_->color_range = codec_->color_range;
  frame_->colorspace = codec_->colorspace;
  check(avcodec_send_frame(codec_.get(), frame_.get()), "encoding");
  drain();
}

void VideoWriter::Encoder::drain() {
  while (true) {
    const int rc = avcodec_receive_packet(codec_.get(), packet_.get());
    if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF) return;
    check(rc, "encoding");
    packet_->stream_index = 0;
    packet_->duration = 1;
    av_packet_rescale_ts(packet_.get(), codec_->time_base, muxer_->streams[0]->time_base);
    check(av_interleaved_write_frame(muxer_.get(), packet_.get()), "writing a frame");
    check(muxer_->pb->error, "writing a frame");
  }
}

void VideoWriter::Encoder::finish() {
  if (frames_ == 0) fail_item("write", "cannot write {}: it has no frames", path_.string());
  check(avcodec_send_frame(codec_.get(), nullptr), "encoding the last frames");
  drain();
  check(av_write_trailer(muxer_.get()), "writing the index");
  close_file();
}

void VideoWriter::Encoder::close_file() {
  avio_flush(muxer_->pb);
  check(muxer_->pb->error, "writing the index");
  check(avio_closep(&muxer_->pb), "closing the file");
  file_.complete();
}

VideoWriter::VideoWriter(const std::filesystem::path& path, const VideoFormat& format) {
  silence_ffmpeg();
  check_format(path, format);
  encoder_ = std::make_unique<Encoder>(path, format);
}

VideoWriter::~VideoWriter() = default;

void VideoWriter::write_frame(std::span<const std::uint8_t> rgb) {
  WAN_CHECK(encoder_ != nullptr, "frame after the end of the video");
  encoder_->encode(rgb);
}

void VideoWriter::finish() {
  WAN_CHECK(encoder_ != nullptr, "second end of the video");
  encoder_->finish();
  encoder_.reset();
}

}  // namespace wan::media
