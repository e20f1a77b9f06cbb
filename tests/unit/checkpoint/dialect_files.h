#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"

namespace wan::checkpoint::test {

/// One tensor to write, with its bytes.
struct WrittenTensor {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

using WrittenTensors = std::map<std::string, WrittenTensor>;

/// A file's tensors, from any dialect: floats as F32, or BF16 where the file has it.
WrittenTensors tensors_of(const Checkpoint& file);

void write_file(const std::filesystem::path& path, const WrittenTensors& tensors);

/// A line of tests/data/checkpoint/dialect_names.tsv.
struct NamePair {
  std::string theirs;
  std::string official;
};

/// The lines of a part: "transformer", "vae21", "vae22", "umt5" or "clip".
std::vector<NamePair> names_of(std::string_view part);

/// Official tensors under the names, and in the shapes, of a library.
WrittenTensors in_dialect(const WrittenTensors& official, std::string_view part);

/// The parts of a parity case as a Diffusers repository, with config files as save_pretrained() writes them.
/// Every part of the case is converted.
void write_repository(const std::string& parity_case, const std::filesystem::path& root);

/// A header without its data: the file's end is a hole. `shapes`: of tensors of this type.
void write_headers_only(const std::filesystem::path& path,
                        const std::map<std::string, std::vector<std::int64_t>>& shapes,
                        std::string_view dtype = "BF16");

}  // namespace wan::checkpoint::test
