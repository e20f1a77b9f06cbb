#include "checkpoint/dtype.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "wan/error.h"

namespace wan::checkpoint {
namespace {

/// The value of IEEE half-precision bits by the definition.
double half_by_definition(std::uint16_t bits) {
  const double sign = (bits & 0x8000U) != 0 ? -1 : 1;
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  if (exponent == 31) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  return exponent == 0 ? sign * std::ldexp(mantissa, -24) : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(DType, NamesGoThereAndBack) {
  for (const DType dtype :
       {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64, DType::i32, DType::i16, DType::i8,
        DType::u8, DType::boolean, DType::f8_e4m3, DType::f8_e5m2}) {
    EXPECT_EQ(parse_dtype(to_string(dtype)), dtype);
  }
  EXPECT_EQ(parse_dtype("F8_E8M0"), std::nullopt);
  EXPECT_EQ(parse_dtype("f32"), std::nullopt);
  EXPECT_EQ(size_bytes(DType::bf16), 2U);
  EXPECT_EQ(size_bytes(DType::f64), 8U);
}

TEST(DType, EveryHalfIsExact) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const double expected = half_by_definition(static_cast<std::uint16_t>(bits));
    const float found = float_from_f16(static_cast<std::uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(found)) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(found), expected) << bits;
    }
    ASSERT_EQ(std::signbit(found), (bits & 0x8000U) != 0) << bits;
  }
}

TEST(DType, EveryBFloat16IsExactAndComesBack) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float value = float_from_bf16(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(value), bits << 16);
    ASSERT_EQ(bf16_from_float(value), std::isnan(value) ? 0x7FC0U : bits);
  }
}

TEST(DType, RoundsToTheNearestBFloat16AndTiesToEven) {
  std::mt19937 random(5);
  for (int i = 0; i < 200'000; ++i) {
    auto bits = static_cast<std::uint32_t>(random());
    if (i % 4 == 0) bits = (bits & 0xFFFF0000U) | 0x8000U;  // a tie
    const auto value = std::bit_cast<float>(bits);
    if (!std::isfinite(value)) continue;
    const auto below = static_cast<std::uint16_t>(bits >> 16);  // towards zero
    const auto above = static_cast<std::uint16_t>(below + 1);
    const double low = float_from_bf16(below);
    // One step beyond the largest finite number, where IEEE 754 rounds to infinity.
    const double high =
        std::isinf(float_from_bf16(above)) ? std::copysign(0x1p128, value) : float_from_bf16(above);
    const double to_low = std::abs(value - low);
    const double to_high = std::abs(high - value);
    const std::uint16_t expected = to_low < to_high   ? below
                                   : to_low > to_high ? above
                                   : below % 2 == 0   ? below
                                                      : above;
    ASSERT_EQ(bf16_from_float(value), expected) << std::hex << bits;
  }
  EXPECT_EQ(bf16_from_float(std::numeric_limits<float>::infinity()), 0x7F80);
  EXPECT_EQ(bf16_from_float(-std::numeric_limits<float>::infinity()), 0xFF80);
  EXPECT_EQ(bf16_from_float(std::numeric_limits<float>::max()), 0x7F80);
}

TEST(DType, ConvertsUnalignedSpansOfEveryFloatingType) {
  const std::array<double, 3> doubles{1.0, -0.1, 1e300};
  std::vector<std::byte> unaligned(1 + sizeof(doubles));
  std::memcpy(unaligned.data() + 1, doubles.data(), sizeof(doubles));
  std::array<float, 3> floats{};
  convert_to_float(DType::f64, std::span(unaligned).subspan(1), floats);
  EXPECT_EQ(floats[0], 1.0F);
  EXPECT_EQ(floats[1], -0.1F);
  EXPECT_TRUE(std::isinf(floats[2]));
  std::array<std::uint16_t, 3> rounded{};
  convert_to_bf16(DType::f64, std::span(unaligned).subspan(1), rounded);
  EXPECT_EQ(rounded[0], 0x3F80);
  const std::array<std::uint16_t, 2> halves{0x3C00, 0x0001};
  std::array<std::uint16_t, 2> bf16{};
  convert_to_bf16(DType::f16, std::as_bytes(std::span(halves)), bf16);
  EXPECT_EQ(bf16[0], 0x3F80);
  EXPECT_EQ(float_from_bf16(bf16[1]), 0x1p-24F);
}

TEST(DType, FindsEveryValueThatIsNotFinite) {
  for (const DType dtype :
       {DType::f64, DType::f32, DType::f16, DType::bf16, DType::f8_e4m3, DType::f8_e5m2}) {
    const std::size_t size = size_bytes(dtype);
    for (std::uint32_t upper = 0; upper <= 0xFFFF;
         ++upper) {  // the upper bits of the second of three elements
      if (size == 1 && upper > 0xFF) break;
      std::vector<std::byte> bytes(3 * size);
      std::memcpy(bytes.data() + 2 * size - std::min<std::size_t>(size, 2), &upper,
                  std::min<std::size_t>(size, 2));
      std::vector<float> values(3);
      convert_to_float(dtype, bytes, values);
      double second = values[1];
      if (dtype == DType::f64) std::memcpy(&second, bytes.data() + size, size);
      ASSERT_EQ(all_finite(dtype, bytes), std::isfinite(second)) << to_string(dtype) << ' ' << upper;
    }
  }
  EXPECT_TRUE(all_finite(DType::f32, {}));
  EXPECT_THROW(all_finite(DType::i16, {}), Error);
}

TEST(DType, RefusesIntegersAndWrongSizes) {
  const std::array<std::byte, 8> bytes{};
  std::array<float, 1> out{};
  EXPECT_THROW(convert_to_float(DType::i64, bytes, out), Error);
  EXPECT_THROW(convert_to_float(DType::f32, bytes, out), Error);
  std::array<std::uint16_t, 1> bf16{};
  EXPECT_THROW(convert_to_bf16(DType::boolean, std::span(bytes).first(1), bf16), Error);
}

}  // namespace
}  // namespace wan::checkpoint
