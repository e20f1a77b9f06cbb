#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "kernels/compute.h"
#include "parallel/outline.h"
#include "parallel/parameter_reader.h"
#include "parallel/unit_weights.h"
#include "parallel/weight_placement.h"

namespace wan::engine {

struct EncoderOptions {
  /// Placement of the layers' weights. "Read when needed": load() reads them and unload() frees them;
  /// otherwise they stay.
  parallel::NetworkPlacement placement = {};
  kernels::Compute compute = {};

  /// The type of activations and products. Weights of fp16 are widened as they are used: activations of umT5
  /// leave the range of fp16.
  at::ScalarType arithmetic() const { return compute.type == at::kHalf ? at::kFloat : compute.type; }
  bool keeps_weights() const { return placement.residence != parallel::Residence::read_when_needed; }
};

/// The weights of an encoder, which works on a request once before the first step.
class EncoderWeights {
 public:
  /// If the weights are to be resident, takes `shards`, which hold them already, or without them reads the
  /// weights. `group` must outlive this object.
  EncoderWeights(std::vector<checkpoint::UnitLayout> units, parallel::ParameterReader read,
                 const EncoderOptions& options, comm::Communicator& group,
                 const std::shared_ptr<parallel::WeightShards>& shards);

  /// How often the weights were read.
  std::int64_t loads() const { return loads_; }

  /// Reads this rank's part of the weights unless it is there. No collective.
  void load();
  /// Takes the memory into which weights are gathered, unless it is already there. Call it after load() has
  /// succeeded on all ranks. Collective over the group.
  void reserve();
  /// Gives the weights' memory back unless they are resident.
  void unload();
  /// Likewise, and what reserve() took in any case; alike on all ranks of the group.
  void release();

  /// The weights, for one walk of the network: loaded and reserved. Collective over the group.
  checkpoint::WeightSource& begin();
  /// An outline of the weights, for a walk that completes the group's pending collectives: those of a walk
  /// that threw on this rank, or, if `has_begun` is false, of one that was never begun here.
  std::unique_ptr<parallel::OutlineWeights> owed(bool has_begun);

 private:
  void use(const std::shared_ptr<parallel::WeightShards>& shards);

  std::vector<checkpoint::UnitLayout> units_;
  parallel::ParameterReader read_;
  EncoderOptions options_;
  comm::Communicator& group_;
  std::shared_ptr<parallel::GatherBuffers> gather_buffers_;  ///< null while unloaded, or if not sharded
  std::unique_ptr<checkpoint::WeightSource> source_;         ///< null while unloaded
  parallel::CallsSince gathers_;                             ///< since the last begin()
  std::int64_t loads_ = 0;
};

}  // namespace wan::engine
