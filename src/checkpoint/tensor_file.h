#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/dtype.h"
#include "core/file.h"

namespace wan::checkpoint {

/// More dimensions than any model here has. A file with more is refused before they are stored.
inline constexpr std::size_t max_dimensions = 16;
/// About 200 times the number in a model here. It limits the memory that a hostile file can request.
inline constexpr std::size_t max_tensors_per_file = 200'000;

/// One tensor of a checkpoint file of either format: where its elements lie. Its bytes were checked to be
/// inside the file.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> stride;  ///< in elements; row-major contiguous, except in some .pth files
  std::filesystem::path file;
  std::uint64_t begin_byte = 0;  ///< position of the first element, from the file's beginning
  bool negated = false;  ///< the elements have the opposite sign of the stored ones (torch's negative bit)
  /// Not empty: the elements are those of these tensors, one tensor after the other. `file` is then that of
  /// the first one, and `stride` and `begin_byte` say nothing.
  std::vector<TensorEntry> parts = {};
  /// Null, or the factors of fp8 weights: one, or one of each row. An element is then its stored value times
  /// the factor, rounded to bf16.
  std::shared_ptr<const TensorEntry> scale = nullptr;
  std::int64_t elements() const;
};

/// Product of the dimensions. Nothing if a dimension is negative or the product exceeds 2^63-1. That check
/// counts zeros as ones, so that it covers every stride, too.
std::optional<std::int64_t> checked_elements(std::span<const std::int64_t> shape);

/// Strides in elements of a row-major contiguous tensor, for a shape that checked_elements() accepts.
std::vector<std::int64_t> contiguous_stride(std::span<const std::int64_t> shape);

/// Whether the elements are row-major without gaps. Strides of dimensions of size 1 do not count.
bool is_contiguous(const TensorEntry& entry);

/// Whether the elements are those of the file, in row-major order without gaps.
bool is_stored_plainly(const TensorEntry& entry);

std::string shape_text(std::span<const std::int64_t> shape);  ///< "[5120, 4096]"

/// A name from a file, in single quotes, for a message: at most 120 bytes, with unprintable characters
/// escaped.
std::string in_quotes(std::string_view name);

/// Opens a checkpoint's file for reading. Throws UsageError with path and reason.
UniqueFd open_checkpoint_file(const std::filesystem::path& path);

/// Size of an open file. Throws UsageError.
std::uint64_t file_size_bytes(const UniqueFd& file, const std::filesystem::path& path);

}  // namespace wan::checkpoint
