// SHA-256 by FFmpeg and by the processor's instructions.
#include "core/checksum.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/sha256_instructions.h"

extern "C" {
#include <libavutil/mem.h>
#include <libavutil/sha.h>
}

namespace wan {
namespace {

std::array<std::uint8_t, 32> of_ffmpeg(std::span<const std::byte> data) {
  const std::unique_ptr<AVSHA, decltype(&av_free)> state(av_sha_alloc(), av_free);
  av_sha_init(state.get(), 256);
  av_sha_update(state.get(), reinterpret_cast<const std::uint8_t*>(data.data()), data.size());
  std::array<std::uint8_t, 32> digest{};
  av_sha_final(state.get(), digest.data());
  return digest;
}

/// Examples of FIPS 180-4.
TEST(Checksum, IsTheStandards) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Checksum, IsTheSameByTheProcessorsInstructions) {
  if (!Sha256Instructions::are_there()) GTEST_SKIP() << "this processor has none";
  std::vector<std::byte> data(400);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 131 + 7);
  for (std::size_t size = 0; size <= data.size(); ++size) {
    const auto whole = std::span(data).first(size);
    const std::array<std::uint8_t, 32> expected = of_ffmpeg(whole);
    for (const std::size_t cut : {std::size_t{0}, size / 3, size / 2, size}) {
      Sha256Instructions parts;
      parts.update(whole.first(cut));
      parts.update(whole.subspan(cut));
      ASSERT_EQ(parts.finish(), expected) << size << " bytes, cut at " << cut;
    }
  }
}

}  // namespace
}  // namespace wan
