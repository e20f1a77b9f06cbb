#include "media/png_text.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "media/exif.h"
#include "media/ffmpeg.h"

namespace wan::media {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t largest_text_bytes = 1U << 20U;
constexpr std::size_t largest_compressed_bytes = 64U << 10U;  // becomes at most 1,032 times as large

void append_chunk(std::vector<std::uint8_t>& png, std::string_view type, ByteView data) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    png.push_back(static_cast<std::uint8_t>(data.size() >> static_cast<unsigned>(shift)));
  }
  png.insert(png.end(), type.begin(), type.end());
  png.insert(png.end(), data.begin(), data.end());
  png.insert(png.end(), 4, 0);  // a CRC that nothing checks
}

/// Decompresses a zlib stream. FFmpeg has no such function, but its PNG decoder returns the text chunks of a
/// picture. So this function makes a picture of one pixel with a text chunk.
std::string inflated(ByteView stream) {
  constexpr std::array<std::uint8_t, 13> header{0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0};  // 1x1, gray, 8 bits
  // The row "no filter, black", stored without compression.
  constexpr std::array<std::uint8_t, 13> row{0x78, 0x01, 0x01, 2, 0, 0xFD, 0xFF, 0, 0, 0, 2, 0, 1};
  constexpr auto key = "note"sv;
  std::vector<std::uint8_t> note(key.begin(), key.end());
  note.insert(note.end(), 2, 0);  // end of the key, then the compression method
  note.insert(note.end(), stream.begin(), stream.end());
  constexpr auto signature = "\x89PNG\r\n\x1a\n"sv;
  std::vector<std::uint8_t> png(signature.begin(), signature.end());
  append_chunk(png, "IHDR", header);
  append_chunk(png, "zTXt", note);
  append_chunk(png, "IDAT", row);
  append_chunk(png, "IEND", {});

  const AVCodec* decoder = avcodec_find_decoder_by_name("png");
  if (decoder == nullptr) return {};
  const CodecPtr codec = make_codec_context(decoder);
  codec->thread_count = 1;
  const PacketPtr packet = make_packet();
  const FramePtr frame = make_frame();
  if (avcodec_open2(codec.get(), decoder, nullptr) < 0) return {};
  if (av_new_packet(packet.get(), static_cast<int>(png.size())) < 0) return {};
  std::ranges::copy(png, packet->data);
  if (avcodec_send_packet(codec.get(), packet.get()) < 0) return {};
  if (avcodec_receive_frame(codec.get(), frame.get()) < 0) return {};
  const AVDictionaryEntry* found = av_dict_get(frame->metadata, std::string(key).c_str(), nullptr, 0);
  return found == nullptr ? std::string() : std::string(found->value).substr(0, largest_text_bytes);
}

/// The bytes after the next NUL.
std::optional<ByteView> behind_nul(ByteView bytes) {
  const auto end = std::ranges::find(bytes, 0);
  if (end == bytes.end()) return std::nullopt;
  return bytes.subspan(static_cast<std::size_t>(end - bytes.begin()) + 1);
}

}  // namespace

std::string png_text(ByteView chunk) {
  constexpr std::size_t overhead_bytes = 12;  // length, type, CRC
  if (chunk.size() < overhead_bytes) return {};
  std::optional<ByteView> rest =
      behind_nul(chunk.subspan(8, chunk.size() - overhead_bytes));  // skips the key
  bool compressed = has_text(chunk, 4, "zTXt");
  std::size_t marks = compressed ? 1 : 0;  // bytes before the text: flag and method
  if (rest && has_text(chunk, 4, "iTXt")) {
    if (rest->size() < 2) return {};
    compressed = (*rest)[0] != 0;
    rest = behind_nul(rest->subspan(2));  // language
    if (rest) rest = behind_nul(*rest);   // translated key
    marks = 0;
  }
  if (!rest || rest->size() < marks) return {};
  const ByteView text = rest->subspan(marks);
  if (text.size() > (compressed ? largest_compressed_bytes : largest_text_bytes)) return {};
  return compressed ? inflated(text) : std::string(as_text(text));
}

}  // namespace wan::media
