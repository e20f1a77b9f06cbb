#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

#include "core/check.h"

namespace wan::parallel {

/// The memory of a contiguous tensor, as an argument of collectives.
inline std::span<std::byte> writable_bytes_of(const at::Tensor& tensor) {
  WAN_CHECK(tensor.is_contiguous(), "a collective's buffer must be contiguous");
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

inline std::span<const std::byte> bytes_of(const at::Tensor& tensor) { return writable_bytes_of(tensor); }

inline std::span<float> floats_of(const at::Tensor& tensor) {
  WAN_CHECK(tensor.is_contiguous(), "not contiguous");
  return {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

}  // namespace wan::parallel
