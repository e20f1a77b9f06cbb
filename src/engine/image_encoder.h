#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "engine/encoder_weights.h"
#include "engine/model_parts.h"

namespace wan::engine {

/// CLIP and its weights, which are read and let go of as those of the text encoder.
class ImageEncoder {
 public:
  /// `options`, `shards`: as for EncoderWeights. `group` must outlive the encoder.
  ImageEncoder(ImageEncoderModel model, const EncoderOptions& options, comm::Communicator& group,
               std::shared_ptr<parallel::WeightShards> shards = nullptr);

  const checkpoint::ImageEncoderConfig& config() const { return model_.config; }
  std::int64_t loads() const { return weights_.loads(); }  ///< how often the weights were read

  // Encoding in three calls, as with PromptEncoder: each once the one before has succeeded on all ranks.
  // Where one runs out of memory on a rank (c10::OutOfMemoryError), that rank has still taken part in the
  // group's collectives; then release() is to be called on all ranks.
  void load() { weights_.load(); }
  void reserve() { weights_.reserve(); }
  /// Collective over the group. `pixels`: fp32 [3, image_size, image_size] in -1..1, on the host. Returns the
  /// features fp32 [tokens, dim], on the host.
  at::Tensor encode(const at::Tensor& pixels);

  /// Gives all memory back that need not be held. Alike on all ranks.
  void release() { weights_.release(); }

 private:
  ImageEncoderModel model_;
  at::Device device_;
  EncoderWeights weights_;
};

}  // namespace wan::engine
