#include "sample/euler.h"

#include <ATen/ATen.h>

namespace wan::sample {

at::Tensor Euler::step(int i, const at::Tensor& x, const at::Tensor& velocity) {
  return x + velocity * (schedule_.sigmas[i + 1] - schedule_.sigmas[i]);
}

}  // namespace wan::sample
