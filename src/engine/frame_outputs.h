#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "engine/request_state.h"
#include "engine/stage_values.h"
#include "wan/engine.h"

namespace wan::engine {

/// Everything that a request's outputs and its last state are written from, on its leader.
struct Made {
  std::vector<at::Tensor> frames;  ///< uint8 [frames, height, width, 3], one after the other, on the host
  at::Tensor latent;               ///< denoised, [16, frames, height, width], on any device
  int steps_done = 0;              ///< of all clips
  std::string identity;            ///< of a saved state
  StageValues carried;             ///< by clips, for a saved state
  StepLatents step_latents = {};
};

/// The frames and the latent of a finished request, on their way into files.
class FrameOutputs final : public UnwrittenOutputs {
 public:
  /// Copies the latent to the host.
  FrameOutputs(Request request, OutputPaths paths, PixelSize size, Made made);

  void write_state() override;
  bool write(const std::function<bool()>& is_given_up) override;

 private:
  bool write_video(const std::function<bool()>& is_given_up) const;
  void write_latents() const;

  Request request_;
  OutputPaths paths_;
  PixelSize size_;
  Made made_;
};

}  // namespace wan::engine
