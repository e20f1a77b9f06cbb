#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string_view>

namespace wan::vae {

/// Receives intermediate results of each chunk by name ("conv1", "downsamples.0", ...), for parity tests: [T,
/// h, W, C], this part's rows. A value that the probe keeps is not overwritten.
using Probe = std::function<void(std::string_view name, const at::Tensor& value)>;

}  // namespace wan::vae
