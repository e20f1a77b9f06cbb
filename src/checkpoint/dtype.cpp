#include "checkpoint/dtype.h"

#include <array>
#include <bit>
#include <cstring>

#include "core/check.h"

namespace wan::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian and read in place");

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::size_t size_bytes;
};

constexpr std::array<DTypeInfo, 12> infos{{{DType::f64, "F64", 8},
                                           {DType::f32, "F32", 4},
                                           {DType::f16, "F16", 2},
                                           {DType::bf16, "BF16", 2},
                                           {DType::i64, "I64", 8},
                                           {DType::i32, "I32", 4},
                                           {DType::i16, "I16", 2},
                                           {DType::i8, "I8", 1},
                                           {DType::u8, "U8", 1},
                                           {DType::boolean, "BOOL", 1},
                                           {DType::f8_e4m3, "F8_E4M3", 1},
                                           {DType::f8_e5m2, "F8_E5M2", 1}}};

const DTypeInfo& info(DType dtype) { return infos.at(static_cast<std::size_t>(dtype)); }

/// Applies `convert` to each element. Copies each element out first, because a file does not align its
/// elements.
template <typename Stored, typename Out, typename Convert>
void convert_each(std::span<const std::byte> source, std::span<Out> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored element;
    std::memcpy(&element, source.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = convert(element);
  }
}

template <typename Out>
void copy_elements(std::span<const std::byte> source, std::span<Out> out) {
  if (!out.empty()) std::memcpy(out.data(), source.data(), source.size());
}

/// Whether no element has all bits of `mask`. No early end, so that the loop is one of vectors.
template <typename Stored>
bool none_has(std::span<const std::byte> source, Stored mask) {
  unsigned found = 0;
  for (std::size_t i = 0; i < source.size() / sizeof(Stored); ++i) {
    Stored element;
    std::memcpy(&element, source.data() + i * sizeof(Stored), sizeof(Stored));
    found |= static_cast<unsigned>((element & mask) == mask);
  }
  return found == 0;
}

void check_source(DType dtype, std::span<const std::byte> source, std::size_t elements) {
  WAN_CHECK(source.size() == elements * size_bytes(dtype), "{} bytes of {} for {} elements", source.size(),
            to_string(dtype), elements);
}

}  // namespace

std::size_t size_bytes(DType dtype) { return info(dtype).size_bytes; }

bool is_floating(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 ||
         is_fp8(dtype);
}

bool is_fp8(DType dtype) { return dtype == DType::f8_e4m3 || dtype == DType::f8_e5m2; }

std::string_view to_string(DType dtype) { return info(dtype).name; }

std::optional<DType> parse_dtype(std::string_view name) {
  for (const DTypeInfo& candidate : infos) {
    if (candidate.name == name) return candidate.dtype;
  }
  return std::nullopt;
}

bool all_finite(DType dtype, std::span<const std::byte> source) {
  switch (dtype) {
    case DType::f64:
      return none_has<std::uint64_t>(source, 0x7FF0'0000'0000'0000U);
    case DType::f32:
      return none_has<std::uint32_t>(source, 0x7F80'0000U);
    case DType::f16:
      return none_has<std::uint16_t>(source, 0x7C00U);
    case DType::bf16:
      return none_has<std::uint16_t>(source, 0x7F80U);
    case DType::f8_e4m3:  // NaN only
      return none_has<std::uint8_t>(source, 0x7FU);
    case DType::f8_e5m2:
      return none_has<std::uint8_t>(source, 0x7CU);
    default:
      fail("elements of type {} are not floating-point numbers", to_string(dtype));
  }
}

float float_from_f16(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, which a float represents exactly
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t float_exponent = exponent == 0x1F ? 0xFFU : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (float_exponent << 23) | (mantissa << 13));
}

float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

float float_from_f8_e4m3(std::uint8_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80U) << 24;
  const std::uint32_t exponent = (bits >> 3) & 0xFU;
  const std::uint32_t mantissa = bits & 0x7U;
  if ((bits & 0x7FU) == 0x7FU) return std::bit_cast<float>(sign | 0x7FC00000U);
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-9
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + (127 - 7)) << 23) | (mantissa << 20));
}

float float_from_f8_e5m2(std::uint8_t bits) {  // the upper half of an f16
  return float_from_f16(static_cast<std::uint16_t>(bits << 8));
}

std::uint16_t bf16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return 0x7FC0;
  const std::uint32_t ties_to_even = 0x7FFFU + ((bits >> 16) & 1U);
  return static_cast<std::uint16_t>((bits + ties_to_even) >> 16);
}

void convert_to_float(DType dtype, std::span<const std::byte> source, std::span<float> out) {
  check_source(dtype, source, out.size());
  switch (dtype) {
    case DType::f64:
      return convert_each<double>(source, out, [](double value) { return static_cast<float>(value); });
    case DType::f32:
      return copy_elements(source, out);
    case DType::f16:
      return convert_each<std::uint16_t>(source, out, float_from_f16);
    case DType::bf16:
      return convert_each<std::uint16_t>(source, out, float_from_bf16);
    case DType::f8_e4m3:
      return convert_each<std::uint8_t>(source, out, float_from_f8_e4m3);
    case DType::f8_e5m2:
      return convert_each<std::uint8_t>(source, out, float_from_f8_e5m2);
    default:
      fail("elements of type {} are not floating-point numbers", to_string(dtype));
  }
}

void convert_to_bf16(DType dtype, std::span<const std::byte> source, std::span<std::uint16_t> out) {
  check_source(dtype, source, out.size());
  switch (dtype) {
    case DType::f64:
      return convert_each<double>(source, out,
                                  [](double value) { return bf16_from_float(static_cast<float>(value)); });
    case DType::f32:
      return convert_each<float>(source, out, bf16_from_float);
    case DType::f16:
      return convert_each<std::uint16_t>(
          source, out, [](std::uint16_t bits) { return bf16_from_float(float_from_f16(bits)); });
    case DType::bf16:
      return copy_elements(source, out);
    case DType::f8_e4m3:
      return convert_each<std::uint8_t>(
          source, out, [](std::uint8_t bits) { return bf16_from_float(float_from_f8_e4m3(bits)); });
    case DType::f8_e5m2:
      return convert_each<std::uint8_t>(
          source, out, [](std::uint8_t bits) { return bf16_from_float(float_from_f8_e5m2(bits)); });
    default:
      fail("elements of type {} are not floating-point numbers", to_string(dtype));
  }
}

}  // namespace wan::checkpoint
