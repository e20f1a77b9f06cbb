#include "kernels/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "kernels/attention_backends.h"
#include "kernels/linear.h"

namespace wan::kernels {
namespace {

constexpr std::string_view automatic_name = "automatic";

const AttentionRow& row_of(AttentionBackend backend) {
  return attention_rows()[static_cast<std::size_t>(backend)];
}

AttentionBackend backend_of(const AttentionRow& row) {
  return static_cast<AttentionBackend>(&row - attention_rows().data());
}

/// "math, reference": the names of the rows that take such inputs.
std::string names_of(const std::vector<AttentionBackend>& backends) {
  std::string names;
  for (const AttentionBackend backend : backends) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", to_string(backend));
  }
  return names;
}

/// The row that computes these inputs. Throws UsageError if `backend` does not take them.
const AttentionRow& row_for(AttentionBackend backend, const at::Tensor& q, const at::Tensor& k) {
  if (backend == AttentionBackend::automatic) {
    backend = attention_backend_for(q.device(), q.scalar_type(), q.size(2), k.size(0));
  }
  require_attention_backend(backend, q.device(), q.scalar_type(), q.size(2));
  return row_of(backend);
}

/// k or v [keys, heads, head_dim] with the last row `repeats` times.
at::Tensor repeat_last(const at::Tensor& rows, std::int64_t repeats) {
  const at::Tensor last = rows.narrow(0, rows.size(0) - 1, 1);  // [1, heads, head_dim]
  return at::cat({rows, last.expand({repeats - 1, -1, -1})});   // [keys + repeats - 1, heads, head_dim]
}

}  // namespace

std::vector<AttentionBackend> attention_backends() {
  std::vector<AttentionBackend> backends;
  for (const AttentionRow& row : attention_rows()) backends.push_back(backend_of(row));
  return backends;
}

std::string_view to_string(AttentionBackend backend) {
  return backend == AttentionBackend::automatic ? automatic_name : row_of(backend).name;
}

AttentionBackend parse_attention_backend(std::string_view name) {
  if (name == automatic_name) return AttentionBackend::automatic;
  const auto rows = attention_rows();
  const auto found = std::ranges::find(rows, name, &AttentionRow::name);
  if (found != rows.end()) return backend_of(*found);
  fail<UsageError>("attention backend '{}' is not known; one of {}, {}", name, automatic_name,
                   names_of(attention_backends()));
}

std::string describe_attention_backends() {
  std::string text = fmt::format("{}, the first of the following that takes the inputs", automatic_name);
  for (const AttentionRow& row : attention_rows())
    text += fmt::format("; {} ({})", row.name, row.description);
  return text;
}

AttentionBackend attention_backend_for(const at::Device& device, at::ScalarType type, std::int64_t head_dim,
                                       std::int64_t keys) {
  for (const AttentionRow& row : attention_rows()) {
    if (keys >= row.automatic_from_keys && row.takes(device, type, head_dim)) return backend_of(row);
  }
  fail("internal: no attention backend takes everything");
}

std::vector<AttentionBackend> available_attention_backends(const at::Device& device, at::ScalarType type,
                                                           std::int64_t head_dim) {
  std::vector<AttentionBackend> backends = attention_backends();
  std::erase_if(backends,
                [&](AttentionBackend backend) { return !row_of(backend).takes(device, type, head_dim); });
  return backends;
}

void require_attention_backend(AttentionBackend backend, const at::Device& device, at::ScalarType type,
                               std::int64_t head_dim) {
  if (backend == AttentionBackend::automatic || row_of(backend).takes(device, type, head_dim)) return;
  fail<UsageError>(
      "attention backend '{}' cannot take {} with head_dim {} on {} in this build; available: {}",
      to_string(backend), at::toString(type), head_dim, device.str(),
      names_of(available_attention_backends(device, type, head_dim)));
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, AttentionBackend backend,
                     std::int64_t last_repeats) {
  const AttentionRow& row = row_for(backend, q, k);
  if (last_repeats > 1 && !row.counts_repeats) {
    return attention(q, repeat_last(k, last_repeats), repeat_last(v, last_repeats), backend);
  }
  if (row.attend != nullptr) return row.attend(q, k, v);
  at::Tensor out = at::empty(q.sizes(), q.options());  // [queries, heads, head_dim]
  row.attend_into(out, q, k, v, last_repeats);
  return out;
}

void attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   AttentionBackend backend) {
  const AttentionRow& row = row_for(backend, q, k);
  if (row.attend_into != nullptr) {
    row.attend_into(out, q, k, v, /*last_repeats=*/1);
  } else {
    out.copy_(row.attend(q, k, v));
  }
}

at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  const at::Tensor scores =
      batched_product(q.transpose(0, 1), k.permute({1, 2, 0})) * scale;  // [heads, queries, keys]
  return batched_product(at::softmax(scores, -1), v.transpose(0, 1))
      .transpose(0, 1);  // [queries, heads, head_dim]
}

}  // namespace wan::kernels
