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

/// Frees each kind of FFmpeg object with its own function.
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

/// Each function makes an empty object. Throws Error if memory runs out.
FramePtr make_frame();
PacketPtr make_packet();
CodecPtr make_codec_context(const AVCodec* codec);

/// The library's text for an AVERROR code.
std::string error_text(int code);

/// The version of the linked FFmpeg, "5.1.9-0+deb12u1".
std::string ffmpeg_version();

/// Keeps FFmpeg's own log lines off the terminal: our messages contain what the user needs from them. Sets
/// libav's process-wide log level at the first call only. Everything in this layer that uses FFmpeg calls it.
void silence_ffmpeg();

}  // namespace wan::media
