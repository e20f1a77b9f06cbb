#include "kernels/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"
#include "kernels/cuda/attention.h"
#include "kernels/device.h"
#include "kernels/row_limits.h"

namespace wan::kernels {
namespace {

struct Name {
  AttentionBackend backend;
  std::string_view text;
};
constexpr std::array<Name, 5> names{{{AttentionBackend::automatic, "automatic"},
                                     {AttentionBackend::cudnn, "cudnn"},
                                     {AttentionBackend::flashinfer, "flashinfer"},
                                     {AttentionBackend::math, "math"},
                                     {AttentionBackend::reference, "reference"}}};

constexpr std::int64_t cudnn_max_head_dim = 128;
constexpr std::int64_t flashinfer_least_keys = 2048;

/// [rows, heads, head_dim] -> [1, heads, rows, head_dim], a view.
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

/// [1, heads, rows, head_dim] -> [rows, heads, head_dim], a view.
at::Tensor rows_first(const at::Tensor& x) { return x.squeeze(0).transpose(0, 1); }

bool is_available(AttentionBackend backend, const at::Device& device, at::ScalarType type,
                  std::int64_t head_dim) {
  switch (backend) {
    case AttentionBackend::cudnn:
      return device.is_cuda() && (type == at::kBFloat16 || type == at::kHalf) && head_dim % 8 == 0 &&
             head_dim <= cudnn_max_head_dim;
    case AttentionBackend::flashinfer:
      if constexpr (with_cuda) return device.is_cuda() && cuda::has_flashinfer(device, type, head_dim);
      return false;
    case AttentionBackend::math:
      return !device.is_cuda() || fits_efficient_attention(type, head_dim);
    default:
      return true;
  }
}

at::Tensor attend_cudnn(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return rows_first(std::get<0>(at::_scaled_dot_product_cudnn_attention(
      heads_first(q), heads_first(k), heads_first(v), /*attn_bias=*/{}, /*compute_log_sumexp=*/false)));
}

at::Tensor attend_math(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (!q.is_cuda()) {
    return rows_first(at::scaled_dot_product_attention(heads_first(q), heads_first(k), heads_first(v)));
  }
  return rows_first(std::get<0>(at::_scaled_dot_product_efficient_attention(
      heads_first(q), heads_first(k), heads_first(v), /*attn_bias=*/{}, /*compute_log_sumexp=*/false)));
}

void check_available(AttentionBackend backend, const at::Tensor& q) {
  require_attention_backend(backend, q.device(), q.scalar_type(), q.size(2));
}

}  // namespace

std::string_view to_string(AttentionBackend backend) {
  return std::ranges::find(names, backend, &Name::backend)->text;
}

AttentionBackend parse_attention_backend(std::string_view name) {
  const auto* const found = std::ranges::find(names, name, &Name::text);
  if (found == names.end()) {
    fail<UsageError>(
        "attention backend '{}' is not known; one of automatic, cudnn, flashinfer, math, reference", name);
  }
  return found->backend;
}

AttentionBackend attention_backend_for(const at::Device& device, at::ScalarType type, std::int64_t head_dim,
                                       std::int64_t keys) {
  if (keys >= flashinfer_least_keys && is_available(AttentionBackend::flashinfer, device, type, head_dim))
    return AttentionBackend::flashinfer;
  for (const AttentionBackend backend : {AttentionBackend::cudnn, AttentionBackend::math})
    if (is_available(backend, device, type, head_dim)) return backend;
  return AttentionBackend::reference;
}

std::vector<AttentionBackend> available_attention_backends(const at::Device& device, at::ScalarType type,
                                                           std::int64_t head_dim) {
  std::vector<AttentionBackend> result;
  for (const Name& name : names) {
    if (name.backend != AttentionBackend::automatic && is_available(name.backend, device, type, head_dim)) {
      result.push_back(name.backend);
    }
  }
  return result;
}

void require_attention_backend(AttentionBackend backend, const at::Device& device, at::ScalarType type,
                               std::int64_t head_dim) {
  if (is_available(backend, device, type, head_dim)) return;
  std::string others;
  for (const AttentionBackend other : available_attention_backends(device, type, head_dim)) {
    others += fmt::format("{}{}", others.empty() ? "" : ", ", to_string(other));
  }
  fail<UsageError>(
      "attention backend '{}' cannot take {} with head_dim {} on {} in this build; available: {}",
      to_string(backend), at::toString(type), head_dim, device.str(), others);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     AttentionBackend backend) {
  if (backend == AttentionBackend::automatic) {
    backend = attention_backend_for(q.device(), q.scalar_type(), q.size(2), k.size(0));
  }
  check_available(backend, q);
  switch (backend) {
    case AttentionBackend::cudnn:
      return attend_cudnn(q, k, v);
    case AttentionBackend::flashinfer:
      if constexpr (with_cuda) {
        at::Tensor out = at::empty(q.sizes(), q.options());  // [queries, heads, head_dim]
        cuda::flashinfer_attention_out(out, q, k, v);
        return out;
      }
      break;
    case AttentionBackend::reference:
      return attention_reference(q, k, v);
    default:
      break;
  }
  return attend_math(q, k, v);
}

void attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   AttentionBackend backend) {
  if (backend == AttentionBackend::automatic)
    backend = attention_backend_for(q.device(), q.scalar_type(), q.size(2), k.size(0));
  if constexpr (with_cuda) {
    if (backend == AttentionBackend::flashinfer) {
      check_available(backend, q);
      cuda::flashinfer_attention_out(out, q, k, v);
      return;
    }
  }
  out.copy_(attention(q, k, v, backend));  // ATen's kernels choose their own place
}

at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  const at::Tensor scores =
      at::matmul(q.transpose(0, 1), k.permute({1, 2, 0})) * scale;  // [heads, queries, keys]
  return at::matmul(at::softmax(scores, -1), v.transpose(0, 1))
      .transpose(0, 1);  // [queries, heads, head_dim]
}

}  // namespace wan::kernels
