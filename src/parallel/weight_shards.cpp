#include "parallel/weight_shards.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/check.h"
#include "gpu/memory.h"

namespace wan::parallel {
namespace {

/// Reads the part of a unit's flat buffer that begins at `first` into `slice`. Elements beyond the unit's end
/// become zero.
void read_slice(const checkpoint::UnitLayout& unit, std::int64_t first, const at::Tensor& slice,
                const ParameterReader& read) {
  const std::int64_t last = first + slice.numel();
  for (const checkpoint::Parameter& parameter : unit.parameters) {
    const std::int64_t from = std::max(first, parameter.offset);
    const std::int64_t to = std::min(last, parameter.offset + parameter.elements());
    if (from < to) read(parameter, from - parameter.offset, slice.narrow(0, from - first, to - from));
  }
  const std::int64_t used = std::clamp<std::int64_t>(unit.elements() - first, 0, slice.numel());
  slice.narrow(0, used, slice.numel() - used).zero_();
}

}  // namespace

std::int64_t shard_elements(const checkpoint::UnitLayout& unit, int ranks) {
  return (unit.elements() + ranks - 1) / ranks;
}

WeightArena::WeightArena(const std::vector<checkpoint::UnitLayout>& units, int parts,
                         const kernels::Compute& compute) {
  for (const checkpoint::UnitLayout& unit : units)
    slices_.push_back(at::empty({shard_elements(unit, parts)}, compute.options()));
}

void WeightArena::bring_in(const std::vector<at::Tensor>& host_slices) {
  if (held_ == &host_slices) return;
  WAN_CHECK(host_slices.size() == slices_.size(), "an arena of {} units for a model of {}", slices_.size(),
            host_slices.size());
  for (std::size_t unit = 0; unit < slices_.size(); ++unit)
    slices_[unit].copy_(host_slices[unit], /*non_blocking=*/true);
  held_ = &host_slices;
}

WeightShards::WeightShards(std::vector<checkpoint::UnitLayout> units, const ParameterReader& read, int parts,
                           int part, const kernels::Compute& compute, std::shared_ptr<WeightArena> arena)
    : units_(std::move(units)), compute_(compute), arena_(std::move(arena)) {
  for (const checkpoint::UnitLayout& unit : units_) {
    const std::int64_t elements = shard_elements(unit, parts);
    slices_.push_back(arena_ && compute.on_gpu() ? gpu::make_pinned({elements}, compute.type)
                                                 : at::empty({elements}, compute.options()));
    read_slice(unit, elements * part, slices_.back(), read);
  }
}

void WeightShards::bring_in() {
  if (arena_) arena_->bring_in(slices_);
}

const at::Tensor& WeightShards::slice(int unit) const {
  return (arena_ ? arena_->slices() : slices_).at(static_cast<std::size_t>(unit));
}

std::int64_t WeightShards::bytes() const {
  std::int64_t bytes = 0;
  for (const at::Tensor& slice : slices_) bytes += static_cast<std::int64_t>(slice.nbytes());
  return bytes;
}

}  // namespace wan::parallel
