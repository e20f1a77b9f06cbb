#include "kernels/cuda/normalization.h"

#include <ATen/ATen.h>

#include "core/check.h"
#include "kernels/cuda/arguments.h"

namespace wan::kernels::cuda {
namespace {

void check_residual_stream(const at::Tensor& x, const char* kernel) {
  check_rows(x, kernel);
  WAN_CHECK(x.scalar_type() == at::kFloat && x.is_contiguous(),
            "GPU kernel {}: the residual stream must be contiguous fp32, not {}", kernel,
            at::toString(x.scalar_type()));
}

/// A residual with dense operands, as the launchers need it.
Residual dense_residual(const at::Tensor& x, const Residual& residual, const char* kernel) {
  element_of(residual.y, kernel);
  Residual result{.y = dense(residual.y, residual.y.scalar_type(), x.numel(), x, kernel), .gate = {}};
  if (residual.gate.defined()) result.gate = dense(residual.gate, at::kFloat, x.size(1), x, kernel);
  return result;
}

/// Null if nobody asks.
int* overflow_of(const at::Tensor& x, const Residual& residual, const char* kernel) {
  const at::Tensor& overflow = residual.overflow;
  if (!overflow.defined()) return nullptr;
  WAN_CHECK(overflow.scalar_type() == at::kInt && overflow.numel() == 1 && overflow.device() == x.device(),
            "GPU kernel {}: the mark of an overflow is one int32 on the device of the rows", kernel);
  return overflow.mutable_data_ptr<int>();
}

const float* gate_of(const Residual& residual) {
  return residual.gate.defined() ? residual.gate.const_data_ptr<float>() : nullptr;
}

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const Residual& residual, const AffineNorm& norm) {
  const char* const kernel = residual.y.defined() ? "add_gated_layer_norm" : "layer_norm";
  check_residual_stream(x, kernel);
  const at::ScalarType parameter_type = norm.around_one ? at::kFloat : norm.weight.scalar_type();
  const at::Tensor weight = dense(norm.weight, parameter_type, x.size(1), x, kernel);  // [dim]
  const at::Tensor bias = dense(norm.bias, parameter_type, x.size(1), x, kernel);      // [dim]
  at::Tensor out = norm.out.rows;                                                      // [tokens, dim]
  if (!out.defined()) out = at::empty(x.sizes(), x.options().dtype(norm.out.type));
  WAN_CHECK(
      out.sizes() == x.sizes() && out.is_contiguous() && out.device() == x.device(),
      "GPU kernel {}: the result's rows must be contiguous, and as many and as long as those of the input",
      kernel);
  if (x.size(0) == 0) return out;
  LayerNormRows rows{.x = x.mutable_data_ptr<float>(),
                     .weight = weight.const_data_ptr(),
                     .bias = bias.const_data_ptr(),
                     .parameter_type = element_of(weight, kernel),
                     .around_one = norm.around_one,
                     .round_norm = norm.round_norm,
                     .out = out.mutable_data_ptr(),
                     .out_type = element_of(out, kernel),
                     .tokens = x.size(0),
                     .dim = static_cast<int>(x.size(1)),
                     .eps = static_cast<float>(norm.eps)};
  Residual added;
  if (residual.y.defined()) {
    added = dense_residual(x, residual, kernel);
    rows.residual = added.y.const_data_ptr();
    rows.residual_type = element_of(added.y, kernel);
    rows.gate = gate_of(added);
    rows.overflow = overflow_of(x, residual, kernel);
  }
  const DeviceStream device(x);
  check_launch(launch_layer_norm(rows, device.stream()), kernel);
  return out;
}

void add_gated(const at::Tensor& x, const Residual& residual) {
  const char* const kernel = "add_gated";
  check_residual_stream(x, kernel);
  if (x.size(0) == 0) return;
  const Residual added = dense_residual(x, residual, kernel);
  const DeviceStream device(x);
  check_launch(launch_add_gated({.x = x.mutable_data_ptr<float>(),
                                 .residual = added.y.const_data_ptr(),
                                 .residual_type = element_of(added.y, kernel),
                                 .gate = gate_of(added),
                                 .tokens = x.size(0),
                                 .dim = static_cast<int>(x.size(1))},
                                device.stream()),
               kernel);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const char* const kernel = "rms_norm";
  check_rows(x, kernel);
  const at::Tensor weights = dense(weight, x.scalar_type(), x.size(1), x, kernel);  // [dim]
  at::Tensor out = at::empty(x.sizes(), x.options());                               // [tokens, dim]
  if (x.size(0) == 0) return out;
  const DeviceStream device(x);
  check_launch(launch_rms_norm({.x = x.const_data_ptr(),
                                .x_stride = x.stride(0),
                                .weight = weights.const_data_ptr(),
                                .out = out.mutable_data_ptr(),
                                .type = element_of(x, kernel),
                                .tokens = x.size(0),
                                .dim = static_cast<int>(x.size(1)),
                                .eps = static_cast<float>(eps)},
                               device.stream()),
               kernel);
  return out;
}

}  // namespace wan::kernels::cuda
