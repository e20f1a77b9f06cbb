#pragma once

#include <filesystem>
#include <vector>

#include "checkpoint/pickle.h"
#include "checkpoint/tensor_file.h"

namespace wan::checkpoint {

/// Reads the description of the tensors in a file written by torch.save() (model.md 1.7): the zip directory
/// and data.pkl, but no tensor data. Runs no code of the file. It checks that every entry's elements are
/// inside its storage and its storage is inside the file. Strides and storage offsets are the file's; several
/// entries may share a storage. Throws UsageError with file, tensor or byte, the value found and the value
/// expected.
std::vector<TensorEntry> read_torch_archive(const UniqueFd& file, const std::filesystem::path& path,
                                            StateDictLevel level = StateDictLevel::top);

}  // namespace wan::checkpoint
