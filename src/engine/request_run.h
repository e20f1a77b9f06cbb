#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/request_state.h"
#include "engine/step_reporter.h"
#include "engine/wan_engine.h"

namespace wan::engine {

inline constexpr int latent_stride = 8;  ///< pixels per latent, in both directions

/// Latent frames of a video of `frame_num` frames.
inline std::int64_t latent_frames(int frame_num) {
  constexpr int frames_per_latent = 4;
  return (frame_num - 1) / frames_per_latent + 1;
}

/// One request on its way through the stages, on one rank. State lives here and nowhere else.
///
/// Memory: the ranks meet over their control group before every step and after all other work that takes
/// memory of the compute device. A rank that runs out of it first does what it owes the others' collectives,
/// then says so at the next meeting, where all ranks throw MemoryError.
class WanEngine::Run : private DenoiseGate {
 public:
  Run(WanEngine& engine, const Request& request, const OutputPaths& outputs, Observer& observer,
      RunControl& control, const Team& team);

  RequestReport execute();

 private:
  comm::Communicator& group() const { return *team_.group; }  ///< of all ranks of the team
  bool leads() const { return group().rank() == leader_rank_; }
  at::IntArrayRef latent_shape() const { return input_.start.latent.sizes(); }
  /// Runs one phase and reports it. Collective errors pass through.
  void phase(const char* name, const std::function<void()>& work);
  /// Does work that takes memory and ends with a meeting. The work leaves no collective undone when memory
  /// runs out, and has no other way of failing on one rank alone.
  void with_memory(const std::function<void()>& work);
  /// All ranks tell each other what they want and whether they had memory enough; the most urgent wish is
  /// returned to all. `shortage`: what this rank lacked. Collective.
  StepAction meet(StepAction wish, const std::optional<std::string>& shortage);
  std::string describe(const c10::OutOfMemoryError& shortage) const;

  void prepare();    ///< all that comes before the first step
  void take_over();  ///< the same for what another team handed over
  void encode_texts();
  void prepare_image();
  void encode_image();
  std::int64_t denoise_bytes() const;
  void require_memory();
  void draw_noise();
  void restore();
  void denoise();
  bool pass(int steps_done, const std::function<DenoiseState()>& gather) override;
  [[noreturn]] void give_up(const c10::OutOfMemoryError& shortage) override;
  void save_state(const DenoiseState& state);
  std::string identity() const;
  void decode_or_keep();
  void decode_and_write();
  void save_latents() const;

  WanEngine& engine_;
  const Request& request_;
  const OutputPaths& outputs_;
  Observer& observer_;
  RunControl& control_;
  parallel::GroupCommunicators& team_;
  int leader_rank_;    ///< in the team
  std::string phase_;  ///< the one under way, or whose needs are looked at
  StepReporter reporter_;
  RequestReport report_;
  PixelSize size_;
  int steps_saved_ = 0;  ///< steps of the last state that was saved or gone on from
  at::Tensor image_;     ///< fp32 [3, height, width] in -1..1
  DenoiseInput input_;
  at::Tensor latent_;  ///< denoised, [16, frames, height, width]
  at::Tensor frames_;  ///< uint8 [frames, height, width, 3], on the leader and only if latents are saved
};

}  // namespace wan::engine
