#include "parallel/unit_upload.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "parallel/weight_shards.h"

namespace wan::parallel {
namespace {

/// Elements [first, first + out.numel()) of a parameter that the GPU changes.
void upload_merged(const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out,
                   const DeviceMerge& merge, gpu::Upload& upload) {
  merge.prepare(parameter, out.device());
  const at::ScalarType type = merge.base_type(parameter, out.scalar_type());
  const at::Tensor base = type == out.scalar_type() ? out : at::empty(out.sizes(), out.options().dtype(type));
  upload.fill(base,
              [&](std::int64_t at, const at::Tensor& host) { merge.read_base(parameter, first + at, host); });
  merge.merge(parameter, first, base, out);
}

}  // namespace

void upload_unit(const checkpoint::UnitLayout& unit, std::int64_t first, const at::Tensor& out,
                 const ParameterReader& read, gpu::Upload& upload) {
  const std::int64_t end = first + out.numel();
  std::int64_t next = first;  // everything before it is on its way
  const auto upload_until = [&](std::int64_t to) {
    if (next == to) return;
    upload.fill(out.narrow(0, next - first, to - next),
                [&](std::int64_t at, const at::Tensor& host) { read_unit(unit, next + at, host, read); });
    next = to;
  };
  if (const DeviceMerge* merge = read.on_gpu()) {
    for (const checkpoint::Parameter& parameter : unit.parameters) {
      const std::int64_t from = std::max(first, parameter.offset);
      const std::int64_t to = std::min(end, parameter.offset + parameter.elements());
      if (from >= to || !merge->makes(parameter, out.device(), out.scalar_type())) continue;
      upload_until(from);
      upload_merged(parameter, from - parameter.offset, out.narrow(0, from - first, to - from), *merge,
                    upload);
      next = to;
    }
  }
  upload_until(end);
}

}  // namespace wan::parallel
