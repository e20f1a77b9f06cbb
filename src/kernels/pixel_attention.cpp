#include "kernels/pixel_attention.h"

#include "kernels/cuda/pixel_attention.h"
#include "kernels/device.h"

namespace wan::kernels {

bool fits_pixel_attention(const at::Tensor& query, const at::Tensor& key, bool tf32) {
  if constexpr (with_cuda) return cuda::fits_pixel_attention(query, key, tf32);
  return false;
}

void attend_pixels_out(const at::Tensor& out, const at::Tensor& query, const at::Tensor& key,
                       const at::Tensor& value) {
  if constexpr (with_cuda) cuda::attend_pixels_out(out, query, key, value);
}

}  // namespace wan::kernels
