#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

#include "comm/communicator.h"
#include "engine/model_parts.h"
#include "kernels/compute.h"
#include "vae/vae.h"

namespace wan::engine {

/// The VAE over a group of ranks: every rank works on its rows. Whole weights on each rank.
class VaeStage {
 public:
  /// Reads the weights. `device`: where it computes, in fp32. `group` must outlive the stage.
  VaeStage(const VaeModel& model, at::Device device, comm::Communicator& group);

  /// Collective. `image`: fp32 [3, height, width], the same on every rank; the clip is the image and zero
  /// frames. Returns the normalised latent [16, frames, height / 8, width / 8], whole on every rank, on its
  /// device.
  at::Tensor encode_image(const at::Tensor& image, int frame_num);

  /// Collective. `latent`: [16, frames, height, width], the same on every rank. On rank 0 `sink` gets the
  /// video chunk by chunk as uint8 [frames, height, width, 3] on the host.
  void decode(const at::Tensor& latent, const std::function<void(const at::Tensor& frames)>& sink);

 private:
  std::unique_ptr<vae::RowExchange> split_rows(std::int64_t latent_rows) const;

  comm::Communicator& group_;
  at::Device device_;
  std::unique_ptr<vae::Vae> vae_;
};

}  // namespace wan::engine
