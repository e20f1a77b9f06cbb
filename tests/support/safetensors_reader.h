#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace wan::test {

/// Reads all tensors of a .safetensors file that the tests trust: F32, U8 and I32 only.
inline std::map<std::string, at::Tensor> read_safetensors(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path.string());
  file.exceptions(std::ios::failbit | std::ios::badbit);
  std::uint64_t header_bytes = 0;  // little-endian, as are all machines that run the tests
  file.read(reinterpret_cast<char*>(&header_bytes), sizeof header_bytes);
  std::string text(header_bytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  const std::map<std::string, at::ScalarType> types{
      {"F32", at::kFloat}, {"U8", at::kByte}, {"I32", at::kInt}};
  std::map<std::string, at::Tensor> tensors;
  const nlohmann::json header = nlohmann::json::parse(text);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    at::Tensor tensor = at::empty(entry.at("shape").get<std::vector<std::int64_t>>(),
                                  types.at(entry.at("dtype").get<std::string>()));
    const auto offsets = entry.at("data_offsets").get<std::vector<std::uint64_t>>();
    if (offsets.at(1) - offsets.at(0) != tensor.nbytes()) throw std::runtime_error("bad size of " + name);
    file.seekg(static_cast<std::streamoff>(sizeof header_bytes + header_bytes + offsets[0]));
    file.read(static_cast<char*>(tensor.data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

}  // namespace wan::test
