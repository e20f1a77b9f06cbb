#include "parallel/unit_weights.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/check.h"
#include "parallel/tensor_bytes.h"

namespace wan::parallel {
namespace {

constexpr int gather_slots = 2;

/// One tensor per parameter, as views of the unit's flat buffer.
std::vector<at::Tensor> parameter_views(const checkpoint::UnitLayout& unit, const at::Tensor& flat) {
  std::vector<at::Tensor> views;
  for (const checkpoint::Parameter& parameter : unit.parameters) {
    views.push_back(flat.narrow(0, parameter.offset, parameter.elements()).view(parameter.shape));
  }
  return views;
}

/// Reads the part of a unit's flat buffer that begins at `first` into `slice`; what lies beyond the unit's
/// end is left alone.
void read_slice(const checkpoint::UnitLayout& unit, std::int64_t first, std::span<float> slice,
                const ParameterReader& read) {
  const std::int64_t last = first + static_cast<std::int64_t>(slice.size());
  for (const checkpoint::Parameter& parameter : unit.parameters) {
    const std::int64_t from = std::max(first, parameter.offset);
    const std::int64_t to = std::min(last, parameter.offset + parameter.elements());
    if (from >= to) continue;
    read(parameter, from - parameter.offset,
         slice.subspan(static_cast<std::size_t>(from - first), static_cast<std::size_t>(to - from)));
  }
}

}  // namespace

std::int64_t shard_elements(const checkpoint::UnitLayout& unit, int ranks) {
  return (unit.elements() + ranks - 1) / ranks;
}

ResidentWeights::ResidentWeights(const std::vector<checkpoint::UnitLayout>& units,
                                 const ParameterReader& read) {
  for (const checkpoint::UnitLayout& unit : units) {
    const at::Tensor flat = at::empty({unit.elements()}, at::kFloat);  // [elements]
    read_slice(unit, 0, floats_of(flat), read);
    views_.push_back(parameter_views(unit, flat));
  }
}

void ResidentWeights::begin(int /*unit*/) {}
std::span<const at::Tensor> ResidentWeights::weights(int unit) {
  return views_.at(static_cast<std::size_t>(unit));
}
void ResidentWeights::end(int /*unit*/) {}

ShardedWeights::ShardedWeights(std::vector<checkpoint::UnitLayout> units, const ParameterReader& read,
                               comm::Communicator& group)
    : units_(std::move(units)), group_(group), slots_(gather_slots) {
  std::int64_t largest = 0;
  for (const checkpoint::UnitLayout& unit : units_) {
    const std::int64_t elements = shard_elements(unit, group.size());
    const at::Tensor shard = at::zeros({elements}, at::kFloat);  // [unit elements / ranks]
    read_slice(unit, elements * group.rank(), floats_of(shard), read);
    shards_.push_back(shard);
    largest = std::max(largest, elements * group.size());
  }
  for (Slot& slot : slots_) slot.flat = at::empty({largest}, at::kFloat);
}

void ShardedWeights::begin(int unit) {
  WAN_CHECK(unit >= 0 && unit < static_cast<int>(units_.size()), "unit {} of {}", unit, units_.size());
  const auto free = std::ranges::find(slots_, -1, &Slot::unit);
  WAN_CHECK(free != slots_.end(), "unit {} asked for while {} others are whole", unit, gather_slots);
  free->unit = unit;
  const at::Tensor& shard = shards_[static_cast<std::size_t>(unit)];
  const at::Tensor whole = free->flat.narrow(0, 0, shard.numel() * group_.size());
  free->views = parameter_views(units_[static_cast<std::size_t>(unit)], whole);
  free->ticket = group_.all_gather(bytes_of(shard), writable_bytes_of(whole));
}

std::span<const at::Tensor> ShardedWeights::weights(int unit) {
  Slot& slot = slot_of(unit);
  slot.ticket.wait();
  return slot.views;
}

void ShardedWeights::end(int unit) {
  Slot& slot = slot_of(unit);
  slot.views.clear();
  slot.unit = -1;
}

ShardedWeights::Slot& ShardedWeights::slot_of(int unit) {
  const auto slot = std::ranges::find(slots_, unit, &Slot::unit);
  WAN_CHECK(slot != slots_.end(), "unit {} was not begun", unit);
  return *slot;
}

}  // namespace wan::parallel
