#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "comm/communicator.h"
#include "engine/encoder_weights.h"
#include "engine/model_parts.h"

namespace wan::engine {

/// The umT5 encoder and its weights. The table of token embeddings, two fifths of all weights, never is in
/// memory: the few rows that a text needs are read as they are needed.
class TextEncoder {
 public:
  /// If the weights are to be resident, takes `shards`, which hold them already, or without them reads the
  /// weights. `group` must outlive the encoder.
  TextEncoder(TextEncoderModel model, const EncoderOptions& options, comm::Communicator& group,
              std::shared_ptr<parallel::WeightShards> shards = nullptr);

  const checkpoint::TextEncoderConfig& config() const { return model_.config; }
  /// How often the weights were read.
  std::int64_t loads() const { return weights_.loads(); }
  /// Bytes of an embedding of so many ids.
  std::int64_t embedding_bytes(std::size_t ids) const {
    return static_cast<std::int64_t>(ids) * model_.config.dim *
           static_cast<std::int64_t>(c10::elementSize(options_.arithmetic()));
  }

  /// Reads this rank's part of the weights unless it is there. No collective.
  void load() { weights_.load(); }
  /// Takes the memory into which encode() gathers weights, unless it is already there. Call it after load()
  /// has succeeded on all ranks. Collective over the group.
  void reserve() { weights_.reserve(); }
  /// Gives the weights' memory back unless they are resident.
  void unload() { weights_.unload(); }
  /// Likewise, and what reserve() took in any case; alike on all ranks of the group.
  void release() { weights_.release(); }

  /// Collective over the group. `ids`: real token ids, </s> last. Returns [ids, dim] in the type
  /// of EncoderOptions::arithmetic().
  at::Tensor encode(std::span<const std::int64_t> ids);
  /// Completes the group's pending collectives after encode() threw on this rank, or, if `has_begun` is
  /// false, was never called here. Produces no embedding.
  void finish_collectives(bool has_begun);

 private:
  /// Rows of the embedding table, [ids, dim].
  at::Tensor read_embeddings(std::span<const std::int64_t> ids) const;

  TextEncoderModel model_;
  EncoderOptions options_;
  EncoderWeights weights_;
};

}  // namespace wan::engine
