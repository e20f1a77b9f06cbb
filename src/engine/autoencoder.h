#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>

#include "comm/communicator.h"
#include "engine/model_parts.h"
#include "gpu/late_copy.h"
#include "kernels/compute.h"
#include "vae/vae.h"

namespace wan::engine {

/// How the autoencoder of a run computes. The official code leaves convolutions TF32; in fp32, the parity
/// mode, nothing is rounded. `rounded`: fp16 or bf16 by the user's choice.
vae::Arithmetic vae_arithmetic(const kernels::Compute& compute, std::optional<at::ScalarType> rounded);

/// The VAE over any group of ranks: every rank works on its rows. Whole weights on each rank. A rank whose
/// memory runs out (c10::OutOfMemoryError) has still taken part in all of a call's collectives.
class Autoencoder {
 public:
  /// Reads the weights. `device`: where it computes.
  Autoencoder(const VaeModel& model, at::Device device, const vae::Arithmetic& arithmetic = {});
  const vae::VaeConfig& config() const { return config_; }

  /// Collective over `group`. `image`: fp32 [3, height, width], the same on every rank; the clip is the image
  /// and zero frames. Returns the normalised latent [channels, frames, height / factor, width / factor],
  /// whole on every rank, on its device.
  at::Tensor encode_image(const at::Tensor& image, int frame_num, comm::Communicator& group);

  /// Collective over `group`. `latent`: [channels, frames, height, width], the same on every rank. On rank
  /// `root` `sink` gets the video chunk by chunk as uint8 [frames, height, width, 3] on the host, from a GPU
  /// one chunk late, so that the GPU does not wait for the host. False if values of this rank's rows were not
  /// finite.
  bool decode(const at::Tensor& latent, comm::Communicator& group, int root,
              const std::function<void(const at::Tensor& frames)>& sink);

 private:
  template <typename Work>
  auto run(comm::Communicator& group, vae::RowExchange& rows, Work&& work) const;

  vae::VaeConfig config_;
  at::Device device_;
  vae::Arithmetic arithmetic_;
  std::unique_ptr<vae::Vae> vae_;
  gpu::LateCopy frames_;  ///< of the last decoded chunk
};

}  // namespace wan::engine
