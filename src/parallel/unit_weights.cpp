#include "parallel/unit_weights.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/check.h"
#include "parallel/tensor_bytes.h"

namespace wan::parallel {

std::vector<at::Tensor> parameter_views(const checkpoint::UnitLayout& unit, const at::Tensor& flat) {
  std::vector<at::Tensor> views;
  views.reserve(unit.parameters.size());
  for (const checkpoint::Parameter& parameter : unit.parameters) {
    views.push_back(flat.narrow(0, parameter.offset, parameter.elements()).view(parameter.shape));
  }
  return views;
}

ResidentWeights::ResidentWeights(std::shared_ptr<WeightShards> shards)
    : shards_(std::move(shards)), units_(shards_->units().size()) {}

void ResidentWeights::begin(int /*unit*/) {}

std::span<const at::Tensor> ResidentWeights::weights(int unit) {
  Views& of = units_.at(static_cast<std::size_t>(unit));
  if (of.tensors.empty() || of.generation != shards_->generation()) {
    of = {.tensors = parameter_views(shards_->units()[static_cast<std::size_t>(unit)], shards_->slice(unit)),
          .generation = shards_->generation()};
  }
  return of.tensors;
}

void ResidentWeights::end(int unit) {
  if (shards_->may_leave()) units_.at(static_cast<std::size_t>(unit)) = {};
}

GatherBuffers::GatherBuffers(const std::vector<checkpoint::UnitLayout>& units, comm::Communicator& group,
                             const kernels::Compute& compute)
    : group_(group), compute_(compute) {
  for (const checkpoint::UnitLayout& unit : units)
    largest_ = std::max(largest_, shard_elements(unit, group.size()) * group.size());
}

void GatherBuffers::reserve() {
  if (buffers_.front().defined()) return;
  ExchangeMemory memory(group_, std::vector<std::int64_t>(count, largest_), compute_);
  in_place_ = memory.is_special();
  std::array<at::Tensor, count> taken;  // all or none, because there may be room for the first only
  for (at::Tensor& buffer : taken) buffer = memory.take({largest_});
  buffers_ = std::move(taken);
}

void GatherBuffers::release() {
  for (at::Tensor& buffer : buffers_) buffer.reset();
}

ShardedWeights::ShardedWeights(std::shared_ptr<WeightShards> shards, comm::Communicator& group,
                               std::shared_ptr<GatherBuffers> buffers)
    : shards_(std::move(shards)), group_(group), buffers_(std::move(buffers)) {}

void ShardedWeights::begin(int unit) {
  WAN_CHECK(unit >= 0 && unit < static_cast<int>(shards_->units().size()), "unit {} of {}", unit,
            shards_->units().size());
  buffers_->reserve();
  Slot& slot = slots_.at(slot_index(unit));
  WAN_CHECK(slot.unit == -1, "unit {} asked for while unit {} is whole", unit, slot.unit);
  slot.unit = unit;
  const at::Tensor& slice = shards_->slice(unit);
  const at::Tensor whole =
      buffers_->buffer(slot_index(unit)).narrow(0, 0, slice.numel() * group_.size());  // [padded unit]
  slot.views = parameter_views(shards_->units()[static_cast<std::size_t>(unit)], whole);
  if (buffers_->gathers_in_place()) {
    const at::Tensor own = whole.narrow(0, slice.numel() * group_.rank(), slice.numel());
    own.copy_(slice);
    slot.ticket = group_.all_gather(bytes_of(own), writable_bytes_of(whole));
  } else {
    slot.ticket = group_.all_gather(bytes_of(slice), writable_bytes_of(whole));
  }
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

void ShardedWeights::settle() {
  for (Slot& slot : slots_) {
    slot.ticket.wait();
    slot.views.clear();
    slot.unit = -1;
  }
}

ShardedWeights::Slot& ShardedWeights::slot_of(int unit) {
  Slot& slot = slots_.at(slot_index(unit));
  WAN_CHECK(slot.unit == unit, "unit {} was not begun", unit);
  return slot;
}

}  // namespace wan::parallel
