#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/tensor_file.h"

namespace wan::checkpoint {

/// Reads the header of one safetensors file (model.md 1.6), and nothing but the header. Every entry's range
/// is then known to be inside the file, of shape x dtype bytes, and neither overlapping another nor leaving a
/// hole. Throws UsageError naming file, tensor, what was found and what was expected.
std::vector<TensorEntry> read_safetensors(const UniqueFd& file, const std::filesystem::path& path);

/// A tensor to write: row-major contiguous, bytes.size() == elements x size of dtype.
struct TensorView {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes a safetensors file, replacing what is at `path`; whoever calls gives a temporary name and publishes
/// it. Wider types come first, so that every tensor is aligned to its elements. Throws Error: shape and bytes
/// do not agree, a name occurs twice, or the file cannot be written.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors);

}  // namespace wan::checkpoint
