#include "kernels/cuda/attention.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>

#include <cmath>

#include "core/check.h"
#include "kernels/cuda/arguments.h"
#include "kernels/cuda/attention_sm90.h"
#include "kernels/cuda/flashinfer_sm90.h"

namespace wan::kernels::cuda {
namespace {

#ifdef WAN_WITH_FLASHINFER
constexpr bool with_flashinfer = true;
#else
constexpr bool with_flashinfer = false;
#endif

constexpr std::int64_t sm90_head_dim = 128;

/// Tensor memory accelerator descriptors want strides and addresses of 16 bytes; x: [tokens, heads,
/// head_dim].
bool is_tma_ready(const at::Tensor& x) {
  return x.stride(2) == 1 && x.stride(1) % row_multiple == 0 && x.stride(0) % row_multiple == 0 &&
         reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0;
}

at::Tensor tma_ready(const at::Tensor& x) {
  return is_tma_ready(x) ? x : x.clone(at::MemoryFormat::Contiguous);
}

HeadRows rows_of(const at::Tensor& x) {
  return {.data = x.data_ptr(), .token_stride = x.stride(0), .head_stride = x.stride(1)};
}

void check_shapes(const char* kernel, const at::Tensor& out, const at::Tensor& q, const at::Tensor& k,
                  const at::Tensor& v) {
  WAN_CHECK(k.sizes() == v.sizes() && q.size(1) == k.size(1) && q.size(2) == k.size(2) && k.size(0) > 0 &&
                k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type(),
            "{}: q is [{}, {}, {}], k [{}, {}, {}]", kernel, q.size(0), q.size(1), q.size(2), k.size(0),
            k.size(1), k.size(2));
  WAN_CHECK(out.sizes() == q.sizes() && is_tma_ready(out) && out.scalar_type() == q.scalar_type(),
            "{}: the result has the shape and type of q, and heads at multiples of 16 bytes", kernel);
}

/// Calls `launch` with the tensors' addresses and strides; the last key counts `last_repeats` times.
template <typename Launch>
void attend(const char* kernel, at::Tensor& out, const at::Tensor& q, const at::Tensor& k,
            const at::Tensor& v, std::int64_t last_repeats, const Launch& launch) {
  if (q.size(0) == 0) return;
  const at::Tensor query = tma_ready(q);
  const at::Tensor key = tma_ready(k);
  const at::Tensor value = tma_ready(v);
  const DeviceStream device(q);
  const AttentionCall call{.q = rows_of(query),
                           .k = rows_of(key),
                           .v = rows_of(value),
                           .out = rows_of(out),
                           .queries = static_cast<int>(q.size(0)),
                           .keys = static_cast<int>(k.size(0)),
                           .heads = static_cast<int>(q.size(1)),
                           .scale = 1.0F / std::sqrt(static_cast<float>(q.size(2))),
                           .last_repeats = static_cast<int>(last_repeats)};
  check_launch(launch(call, device.stream()), kernel);
}

}  // namespace

bool has_sm90_attention(const at::Device& device, at::ScalarType type, std::int64_t head_dim) {
  if (!with_flashinfer || type != at::kBFloat16 || head_dim != sm90_head_dim) return false;
  const cudaDeviceProp* properties = at::cuda::getDeviceProperties(device.index());
  return properties->major == 9 && properties->minor == 0;
}

void hopper_attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          std::int64_t last_repeats) {
  const char* const kernel = "Hopper attention";
  check_shapes(kernel, out, q, k, v);
  if constexpr (with_flashinfer) {
    attend(kernel, out, q, k, v, last_repeats, launch_attention_sm90);
  } else {
    fail("{}: this build has no CUTLASS (WAN_FLASHINFER_ROOT was not found when it was configured)", kernel);
  }
}

void flashinfer_attention_out(at::Tensor& out, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v) {
  const char* const kernel = "FlashInfer attention";
  check_shapes(kernel, out, q, k, v);
  if constexpr (with_flashinfer) {
    attend(kernel, out, q, k, v, 1, launch_flashinfer_sm90);
  } else {
    fail("{}: this build has no FlashInfer (WAN_FLASHINFER_ROOT was not found when it was configured)",
         kernel);
  }
}

}  // namespace wan::kernels::cuda
