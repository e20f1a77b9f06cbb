#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace wan::checkpoint {

/// Element types that a checkpoint may contain (model.md 1.6). f8_e4m3 has no infinities ("e4m3fn").
enum class DType { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean, f8_e4m3, f8_e5m2 };

std::size_t size_bytes(DType dtype);
bool is_floating(DType dtype);
bool is_fp8(DType dtype);
std::string_view to_string(DType dtype);  ///< the safetensors name: "F32", "BF16", "BOOL"
/// Parses a safetensors name. Returns nothing if it is not one of these names.
std::optional<DType> parse_dtype(std::string_view name);

/// Whether no element is infinite or NaN. `source`: elements of a floating-point type, at any alignment.
bool all_finite(DType dtype, std::span<const std::byte> source);

float float_from_f16(std::uint16_t bits);     ///< exact, subnormals, infinities and NaN included
float float_from_bf16(std::uint16_t bits);    ///< exact
float float_from_f8_e4m3(std::uint8_t bits);  ///< exact; 0x7F and 0xFF are NaN
float float_from_f8_e5m2(std::uint8_t bits);  ///< exact
/// Rounds to nearest, ties to even. Overflow gives infinity; every NaN gives the quiet NaN 0x7FC0 (as in
/// LibTorch).
std::uint16_t bf16_from_float(float value);

/// Converts little-endian elements to float: fp8, f16 and bf16 are widened, f32 is copied, f64 is rounded.
/// `source` holds exactly out.size() elements, at any alignment. Throws Error for a type that is not
/// floating-point.
void convert_to_float(DType dtype, std::span<const std::byte> source, std::span<float> out);

/// Converts to bfloat16 bits: bf16 is copied, fp8 is widened, f32 and f16 are rounded once, f64 is first
/// converted to float.
void convert_to_bf16(DType dtype, std::span<const std::byte> source, std::span<std::uint16_t> out);

}  // namespace wan::checkpoint
