#include "media/image.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/file.h"
#include "media/ffmpeg.h"
#include "media/image_container.h"
#include "media/pixels.h"

namespace wan::media {
namespace {

const char* decoder_name(ImageFormat format) {
  switch (format) {
    case ImageFormat::png:
      return "png";
    case ImageFormat::jpeg:
      return "mjpeg";
    case ImageFormat::webp:
      return "webp";
    case ImageFormat::bmp:
      return "bmp";
    case ImageFormat::gif:
      return "gif";
    case ImageFormat::tiff:
      return "tiff";
  }
  return "";
}

std::vector<std::uint8_t> read_bounded(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const UniqueFd file = open_regular_file(path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail("cannot stat {}: {}", path.string(), std::strerror(errno));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > max_bytes)
    fail("{} is {} bytes long; images up to {} bytes are read", path.string(), size, max_bytes);
  std::vector<std::uint8_t> bytes(size);
  read_at(file, path, 0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

void require_within(PixelSize size, const ImageLimits& limits) {
  const std::int64_t pixels = std::int64_t{size.width} * size.height;
  if (std::max(size.width, size.height) > limits.side_pixels || pixels > limits.pixels) {
    fail<ImageFormatError>("is {}x{} pixels; at most {} a side and {} in all are read: scale it down",
                           size.width, size.height, limits.side_pixels, limits.pixels);
  }
}

CodecPtr open_decoder(const ImageContainer& image) {
  // By name, so that FFmpeg does not choose a hardware decoder of the same format.
  const AVCodec* decoder = avcodec_find_decoder_by_name(decoder_name(image.format));
  if (decoder == nullptr) {
    fail("cannot be read: this machine's FFmpeg {} has no {} decoder; save the image as PNG",
         ffmpeg_version(), to_string(image.format));
  }
  CodecPtr codec = make_codec_context(decoder);
  codec->thread_count = 1;
  // The decoder counts the padding of its buffers as pixels.
  constexpr std::int64_t padding = 256;
  codec->max_pixels = (image.stored_size.width + padding) * (image.stored_size.height + padding);
  // A damaged picture is an error, not a picture that is half gray.
  codec->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
  codec->error_concealment = 0;
  codec->idct_algo = FF_IDCT_INT;  // libjpeg's integer transform; other decoders ignore the choice
  if (const int rc = avcodec_open2(codec.get(), decoder, nullptr); rc < 0) {
    fail("cannot be read: opening the {} decoder failed: {}", decoder->name, error_text(rc));
  }
  return codec;
}

/// FFmpeg's reason, if it has one. Several decoders return -1 for every error, which reads as "Operation not
/// permitted".
std::string reason_text(int code) {
  switch (code) {
    case AVERROR_EOF:
      return "no picture in it";
    case AVERROR(EPERM):
      return "its pixels cannot be decoded";
    default:
      return error_text(code);
  }
}

/// Lends the picture's bytes to a packet. Appends the padding that FFmpeg needs.
PacketPtr make_packet_of(std::vector<std::uint8_t>& picture) {
  PacketPtr packet = make_packet();
  const std::size_t size = picture.size();
  picture.resize(size + AV_INPUT_BUFFER_PADDING_SIZE);
  const auto keep = [](void* /*owner*/, std::uint8_t* /*bytes*/) {};
  packet->buf = av_buffer_create(picture.data(), picture.size(), keep, nullptr, AV_BUFFER_FLAG_READONLY);
  if (packet->buf == nullptr) fail("cannot be decoded: out of memory");
  packet->data = picture.data();
  packet->size = static_cast<int>(size);
  return packet;
}

FramePtr decode_frame(ImageContainer& image) {
  const CodecPtr codec = open_decoder(image);
  const PacketPtr packet = make_packet_of(image.picture);
  FramePtr frame = make_frame();
  int rc = avcodec_send_packet(codec.get(), packet.get());
  if (rc >= 0) rc = avcodec_send_packet(codec.get(), nullptr);
  if (rc >= 0) rc = avcodec_receive_frame(codec.get(), frame.get());
  if (rc == AVERROR(ENOMEM)) fail("cannot be decoded: out of memory");
  if (rc == AVERROR_PATCHWELCOME || rc == AVERROR(ENOSYS)) {
    fail<ImageFormatError>("is a {} file of a kind that FFmpeg {} does not decode; save it as PNG",
                           to_string(image.format), ffmpeg_version());
  }
  if (rc < 0) {
    fail<ImageFormatError>("is a damaged or truncated {} file: {}", to_string(image.format), reason_text(rc));
  }
  if (frame->decode_error_flags != 0 || (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0) {
    fail<ImageFormatError>("is a damaged or truncated {} file: its pixels cannot be decoded completely",
                           to_string(image.format));
  }
  if (PixelSize{frame->width, frame->height} != image.picture_size) {
    fail<ImageFormatError>("is a damaged {} file: its header says {}x{} pixels, its data {}x{}",
                           to_string(image.format), image.picture_size.width, image.picture_size.height,
                           frame->width, frame->height);
  }
  return frame;
}

Image decode(ImageContainer& image) {
  Image shown = [&] {
    const FramePtr frame = decode_frame(image);
    return rgb_from_frame(*frame, {.is_premultiplied = image.is_premultiplied,
                                   .is_full_range = image.format == ImageFormat::tiff,
                                   .inks = image.inks});
  }();
  image.picture = {};
  shown.transparency_dropped = shown.transparency_dropped || image.drops_transparency;
  if (image.picture_size != image.stored_size) {
    shown = on_canvas(std::move(shown), image.stored_size, image.left, image.top, image.background);
  }
  return oriented(std::move(shown), image.orientation);
}

ImageContainer read_container(const std::filesystem::path& path, const ImageLimits& limits) {
  // Packets count bytes in int and are padded.
  constexpr std::uint64_t largest_packet_bytes = 1ULL << 30U;
  std::vector<std::uint8_t> bytes = read_bounded(path, std::min(limits.file_bytes, largest_packet_bytes));
  try {
    ImageContainer image = parse_image_container(std::move(bytes));
    require_within(image.stored_size, limits);
    return image;
  } catch (const ImageFormatError& error) {
    fail("{} {}", path.string(), error.what());
  }
}

}  // namespace

Image read_image(const std::filesystem::path& path, const ImageLimits& limits) {
  silence_ffmpeg();
  try {
    ImageContainer image = read_container(path, limits);
    try {
      return decode(image);
    } catch (const Error& error) {
      fail("{} {}", path.string(), error.what());
    }
  } catch (const Error& error) {
    throw ItemError("image", error.what());
  }
}

PixelSize probe_image(const std::filesystem::path& path, const ImageLimits& limits) {
  silence_ffmpeg();
  try {
    const ImageContainer image = read_container(path, limits);
    const PixelSize size = image.stored_size;
    return image.orientation >= 5 ? PixelSize{size.height, size.width} : size;
  } catch (const Error& error) {
    throw ItemError("image", error.what());
  }
}

}  // namespace wan::media
