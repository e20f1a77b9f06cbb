#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/weight_source.h"
#include "comm/communicator.h"
#include "parallel/exchange_memory.h"
#include "parallel/weight_shards.h"

namespace wan::parallel {

/// One tensor for each parameter, as views of the unit's flat buffer.
std::vector<at::Tensor> parameter_views(const checkpoint::UnitLayout& unit, const at::Tensor& flat);

/// Weights of which this rank holds every unit completely.
class ResidentWeights final : public checkpoint::WeightSource {
 public:
  /// `shards`: made with one part.
  explicit ResidentWeights(std::shared_ptr<WeightShards> shards);
  void begin(int unit) override;
  std::span<const at::Tensor> weights(int unit) override;
  void end(int unit) override;
  void settle() override {}

 private:
  /// One tensor for each parameter of a unit. They keep the memory that they were made from.
  struct Views {
    std::vector<at::Tensor> tensors;
    int generation = 0;
  };
  std::shared_ptr<WeightShards> shards_;
  std::vector<Views> units_;
};

/// The two buffers into which units are gathered. Models that never run at the same time share them.
class GatherBuffers {
 public:
  static constexpr std::size_t count = 2;

  /// Room for the largest of these units; reserve() takes it. `group` must outlive the buffers.
  GatherBuffers(const std::vector<checkpoint::UnitLayout>& units, comm::Communicator& group,
                const kernels::Compute& compute);

  /// Allocates the memory if that has not been done. The first call is collective over the group. So do not
  /// call it in constructors, which may fail on one rank alone.
  void reserve();
  /// Frees the memory. All ranks of the group must call it while no unit is gathered.
  void release();
  /// [largest padded unit]
  const at::Tensor& buffer(std::size_t index) const { return buffers_.at(index); }
  /// Whether a gather is faster if this rank's slice already lies in the buffer.
  bool gathers_in_place() const { return in_place_; }

 private:
  comm::Communicator& group_;
  kernels::Compute compute_;
  std::int64_t largest_ = 0;
  bool in_place_ = false;
  std::array<at::Tensor, count> buffers_;
};

/// Fully sharded weights, FSDP (model.md 8.1). begin() starts the gather of a whole unit into one of two
/// buffers: one for even units, one for odd units. weights() waits for it; end() releases the buffer. So at
/// most two units are whole at a time, and the next one travels while the current one computes.
class ShardedWeights final : public checkpoint::WeightSource {
 public:
  /// `shards`: this rank's, made with group.size() parts.
  ShardedWeights(std::shared_ptr<WeightShards> shards, comm::Communicator& group,
                 std::shared_ptr<GatherBuffers> buffers);
  void begin(int unit) override;
  std::span<const at::Tensor> weights(int unit) override;
  void end(int unit) override;
  void settle() override;

 private:
  struct Slot {
    int unit = -1;  ///< -1: free
    comm::Ticket ticket;
    std::vector<at::Tensor> views;
  };
  static std::size_t slot_index(int unit) { return static_cast<std::size_t>(unit) % GatherBuffers::count; }
  Slot& slot_of(int unit);

  std::shared_ptr<WeightShards> shards_;
  comm::Communicator& group_;
  std::shared_ptr<GatherBuffers> buffers_;
  std::array<Slot, GatherBuffers::count> slots_;
};

}  // namespace wan::parallel
