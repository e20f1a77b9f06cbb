#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string_view>

namespace wan::vae {

/// Receives intermediate results of each chunk by name ("conv1", "downsamples.0", ...), for parity tests: [C,
/// T, h, W], this part's rows.
using Probe = std::function<void(std::string_view name, const at::Tensor& value)>;

}  // namespace wan::vae
