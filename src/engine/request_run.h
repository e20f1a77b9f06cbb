#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/request_state.h"
#include "engine/step_reporter.h"
#include "engine/wan_engine.h"

namespace wan::engine {

/// One request on its way through the stages, on one rank. State lives here and nowhere else.
///
/// Files: what the leader reads or writes may take any time, so the others wait for it in await_leader() or
/// agree_on_root(), never in a collective that is timed.
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
  /// The same where ranks read files, which may take any time.
  void with_memory_and_files(const std::function<void()>& work);
  /// All ranks tell each other whether they had memory enough; MemoryError if not. `shortage`: what this rank
  /// lacked. Collective.
  void meet(const std::optional<std::string>& shortage);
  std::optional<std::string> shortage_in(const std::function<void()>& work) const;
  /// The most urgent of the ranks' wishes. Collective.
  StepAction most_urgent(StepAction wish);
  /// The other ranks wait here for the leader, which may have been writing or reading files. Collective.
  void await_leader();
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
  void finish();
  void keep_steps();
  void decode();
  void write_outputs();
  void write_video() const;
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
  at::Tensor latent_;               ///< denoised, [16, frames, height, width]
  std::vector<at::Tensor> frames_;  ///< uint8 [frames, height, width, 3] each, on the leader
};

}  // namespace wan::engine
