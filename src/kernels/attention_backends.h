#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace wan::kernels {

/// Everything that the program knows of one attention backend. q, out: [queries, heads, head_dim]; k, v:
/// [keys, heads, head_dim], with the strides that attention() allows.
struct AttentionRow {
  std::string_view name;         ///< as --attention and the records write it
  std::string_view description;  ///< for --help: the kernel's origin, and the inputs that it takes
  /// `automatic` considers the row only for at least this many keys.
  std::int64_t automatic_from_keys = 0;
  /// Whether it can compute such inputs in this build on this machine.
  bool (*takes)(const at::Device& device, at::ScalarType type, std::int64_t head_dim) = nullptr;
  /// A kernel that allocates its result; null for one that writes to a given place.
  at::Tensor (*attend)(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) = nullptr;
  /// A kernel that writes to a given place; null for one that allocates its result. `last_repeats` is
  /// 1 unless `counts_repeats`.
  void (*attend_into)(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      std::int64_t last_repeats) = nullptr;
  /// Whether attend_into lets the last key and value count several times. Other kernels get them several
  /// times.
  bool counts_repeats = false;
};

/// The table of attention backends. `automatic` chooses the first row that takes the inputs.
std::span<const AttentionRow> attention_rows();

}  // namespace wan::kernels
