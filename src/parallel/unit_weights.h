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

/// One tensor per parameter, as views of the unit's flat buffer.
std::vector<at::Tensor> parameter_views(const checkpoint::UnitLayout& unit, const at::Tensor& flat);

/// Every unit whole on this rank.
class ResidentWeights final : public checkpoint::WeightSource {
 public:
  /// `shards`: of one part.
  explicit ResidentWeights(std::shared_ptr<WeightShards> shards);
  void begin(int unit) override;
  std::span<const at::Tensor> weights(int unit) override;
  void end(int unit) override;
  void settle() override {}

 private:
  std::shared_ptr<WeightShards> shards_;
  std::vector<std::vector<at::Tensor>> views_;  ///< per unit, one tensor per parameter
};

/// The two buffers into which units are gathered. Models that do not run at the same time share them.
class GatherBuffers {
 public:
  static constexpr std::size_t count = 2;

  /// Room for the largest of these units, taken by reserve(). `group` must outlive the buffers.
  GatherBuffers(const std::vector<checkpoint::UnitLayout>& units, comm::Communicator& group,
                const kernels::Compute& compute);

  /// Takes the memory unless it is there. Collective over the group the first time, so not for constructors,
  /// which may fail on one rank alone.
  void reserve();
  /// Gives the memory back. Alike on all ranks of the group, while nothing is gathered.
  void release();
  /// [largest padded unit]
  const at::Tensor& buffer(std::size_t index) const { return buffers_.at(index); }
  /// Whether a gather is faster if this rank's slice lies in the buffer beforehand.
  bool gathers_in_place() const { return in_place_; }

 private:
  comm::Communicator& group_;
  kernels::Compute compute_;
  std::int64_t largest_ = 0;
  bool in_place_ = false;
  std::array<at::Tensor, count> buffers_;
};

/// Fully sharded, FSDP (model.md 8.1): begin() starts the gather of the whole unit into one of two buffers,
/// of which even and odd units have one each, weights() waits for it, end() gives the buffer back; so at most
/// two units are ever whole, and the next one travels while the present one computes.
class ShardedWeights final : public checkpoint::WeightSource {
 public:
  /// `shards`: this rank's of group.size() parts.
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
