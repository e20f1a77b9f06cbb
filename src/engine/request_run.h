#pragma once

#include <string>
#include <vector>

#include "engine/step_reporter.h"
#include "engine/wan_engine.h"

namespace wan::engine {

/// One request on its way through the stages, on one rank. State lives here and nowhere else.
class WanEngine::Run {
 public:
  Run(WanEngine& engine, const Request& request, const OutputPaths& outputs, Observer& observer)
      : engine_(engine),
        request_(request),
        outputs_(outputs),
        observer_(observer),
        reporter_(engine.group_, engine.monitor_.get(), engine.run_clock_, observer) {}

  RequestReport execute();

 private:
  bool leads() const { return engine_.group_.group->rank() == 0; }
  /// Runs one phase and reports it. Collective errors pass through.
  template <typename Work>
  void phase(const char* name, Work&& work);

  void encode_texts();
  void prepare_image();
  void encode_image();
  void require_memory();
  void draw_noise();
  void denoise();
  void decode_and_write();
  void save_latents() const;

  WanEngine& engine_;
  const Request& request_;
  const OutputPaths& outputs_;
  Observer& observer_;
  StepReporter reporter_;
  RequestReport report_;
  PixelSize size_;
  at::Tensor image_;  ///< fp32 [3, height, width] in -1..1
  DenoiseInput input_;
  at::Tensor latent_;  ///< denoised, [16, frames, height, width]
  at::Tensor frames_;  ///< uint8 [frames, height, width, 3], on the leader and only if latents are saved
};

}  // namespace wan::engine
