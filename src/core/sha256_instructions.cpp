#include "core/sha256_instructions.h"

#include <algorithm>
#include <vector>

#include "core/check.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace wan {
namespace {

#if defined(__x86_64__)

alignas(16) constexpr std::array<std::uint32_t, 64> round_constants{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

[[gnu::target("sha,sse4.1,ssse3")]] __m128i load(const void* from) {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

/// FIPS 180-4, 6.2.2, for whole blocks. The instructions keep the state as ABEF and CDGH.
[[gnu::target("sha,sse4.1,ssse3")]] void add_blocks(std::array<std::uint32_t, 8>& state,
                                                    std::span<const std::byte> blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  const __m128i badc = _mm_shuffle_epi32(load(state.data()), 0xB1);
  const __m128i hgfe = _mm_shuffle_epi32(load(state.data() + 4), 0x1B);
  __m128i abef = _mm_alignr_epi8(badc, hgfe, 8);
  __m128i cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);
  for (std::size_t at = 0; at < blocks.size(); at += 64) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i words[4];  // NOLINT(modernize-avoid-c-arrays): a std::array of vectors loses their alignment
    for (std::size_t i = 0; i < 4; ++i)
      words[i] = _mm_shuffle_epi8(load(blocks.data() + at + 16 * i), big_endian);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < 16; ++i) {  // four rounds each
      __m128i& own = words[i % 4];
      const __m128i sum = _mm_add_epi32(own, load(round_constants.data() + 4 * i));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
      const __m128i last = words[(i + 3) % 4];
      const __m128i seven_before = _mm_alignr_epi8(last, words[(i + 2) % 4], 4);
      own = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(own, words[(i + 1) % 4]), seven_before),
                                 last);
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data()), _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data() + 4), _mm_alignr_epi8(dchg, feba, 8));
}

#else

void add_blocks(std::array<std::uint32_t, 8>& /*state*/, std::span<const std::byte> /*blocks*/) {
  fail("this processor has no instructions for SHA-256");
}

#endif

}  // namespace

bool Sha256Instructions::are_there() {
#if defined(__x86_64__)
  static const bool found = [] {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    const bool is_known = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0;
    return is_known && (b & (1U << 29)) != 0 && __builtin_cpu_supports("sse4.1") != 0;
  }();
  return found;
#else
  return false;
#endif
}

void Sha256Instructions::update(std::span<const std::byte> data) {
  const std::size_t held = bytes_ % block_bytes;
  bytes_ += data.size();
  if (held > 0) {
    const auto head = data.first(std::min(data.size(), block_bytes - held));
    std::ranges::copy(head, rest_.begin() + static_cast<std::ptrdiff_t>(held));
    data = data.subspan(head.size());
    if (held + head.size() < block_bytes) return;
    add_blocks(state_, rest_);
  }
  const std::size_t whole = data.size() / block_bytes * block_bytes;
  if (whole > 0) add_blocks(state_, data.first(whole));
  std::ranges::copy(data.subspan(whole), rest_.begin());
}

std::array<std::uint8_t, 32> Sha256Instructions::finish() {
  const std::uint64_t bits = bytes_ * 8;
  const std::size_t held = bytes_ % block_bytes;
  std::vector<std::byte> end((held < 56 ? 56 : 120) - held + 8);  // one bit, zeros, the length
  end.front() = std::byte{0x80};
  for (std::size_t i = 0; i < 8; ++i) end[end.size() - 1 - i] = static_cast<std::byte>(bits >> (8 * i));
  update(end);
  std::array<std::uint8_t, 32> digest{};
  for (std::size_t i = 0; i < digest.size(); ++i)
    digest[i] = static_cast<std::uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return digest;
}

}  // namespace wan
