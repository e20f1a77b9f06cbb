#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace wan::kernels {

/// The kernel that computes attention: the number of a row of the table in attention_backends.cpp, or
/// `automatic`. The choice is made here, never by ATen's dispatch. On compute capability 9.x, ATen could
/// choose a kernel of half the speed.
enum class AttentionBackend : std::int8_t {
  automatic = -1,  ///< the backend that attention_backend_for() returns
};

/// All rows of the table, in the order in which `automatic` tries them.
std::vector<AttentionBackend> attention_backends();

/// The backend's name, as --attention and the records write it.
std::string_view to_string(AttentionBackend backend);

/// The backend named `name`. Throws UsageError with the list of names.
AttentionBackend parse_attention_backend(std::string_view name);

/// The names that parse_attention_backend() accepts, each with a description, for --help.
std::string describe_attention_backends();

/// The backend that `automatic` chooses for inputs on `device` in `type` with this many keys: the first row
/// of the table that takes them. The last row, the reference, takes everything (heads of toy models, for
/// example).
AttentionBackend attention_backend_for(const at::Device& device, at::ScalarType type, std::int64_t head_dim,
                                       std::int64_t keys);

/// All backends that can compute attention for such inputs, in this build on this machine.
std::vector<AttentionBackend> available_attention_backends(const at::Device& device, at::ScalarType type,
                                                           std::int64_t head_dim);

/// Throws UsageError unless `backend` can compute attention for such inputs. The message lists the backends
/// that can. `automatic` always can.
void require_attention_backend(AttentionBackend backend, const at::Device& device, at::ScalarType type,
                               std::int64_t head_dim);

/// softmax(q k^T / sqrt(head_dim)) v, no mask. On the CPU a query's bits depend on that query, the keys and
/// the values of its head only. q: [queries, heads, head_dim]; k, v: [keys, heads, head_dim].
/// The elements of a head must be neighbours in memory; other strides are free. Returns [queries, heads,
/// head_dim]. The last key and value count `last_repeats` times, as if k and v had that many more rows less
/// one. Throws UsageError if `backend` cannot take these inputs.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     AttentionBackend backend = AttentionBackend::automatic, std::int64_t last_repeats = 1);

/// The same, written to `out`: [queries, heads, head_dim] in q's type. Tokens and heads lie at multiples of
/// 16 bytes.
void attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   AttentionBackend backend = AttentionBackend::automatic);

/// The same as plain tensor operations, in the inputs' type. Tests compare the fast kernels with it.
at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace wan::kernels
