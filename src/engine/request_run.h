#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/clock.h"
#include "engine/denoiser.h"
#include "engine/frame_outputs.h"
#include "engine/request_state.h"
#include "engine/stage.h"
#include "engine/stage_values.h"
#include "engine/step_reporter.h"
#include "engine/team_meeting.h"
#include "gpu/device.h"
#include "gpu/monitor.h"
#include "model/video_geometry.h"
#include "parallel/layout.h"
#include "wan/engine.h"

namespace wan::engine {

/// A request that left its group between two steps: everything that a larger team needs to go on. It lies on
/// the rank that led the request.
struct HandOver {
  DenoiseState state;
  StageValues values;
  PixelSize size;
  std::size_t stage = 0;  ///< of the pipeline, to go on with
  int steps_done = 0;     ///< of all clips
  int steps_saved = 0;    ///< of them: those in the last state that was saved or resumed
  int clips = 1;
  StepLatents step_latents = {};
};

/// The arguments of a request's run. Everything that they refer to outlives the run.
struct RunSetup {
  const Request& request;
  const OutputPaths& outputs;
  Observer& observer;
  RunControl& control;
  parallel::GroupCommunicators& team;  ///< of all ranks that make the request
  int leader_rank = 0;                 ///< in the team
  const Pipeline& pipeline;
  const model::VideoGeometry& geometry;  ///< of the pipeline's model
  std::string identity;                  ///< that a saved state must have, beside the request's own values
  const Stopwatch& clock;                ///< of the whole run of the program
  gpu::Monitor* monitor;                 ///< null on the CPU
  const gpu::DeviceInfo* gpu;            ///< of this rank; null on the CPU
  std::function<void()> release;         ///< gives buffers back, see TeamMeeting
  std::function<void(const std::string& note)> on_note;    ///< of the leader, for the user; may be empty
  std::function<void(const std::string& phase)> on_phase;  ///< on every rank, as a phase begins; may be empty
  std::string memory_remedy = {};                          ///< what a user can do where memory runs out
  double begun_s = 0;                                      ///< on `clock`, when this rank was called
  std::vector<RankPhase> before = {};  ///< what this rank did since its last request, for the observer
};

/// One request on its way through its pipeline, on one rank. State lives here and nowhere else.
class RequestRun {
 public:
  explicit RequestRun(const RunSetup& setup);

  /// Makes the request. Collective over the team. The report lacks layout, device, precision and lost texts,
  /// which the engine adds.
  RequestReport execute();
  /// Makes the rest of a request that another group handed over. `taken_over`: on the leader; null elsewhere.
  RequestReport join(std::unique_ptr<HandOver> taken_over);
  /// Makes the rest of a request that waited for the second expert. `waited`: as `taken_over`.
  RequestReport go_on(std::unique_ptr<HandOver> waited);
  /// The request, on the leader, after a run that ended with RunEnd::handed_over or RunEnd::waits; else null.
  std::unique_ptr<HandOver> handed_over() { return std::move(handed_over_); }

  /// When this rank's last phase ended, on the run's clock; the beginning of the run if none has.
  double last_phase_end_s() const { return last_phase_end_s_; }

  // For the stages.
  const RunSetup& setup() const { return setup_; }
  TeamMeeting& meeting() { return meeting_; }
  StageValues& values() { return values_; }
  PixelSize size() const { return size_; }
  void set_size(PixelSize size) { size_ = size; }
  StepReporter& reporter() { return reporter_; }

  /// The state of the clip under way: before its first step, between two steps, or after the last. Its latent
  /// is undefined until a stage draws it.
  DenoiseState& state() { return state_; }
  bool has_steps_left() const { return state_.steps_done < setup_.request.sample_steps; }
  int clip() const { return clip_; }
  int clips() const { return clips_; }

  /// Takes the frames out of the values, with everything else that the outputs are written from. For the
  /// leader, once all stages before the writing have run.
  Made take_made();

  /// Takes up a saved state of [channels, frames, height, width] = `latent_shape`, if the leader has one that
  /// can be used. Collective.
  void restore(at::IntArrayRef latent_shape);
  /// Tells the observer of the stretch, and begins to count time and traffic for its steps. Call it just
  /// before the first step of a clip. `stretch`: of the clip, without its start.
  void begin_steps(StretchEvent stretch);
  /// DenoiseGate::pass() of a clip: call it on every rank before each step of a clip and once after the last.
  bool pass(int steps_done, const std::function<DenoiseState()>& gather);
  /// pass() of a clip leaves before this step, if the outputs ask for the first expert only. Call it before
  /// begin_steps().
  void wait_before(int step) { wait_before_ = step; }
  /// Does work as a phase of that name. For stages without a phase of their own. Collective.
  void in_phase(std::string_view name, const std::function<void()>& work);
  /// Counts bytes of weights that were written anew, for the phase under way.
  void add_merged_bytes(std::int64_t bytes) { merged_bytes_ += static_cast<std::uint64_t>(bytes); }
  /// The latent to preview, fp32 [channels, frames, height, width] on the host, once pass() has left for a
  /// draft; else undefined.
  const at::Tensor& preview() const { return preview_; }

 private:
  RequestReport report_to_end(const std::function<void()>& work);
  void run_stages();
  void run_stage(Stage& stage);
  void next_clip();
  void hand_over(DenoiseState state, RunEnd end);
  void take_over(std::unique_ptr<HandOver> taken_over);
  void phase(std::string_view name, double start_s, const std::function<void()>& work);
  void save_state(DenoiseState state);
  /// The values that a saved state has to hold.
  StageValues carried_values() const;
  void begin_at(int steps_done);
  bool is_draft_due(int steps_done) const;
  bool has_to_wait(int clip_steps_done) const;
  /// Saves the finished steps after a later stage failed, so that they are not done again.
  void keep_steps();
  int steps_before() const { return clip_ * setup_.request.sample_steps; }
  std::string describe(const c10::OutOfMemoryError& shortage) const;

  RunSetup setup_;
  TeamMeeting meeting_;
  StepReporter reporter_;
  StageValues values_;
  RequestReport report_;
  PixelSize size_;
  DenoiseState state_;
  std::size_t stage_ = 0;           ///< index in the pipeline of the stage under way
  std::uint64_t merged_bytes_ = 0;  ///< in the phase under way
  at::Tensor preview_;
  int clip_ = 0;  ///< index of the clip under way
  int clips_ = 1;
  double last_phase_end_s_ = 0;
  StepLatents step_latents_;
  int steps_saved_ = 0;  ///< steps of the last state that was saved or resumed
  std::optional<int> wait_before_;
  std::unique_ptr<HandOver> handed_over_;
};

/// Bytes in GiB, for messages about memory.
double gibibytes(std::int64_t bytes);

}  // namespace wan::engine
