#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace wan::kernels {

/// Whose kernel computes attention: a row of the table in attention_backends.cpp, by number, or `automatic`.
/// The choice is made here, never by ATen's dispatch, which on compute capability 9.x could fall back to a
/// kernel of half the speed.
enum class AttentionBackend : std::int8_t {
  automatic = -1,  ///< the backend that attention_backend_for() returns
};

/// All rows of the table, in the order in which `automatic` asks them.
std::vector<AttentionBackend> attention_backends();

/// The backend's name, as --attention and the records write it.
std::string_view to_string(AttentionBackend backend);

/// The backend of that name. Throws UsageError with the names there are.
AttentionBackend parse_attention_backend(std::string_view name);

/// The names that parse_attention_backend() takes, each with a description, for --help.
std::string describe_attention_backends();

/// What `automatic` means for inputs on `device` in `type` with that many keys: the first row of the table
/// that takes them. The last row, the reference, takes everything (heads of toy models, for example).
AttentionBackend attention_backend_for(const at::Device& device, at::ScalarType type, std::int64_t head_dim,
                                       std::int64_t keys);

/// All that can compute attention for such inputs, in this build on this machine.
std::vector<AttentionBackend> available_attention_backends(const at::Device& device, at::ScalarType type,
                                                           std::int64_t head_dim);

/// Throws UsageError, with the names of those that can, unless `backend` can compute attention for such
/// inputs; `automatic` always can.
void require_attention_backend(AttentionBackend backend, const at::Device& device, at::ScalarType type,
                               std::int64_t head_dim);

/// softmax(q k^T / sqrt(head_dim)) v, no mask. q: [queries, heads, head_dim]; k, v: [keys, heads, head_dim],
/// any strides but of a head's elements, which are neighbours. Returns [queries, heads, head_dim]. Throws
/// UsageError when `backend` cannot take these inputs.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     AttentionBackend backend = AttentionBackend::automatic);

/// The same into `out`: [queries, heads, head_dim], dense, in q's type.
void attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   AttentionBackend backend = AttentionBackend::automatic);

/// The same written out, in the inputs' type: what fast versions are held to.
at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace wan::kernels
