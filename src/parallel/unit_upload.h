#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "checkpoint/weight_source.h"
#include "gpu/upload.h"
#include "parallel/parameter_reader.h"

namespace wan::parallel {

/// Like read_unit(), for `out` on a GPU: fills it with elements [first, first + out.numel()) of the unit's
/// flat buffer, zeros behind its last. The values are in place in the order of the GPU's current stream.
void upload_unit(const checkpoint::UnitLayout& unit, std::int64_t first, const at::Tensor& out,
                 const ParameterReader& read, gpu::Upload& upload);

}  // namespace wan::parallel
