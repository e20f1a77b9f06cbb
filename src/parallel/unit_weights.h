#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "checkpoint/weight_source.h"
#include "comm/communicator.h"

namespace wan::parallel {

/// Reads elements [first, first + out.size()) of a parameter's row-major content.
using ParameterReader =
    std::function<void(const checkpoint::Parameter&, std::int64_t first, std::span<float> out)>;

/// Every unit whole on this rank: one flat buffer per unit, read at construction.
class ResidentWeights final : public checkpoint::WeightSource {
 public:
  ResidentWeights(const std::vector<checkpoint::UnitLayout>& units, const ParameterReader& read);
  void begin(int unit) override;
  std::span<const at::Tensor> weights(int unit) override;
  void end(int unit) override;

 private:
  std::vector<std::vector<at::Tensor>> views_;  ///< per unit, one tensor per parameter
};

/// Fully sharded: of every unit this rank keeps one even slice of its flat buffer (FSDP, spec 8.1) and reads
/// only that from the checkpoint. begin() starts the gather of the whole unit into one of two buffers,
/// weights() waits for it, end() gives the buffer back; so at most two units are ever whole, and the next one
/// travels while the present one computes.
class ShardedWeights final : public checkpoint::WeightSource {
 public:
  ShardedWeights(std::vector<checkpoint::UnitLayout> units, const ParameterReader& read,
                 comm::Communicator& group);
  void begin(int unit) override;
  std::span<const at::Tensor> weights(int unit) override;
  void end(int unit) override;

 private:
  struct Slot {
    at::Tensor flat;  ///< [largest padded unit]
    int unit = -1;    ///< -1: free
    comm::Ticket ticket;
    std::vector<at::Tensor> views;
  };
  Slot& slot_of(int unit);

  std::vector<checkpoint::UnitLayout> units_;
  comm::Communicator& group_;
  std::vector<at::Tensor> shards_;  ///< per unit, [padded elements / ranks]
  std::vector<Slot> slots_;
};

/// Elements of a rank's slice of a unit: the unit divided by the ranks, rounded up.
std::int64_t shard_elements(const checkpoint::UnitLayout& unit, int ranks);

}  // namespace wan::parallel
