#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "kernels/cpu/instruction_set.h"

namespace wan::kernels::cpu {

/// e^x to about 2 units of the last place: 2^n times a polynomial (Cephes, expf). Written out, because the C
/// library's function takes one value at a time. x is limited to -87.3 ... 88.3; NaN stays NaN.
WAN_INLINE float exponential(float x) {
  constexpr float least = -87.3F;
  constexpr float most = 88.3F;
  constexpr float log2_e = std::numbers::log2e_v<float>;
  constexpr float ln2_high = 0.693359375F;  // NOLINT(modernize-use-std-numbers): ln 2 in two parts
  constexpr float ln2_low = -2.12194440e-4F;
  constexpr float rounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < least ? least : x;
  x = x > most ? most : x;
  const float shifted = x * log2_e + rounder;
  const float n = shifted - rounder;
  const float r = (x - n * ln2_high) - n * ln2_low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) << 23U) + 0x3f800000U;
  return p * std::bit_cast<float>(exponent);
}

WAN_INLINE double exponential(double x) { return std::exp(x); }

}  // namespace wan::kernels::cpu
