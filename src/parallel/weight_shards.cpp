#include "parallel/weight_shards.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "gpu/memory.h"
#include "parallel/weight_loading.h"

namespace wan::parallel {

void read_unit(const checkpoint::UnitLayout& unit, std::int64_t first, const at::Tensor& out,
               const ParameterReader& read) {
  const std::int64_t last = first + out.numel();
  for (const checkpoint::Parameter& parameter : unit.parameters) {
    const std::int64_t from = std::max(first, parameter.offset);
    const std::int64_t to = std::min(last, parameter.offset + parameter.elements());
    if (from < to) read(parameter, from - parameter.offset, out.narrow(0, from - first, to - from));
  }
  const std::int64_t used = std::clamp<std::int64_t>(unit.elements() - first, 0, out.numel());
  out.narrow(0, used, out.numel() - used).zero_();
}

std::int64_t shard_elements(const checkpoint::UnitLayout& unit, int ranks) {
  return (unit.elements() + ranks - 1) / ranks;
}

std::int64_t piece_elements(std::int64_t slice_elements, int readers) {
  constexpr std::int64_t alignment = 256;
  if (readers == 1) return slice_elements;
  const std::int64_t even = (slice_elements + readers - 1) / readers;
  return (even + alignment - 1) / alignment * alignment;
}

WeightArena::WeightArena(const std::vector<checkpoint::UnitLayout>& units, int parts,
                         const kernels::Compute& compute, int readers)
    : options_(compute.options()), held_(units.size()) {
  for (const checkpoint::UnitLayout& unit : units) {
    slice_elements_.push_back(shard_elements(unit, parts));
    landing_elements_.push_back(readers * piece_elements(slice_elements_.back(), readers));
  }
  reserve();
  if (compute.on_gpu()) copies_ = std::make_unique<gpu::BackgroundCopies>(units.size());
}

void WeightArena::reserve() {
  if (!landings_.empty()) return;
  std::vector<at::Tensor> landings;  // all or none, because there may be room for some only
  landings.reserve(landing_elements_.size());
  for (const std::int64_t elements : landing_elements_) landings.push_back(at::empty({elements}, options_));
  landings_ = std::move(landings);
  for (std::size_t unit = 0; unit < landings_.size(); ++unit)
    slices_.push_back(landings_[unit].narrow(0, 0, slice_elements_[unit]));
  ++generation_;
}

/// The memory may be used anew in the order of the compute stream, so that stream waits for the copies.
void WeightArena::release() {
  for (std::size_t unit = 0; unit < held_.size(); ++unit) await(unit);
  slices_.clear();
  landings_.clear();
  std::ranges::fill(held_, nullptr);
}

void WeightArena::bring(std::size_t unit, const HostSlices& host) {
  if (held_.at(unit) == &host) return;
  WAN_CHECK(host.size() == slices_.size(), "an arena of {} units for a model of {}", slices_.size(),
            host.size());
  held_[unit] = nullptr;
  if (copies_) {
    copies_->start(unit, slices_[unit], host[unit]);
  } else {
    slices_[unit].copy_(host[unit]);
  }
  held_[unit] = &host;
}

void WeightArena::await(std::size_t unit) {
  if (copies_) copies_->await(unit);
}

void WeightArena::forget(const HostSlices& host) noexcept {
  if (copies_) copies_->finish();  // a copy that another one has followed may still read them, too
  std::ranges::replace(held_, &host, static_cast<const HostSlices*>(nullptr));
}

WeightShards::WeightShards(std::vector<checkpoint::UnitLayout> units, WeightShare share,
                           const kernels::Compute& compute, std::shared_ptr<WeightArena> arena)
    : units_(std::move(units)), share_(std::move(share)), compute_(compute), arena_(std::move(arena)) {
  const int readers = share_.reader_count();
  for (const checkpoint::UnitLayout& unit : units_) {
    const std::int64_t elements = shard_elements(unit, share_.parts);
    const auto on_host = [&] {
      return compute.on_gpu() ? gpu::make_pinned({elements}, compute.type)
                              : at::empty({elements}, compute.options());
    };
    if (lands_in_arena()) {
      slices_.push_back(on_host());
      continue;
    }
    landings_.push_back(arena_ ? on_host()
                               : at::empty({readers * piece_elements(elements, readers)}, compute.options()));
    slices_.push_back(landings_.back().narrow(0, 0, elements));
  }
}

WeightShards::WeightShards(std::vector<checkpoint::UnitLayout> units, const ParameterReader& read, int parts,
                           int part, const kernels::Compute& compute, std::shared_ptr<WeightArena> arena)
    : WeightShards(std::move(units), WeightShare{.parts = parts, .part = part}, compute, std::move(arena)) {
  WeightLoading(std::vector<WeightLoading::Model>{{.shards = this, .read = read}}).finish(nullptr);
}

WeightShards::~WeightShards() { forget(); }

void WeightShards::bring_in() {
  if (!arena_) return;
  arena_->reserve();
  for (std::size_t unit = 0; unit < slices_.size(); ++unit) arena_->bring(unit, slices_);
}

void WeightShards::bring(int unit) {
  if (arena_) arena_->bring(static_cast<std::size_t>(unit), slices_);
}

bool WeightShards::is_coming(int unit) const {
  return arena_ && arena_->is_coming(static_cast<std::size_t>(unit));
}

void WeightShards::await(int unit) {
  if (arena_) arena_->await(static_cast<std::size_t>(unit));
}

void WeightShards::forget() noexcept {
  if (arena_) arena_->forget(slices_);
}

void WeightShards::reserve() {
  if (arena_) arena_->reserve();
}

void WeightShards::release() {
  if (arena_) arena_->release();
}

const at::Tensor& WeightShards::slice(int unit) const {
  return (arena_ ? arena_->slices() : slices_).at(static_cast<std::size_t>(unit));
}

const at::Tensor& WeightShards::landing(int unit) const {
  return (lands_in_arena() ? arena_->landings() : landings_).at(static_cast<std::size_t>(unit));
}

void WeightShards::keep(int unit) {
  if (!lands_in_arena()) return;
  const auto at = static_cast<std::size_t>(unit);
  slices_[at].copy_(arena_->slices()[at], /*non_blocking=*/true);
}

std::int64_t WeightShards::bytes(const std::vector<bool>& of_units) const {
  std::int64_t bytes = 0;
  for (std::size_t unit = 0; unit < slices_.size(); ++unit)
    if (of_units.at(unit)) bytes += static_cast<std::int64_t>(slices_[unit].nbytes());
  return bytes;
}

std::int64_t WeightShards::bytes() const {
  std::int64_t bytes = 0;
  for (const at::Tensor& slice : slices_) bytes += static_cast<std::int64_t>(slice.nbytes());
  return bytes;
}

}  // namespace wan::parallel
