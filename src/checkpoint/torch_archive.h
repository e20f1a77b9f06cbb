#pragma once

#include <filesystem>
#include <vector>

#include "checkpoint/tensor_file.h"

namespace wan::checkpoint {

/// Reads what a file written by torch.save() holds (model.md 1.7): the zip directory and data.pkl, no tensor
/// data. No code in the file is run. Every entry's elements are known to be inside its storage and its
/// storage inside the file; strides and storage offsets are those of the file, several entries may share a
/// storage. Throws UsageError naming file, tensor or byte, what was found and what was expected.
std::vector<TensorEntry> read_torch_archive(const UniqueFd& file, const std::filesystem::path& path);

}  // namespace wan::checkpoint
