#pragma once

#include <memory>
#include <string>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/frame.h>
#include <libswscale/swscale.h>
}

namespace wan::media {

/// Frees FFmpeg's objects, each by its own function.
struct FfmpegDeleter {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};
using FramePtr = std::unique_ptr<AVFrame, FfmpegDeleter>;
using PacketPtr = std::unique_ptr<AVPacket, FfmpegDeleter>;
using CodecPtr = std::unique_ptr<AVCodecContext, FfmpegDeleter>;
using ScalerPtr = std::unique_ptr<SwsContext, FfmpegDeleter>;

/// Each makes an empty object; throws Error when memory runs out.
FramePtr make_frame();
PacketPtr make_packet();
CodecPtr make_codec_context(const AVCodec* codec);

/// The library's text for an AVERROR code.
std::string error_text(int code);

/// The FFmpeg version that is linked, "5.1.9-0+deb12u1".
std::string ffmpeg_version();

/// Keeps FFmpeg's own log lines off the terminal: what matters of them is in our messages. Sets libav's
/// process-wide level, at the first call only; called by everything in this layer that uses FFmpeg.
void silence_ffmpeg();

}  // namespace wan::media
