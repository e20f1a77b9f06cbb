#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/tensor_file.h"

namespace wan::checkpoint {

/// Reads the header of one safetensors file (model.md 1.6), and only the header. It checks that every entry's
/// range is inside the file, has shape x dtype bytes, and that the ranges neither overlap nor leave a gap.
/// Throws UsageError with file, tensor, the value found and the value expected.
std::vector<TensorEntry> read_safetensors(const UniqueFd& file, const std::filesystem::path& path);

/// The texts of a safetensors file's __metadata__, by name: 1000 at most, without those of more than 4096
/// bytes. Throws UsageError as read_safetensors() does for a header that is not well formed.
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

/// A tensor to write: row-major contiguous, bytes.size() == elements x size of dtype.
struct TensorView {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes a safetensors file and replaces a file at `path`. The caller passes a temporary name and publishes
/// the file. Tensors of wider types come first, so that every tensor is aligned to its elements. Throws
/// Error: shape and bytes do not agree, a name occurs twice, or the file cannot be written.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors);

}  // namespace wan::checkpoint
