#include "media/ffmpeg.h"

#include <array>
#include <mutex>

#include "core/check.h"

namespace wan::media {
namespace {

template <typename Pointer>
Pointer checked(Pointer pointer, const char* what) {
  if (!pointer) fail("out of memory making an FFmpeg {}", what);
  return pointer;
}

}  // namespace

FramePtr make_frame() { return checked(FramePtr(av_frame_alloc()), "frame"); }

PacketPtr make_packet() { return checked(PacketPtr(av_packet_alloc()), "packet"); }

CodecPtr make_codec_context(const AVCodec* codec) {
  return checked(CodecPtr(avcodec_alloc_context3(codec)), "codec context");
}

std::string error_text(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  if (av_strerror(code, text.data(), text.size()) != 0) return fmt::format("FFmpeg error {}", code);
  return text.data();
}

std::string ffmpeg_version() { return av_version_info(); }

void silence_ffmpeg() {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_level(AV_LOG_QUIET); });
}

}  // namespace wan::media
