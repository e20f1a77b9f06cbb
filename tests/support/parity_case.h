#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/safetensors.h"
#include "core/file.h"
#include "model/request_values.h"
#include "wan/request.h"

namespace wan::test {

/// All tensors of a safetensors file, by name, in the types F32, BF16, I32 and U8.
inline std::map<std::string, at::Tensor> load_tensors(const std::filesystem::path& path) {
  const UniqueFd file = open_regular_file(path);
  std::map<std::string, at::Tensor> tensors;
  for (const checkpoint::TensorEntry& entry : checkpoint::read_safetensors(file, path)) {
    const at::ScalarType type = entry.dtype == checkpoint::DType::f32    ? at::kFloat
                                : entry.dtype == checkpoint::DType::bf16 ? at::kBFloat16
                                : entry.dtype == checkpoint::DType::i32  ? at::kInt
                                                                         : at::kByte;
    const at::Tensor tensor = at::empty(entry.shape, type);
    read_at(file, path, entry.begin_byte, {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()});
    tensors.emplace(entry.name, tensor);
  }
  return tensors;
}

/// Norm of the difference over norm of the expectation.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
  const at::Tensor wide = expected.to(at::kDouble);
  return ((actual.to(at::kDouble) - wide).norm() / wide.norm()).item<double>();
}

/// Share of elements that have the same value.
inline double equal_share(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return 0.0;
  return (actual.to(at::kDouble) == expected.to(at::kDouble)).to(at::kDouble).mean().item<double>();
}

/// Fraction of values that differ by more than one level.
inline double fraction_off_by_more_than_one(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return 1.0;
  return ((actual.to(at::kInt) - expected.to(at::kInt)).abs() > 1).to(at::kDouble).mean().item<double>();
}

/// One case of tests/data/parity: its folder, its request and its expected tensors.
struct ParityCase {
  std::filesystem::path folder;
  Request request;
  std::map<std::string, at::Tensor> expected;

  bool has(const std::string& name) const { return expected.contains(name); }
  const at::Tensor& tensor(const std::string& name) const { return expected.at(name); }
  at::Tensor final_latent() const {
    return tensor("step." + std::to_string(request.sample_steps - 1) + ".latent");
  }
};

/// `name`: of a folder of tests/data/parity.
ParityCase load_parity_case(const std::string& name);

}  // namespace wan::test
