#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/dtype.h"
#include "core/file.h"

namespace wan::checkpoint {

/// More dimensions than any model here has; what a file says beyond it is refused before it is stored.
inline constexpr std::size_t max_dimensions = 16;
/// About 200 times what a model here has; bounds the memory that a hostile file can ask for.
inline constexpr std::size_t max_tensors_per_file = 200'000;

/// One tensor of a checkpoint file, of either format: where its elements lie. Its bytes are known to be
/// inside the file.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> stride;  ///< in elements; row-major contiguous unless a .pth says otherwise
  std::filesystem::path file;
  std::uint64_t begin_byte = 0;  ///< of the first element, from the file's beginning
  bool negated = false;  ///< the elements have the other sign than the stored ones (torch's negative bit)
  std::int64_t elements() const;
};

/// Product of the dimensions; nothing if one is negative or if the product (zeros counted as ones, so that
/// every stride is covered too) exceeds 2^63-1.
std::optional<std::int64_t> checked_elements(std::span<const std::int64_t> shape);

/// Strides of a row-major contiguous tensor, in elements, for a shape that checked_elements() accepts.
std::vector<std::int64_t> contiguous_stride(std::span<const std::int64_t> shape);

/// Whether the elements lie row-major without gaps (strides of dimensions of size 1 do not count).
bool is_contiguous(const TensorEntry& entry);

std::string shape_text(std::span<const std::int64_t> shape);  ///< "[5120, 4096]"

/// A name out of a file, in single quotes, fit for a message: at most 120 bytes of it, unprintable ones
/// escaped.
std::string in_quotes(std::string_view name);

/// Opens a checkpoint's file for reading; throws UsageError with path and reason.
UniqueFd open_checkpoint_file(const std::filesystem::path& path);

/// Size of an open file; throws UsageError.
std::uint64_t file_size_bytes(const UniqueFd& file, const std::filesystem::path& path);

}  // namespace wan::checkpoint
