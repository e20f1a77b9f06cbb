#include "support/read_video.h"

#include <memory>

#include "core/check.h"
#include "media/ffmpeg.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace wan::test {
namespace {

struct DemuxerDeleter {
  void operator()(AVFormatContext* demuxer) const { avformat_close_input(&demuxer); }
};

void check(int rc, const char* doing) {
  if (rc < 0) fail("{} failed: {}", doing, media::error_text(rc));
}

std::vector<std::uint8_t> plane(const AVFrame& frame, int index, int width, int height) {
  std::vector<std::uint8_t> samples;
  for (int row = 0; row < height; ++row) {
    const std::uint8_t* const line =
        frame.data[index] + static_cast<std::ptrdiff_t>(row) * frame.linesize[index];
    samples.insert(samples.end(), line, line + width);
  }
  return samples;
}

void receive_frames(AVCodecContext* codec, AVFrame* frame, Video& video) {
  while (true) {
    const int rc = avcodec_receive_frame(codec, frame);
    if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF) return;
    check(rc, "decoding");
    if (frame->format != AV_PIX_FMT_YUV420P) fail("frame is not yuv420p");
    video.frames.push_back({.y = plane(*frame, 0, frame->width, frame->height),
                            .u = plane(*frame, 1, frame->width / 2, frame->height / 2),
                            .v = plane(*frame, 2, frame->width / 2, frame->height / 2)});
  }
}

}  // namespace

Video read_video(const std::filesystem::path& path) {
  media::silence_ffmpeg();
  AVFormatContext* opened = nullptr;
  check(avformat_open_input(&opened, ("file:" + path.string()).c_str(), nullptr, nullptr), "opening");
  const std::unique_ptr<AVFormatContext, DemuxerDeleter> demuxer(opened);
  check(avformat_find_stream_info(demuxer.get(), nullptr), "probing");
  const AVStream& stream = *demuxer->streams[0];
  const AVCodecParameters& parameters = *stream.codecpar;
  const char* const profile = avcodec_profile_name(parameters.codec_id, parameters.profile);
  Video video{.container = demuxer->iformat->name,
              .codec = avcodec_get_name(parameters.codec_id),
              .pixels = av_get_pix_fmt_name(static_cast<AVPixelFormat>(parameters.format)),
              .profile = profile == nullptr ? "unknown" : profile,
              .colours = fmt::format("{} {} {} {}", av_color_range_name(parameters.color_range),
                                     av_color_space_name(parameters.color_space),
                                     av_color_primaries_name(parameters.color_primaries),
                                     av_color_transfer_name(parameters.color_trc)),
              .streams = static_cast<int>(demuxer->nb_streams),
              .width = parameters.width,
              .height = parameters.height,
              .fps = av_q2d(stream.avg_frame_rate),
              .duration_s = static_cast<double>(demuxer->duration) / AV_TIME_BASE,
              .frames = {}};
  const AVCodec* decoder = avcodec_find_decoder(parameters.codec_id);
  const media::CodecPtr codec = media::make_codec_context(decoder);
  check(avcodec_parameters_to_context(codec.get(), &parameters), "setting up the decoder");
  check(avcodec_open2(codec.get(), decoder, nullptr), "opening the decoder");
  const media::PacketPtr packet = media::make_packet();
  const media::FramePtr frame = media::make_frame();
  while (av_read_frame(demuxer.get(), packet.get()) >= 0) {
    check(avcodec_send_packet(codec.get(), packet.get()), "decoding");
    av_packet_unref(packet.get());
    receive_frames(codec.get(), frame.get(), video);
  }
  check(avcodec_send_packet(codec.get(), nullptr), "decoding");
  receive_frames(codec.get(), frame.get(), video);
  return video;
}

}  // namespace wan::test
