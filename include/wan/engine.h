#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "wan/request.h"

namespace wan {

/// The parts of a step whose time is measured. The trace's columns have the same order.
enum class Part { attention, linear, elementwise, all_to_all, weight_gather, host_copy, wait };
inline constexpr std::size_t part_count = 7;
std::string_view to_string(Part part);

enum class Expert { high_noise, low_noise, single };  ///< single: the only one of its model
std::string_view to_string(Expert expert);            ///< "high_noise", "low_noise", "single"

/// One denoising step as one rank saw it. A plain struct, because ranks send its bytes to their leader.
struct StepEvent {
  std::int32_t world_rank = 0;
  std::int32_t group_rank = 0;   ///< rank in the team
  std::int32_t group_ranks = 1;  ///< number of ranks in the team
  std::int32_t step = 0;         ///< counts from 0
  std::int32_t step_count = 0;
  double timestep = 0;  ///< 0 to 1000; a whole number for all solvers but euler
  Expert expert = Expert::high_noise;
  double start_s = 0;  ///< seconds since the run began
  double wall_s = 0;
  std::array<double, part_count> part_wall_s{};  ///< host seconds, indexed by Part
  std::array<double, part_count> part_gpu_s{};   ///< GPU seconds, indexed by Part; NaN without a GPU
  std::uint64_t sent_bytes = 0;                  ///< bytes that collectives sent to other ranks
  std::uint64_t vram_allocated_bytes = 0;
  std::uint64_t vram_reserved_bytes = 0;
  std::uint64_t vram_peak_bytes = 0;
  /// Digest of the whole latent after the step: the same on every rank, and on any number of ranks if the
  /// latent's bits are. -1: not known.
  std::int64_t latent_digest = -1;
};

/// Readings of one GPU at one moment. NaN and -1 mean that the driver does not tell.
struct DeviceSample {
  double time_s = 0;  ///< seconds since the run began
  std::int32_t rank = 0;
  std::int64_t vram_used_bytes = -1;  ///< by all processes, contexts included
  double power_w = std::numeric_limits<double>::quiet_NaN();
  double temperature_c = std::numeric_limits<double>::quiet_NaN();
  double sm_clock_mhz = std::numeric_limits<double>::quiet_NaN();
  std::int64_t throttle_reasons = -1;  ///< bits of NVML's nvmlClocksThrottleReasons; 0: none
};

/// One phase of a request (text, image, encode, lora, denoise, decode, write) or of the run (load, join,
/// idle), as one rank saw it.
struct PhaseEvent {
  std::string phase;
  double start_s = 0;  ///< seconds since the run began, on that rank's clock
  double wall_s = 0;
  std::uint64_t sent_bytes = 0;
  std::int32_t world_rank = 0;
  bool is_background = false;      ///< made by another thread while the rank did something else
  std::uint64_t merged_bytes = 0;  ///< of weights that were written anew with other LoRAs
};

/// Steps of a request that are made in one go by the same ranks: what computes them, and how. Texts and
/// numbers are as the trace holds them (docs/trace.md).
struct StretchEvent {
  std::int32_t first_step = 0;  ///< steps that were done before
  std::int32_t team_width = 1;  ///< groups of the team
  std::int32_t first_rank = 0;  ///< in the world; the team's ranks follow each other
  std::int32_t ranks = 1;       ///< of the team
  std::string layout;           ///< "cfg2 x ulysses2"
  std::string placement;        ///< "whole", "sharded over 4", "offloaded", "sharded over 4, offloaded"
  std::string precision;        ///< "bf16", "fp16", "fp32"
  std::int32_t passes = 1;      ///< of the transformer in a step: 2 with guidance
  std::string guidance;         ///< scales of the low-noise and the high-noise expert: "3.5:3.5"
  std::string solver;
  double shift = 0;
  std::string attention;         ///< the backend that computes self-attention
  std::int32_t head_chunks = 1;  ///< exchanges of heads in a block
  double start_s = 0;            ///< seconds since the run began
};

/// Receives events on the leader only: each phase when it ends, and for each step one event of every rank of
/// the team.
class Observer {
 public:
  virtual ~Observer() = default;
  /// A phase of the leader that has ended in order.
  virtual void on_phase(const PhaseEvent& event) = 0;
  virtual void on_step(const StepEvent& event) = 0;
  /// Phases that on_phase() does not tell of: those of the other ranks of the team, those that an error
  /// ended, and the time of any rank since its last request ("idle", "load").
  virtual void on_rank_phases(std::span<const PhaseEvent> /*events*/) {}
  /// The steps that follow belong to this stretch.
  virtual void on_stretch(const StretchEvent& /*stretch*/) {}
  /// Readings of the team's GPUs since the last call. Never called on CPU ranks.
  virtual void on_samples(std::span<const DeviceSample> /*samples*/) {}
};

/// A preview of a request that is not finished: the engine makes so many steps, saves the state, and writes a
/// video of the latent without noise that the last of these steps predicts.
struct Draft {
  int after_step = 0;  ///< 0: no draft. A request with no more steps than this is made whole.
  int frames = 0;      ///< of the preview, 4n+1; 0, or more than the video has: all
  int shrink = 1;      ///< the latent's height and width are divided by this: 1, 2 or 4

  bool is_wanted() const { return after_step > 0; }
  bool operator==(const Draft&) const = default;
};

/// The temporary names that an engine writes to. The engine leaves complete, closed files there, or throws;
/// or the control writes them later (RunControl::on_outputs()).
struct OutputPaths {
  std::filesystem::path video;
  std::filesystem::path latents = {};      ///< empty: no latents are wanted
  std::filesystem::path state = {};        ///< state of the unfinished request; empty: none is saved
  std::filesystem::path resume_from = {};  ///< a saved state to continue; the leader reads it; empty: none
  Draft draft = {};           ///< if it is wanted, `video` gets the preview, and no latents are written
  bool step_latents = false;  ///< `latents` also gets the latent after each step; the same on every rank
  /// run() leaves before the first step of the second expert (RunEnd::waits). Where experts take turns,
  /// several requests go through the first one before the second is read. The same on every rank.
  bool first_expert_only = false;
};

/// The outputs of a request that is computed but not written. It holds all that writing needs: neither the
/// engine nor another rank is needed any more, and any one thread may write.
class UnwrittenOutputs {
 public:
  virtual ~UnwrittenOutputs() = default;
  /// Writes the state after the last step to OutputPaths::state. Throws Error, and StorageError if no other
  /// file could be written either.
  virtual void write_state() = 0;
  /// Writes the files of OutputPaths. It asks `is_given_up` after each frame; the function may be empty. If
  /// the answer is true, it returns false, and the video is not there. Throws ItemError (stage "write"),
  /// MemoryError or StorageError.
  virtual bool write(const std::function<bool()>& is_given_up) = 0;
};

/// The action between two steps. Ranks may ask for different actions; the one that is last in this list wins.
enum class StepAction : std::int64_t {
  go_on,
  save,       ///< write the state to OutputPaths::state and continue
  hand_over,  ///< leave run() and keep the state in memory; a larger team's run() of the same request
              ///< continues it
  stop,       ///< write the state to OutputPaths::state, then leave run()
};

/// Controls a request while the engine makes it.
class RunControl {
 public:
  virtual ~RunControl() = default;
  /// Called on every rank, before each step and once before decoding (both numbers are then equal).
  virtual StepAction next_action(int steps_done, int step_count) = 0;
  /// Called on the leader: a complete, closed state lies in OutputPaths::state.
  virtual void on_state(int steps_done) = 0;
  /// Called on the leader: a state could not be written, or the saved state cannot be used and the request
  /// starts again at step 0. The message gives the reason.
  virtual void on_state_problem(const std::string& message) = 0;
  /// Called on the leader: a state could not be written, and no other file could be written either (for
  /// example, the disk is full).
  virtual void on_storage_problem(const std::string& message) { on_state_problem(message); }
  /// Called on the leader when everything is computed. Writes the outputs at once, unless a control keeps
  /// them and writes them later. Throws the errors of UnwrittenOutputs::write().
  virtual void on_outputs(std::unique_ptr<UnwrittenOutputs> outputs) { outputs->write({}); }
};

/// The ranks that make a request: `width` neighbouring groups. `width` divides the index of the first group.
struct Team {
  int width = 1;   ///< number of groups
  int leader = 0;  ///< index of the group that asks for the request: its rank 0 writes and reports
};

/// The end of a prompt that the text encoder does not see, because the prompt is longer than its limit.
struct LostText {
  std::string field;             ///< "prompt" or "negative_prompt"
  std::int64_t tokens = 0;       ///< tokens of the whole text
  std::int64_t used_tokens = 0;  ///< tokens that the encoder sees
  std::string first_words;       ///< the first words that it does not see
};

enum class RunEnd {
  finished,
  handed_over,
  stopped,
  drafted,  ///< the state is saved, and OutputPaths::video is a preview
  waits,    ///< for the second expert. The state is saved; the engine keeps it, and run() of the same request
            ///< goes on from there
};

/// A summary of a request that left the engine. It is valid on the leader; `end` is valid on every rank.
struct RequestReport {
  RunEnd end = RunEnd::finished;
  int first_step = 0;  ///< steps that were already done when this engine took the request
  int steps_done = 0;  ///< steps since the request began, summed over all engines that worked on it
  PixelSize size;      ///< size of the video, or of the preview
  int frames = 0;
  std::string layout;                     ///< "cfg2 x ulysses2, fsdp4"
  std::string device;                     ///< "cpu" or the GPU's name
  std::string precision;                  ///< "bf16", "fp16", "fp32"
  std::map<std::string, double> phase_s;  ///< seconds, keyed by phase
  double median_step_s = 0;
  std::vector<LostText> lost_texts;  ///< texts that were too long for the text encoder
};

/// Makes videos. Each group of ranks has one engine. Every rank of the team calls run() with the same
/// request.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual const Task& task() const = 0;

  /// Checks a request on this rank alone, without communication or computing. The image must be decodable,
  /// the prompt not empty after cleaning, the size on the latent grid, the seed in range. Throws ItemError.
  virtual void validate(const Request& request) const = 0;

  /// Whether teams of `width` groups can make such requests. Every rank gets the same answer.
  virtual bool can_team(const Request& request, int width) const = 0;

  /// Makes the request. Collective over the team. A team of more than one group continues the state that its
  /// leader's group kept for it (StepAction::hand_over). Throws the same error on every rank of the team:
  /// ItemError if the item cannot be made, StorageError if nothing can be written.
  virtual RequestReport run(const Request& request, const OutputPaths& outputs, Observer& observer,
                            RunControl& control, const Team& team) = 0;

  /// Call it after a MemoryError. Reduces the memory that later requests need on each rank; they are slower,
  /// with the same results. Collective over the group. Returns a description of the change for the user
  /// ("weights sharded"), the same on every rank; empty if nothing is left to change. Throws Error if the
  /// engine can no longer be used.
  virtual std::string make_leaner() { return {}; }

  /// From now on this rank waits for its next request. The observer of that request hears of the time as the
  /// phase "idle". It also begins when run() ends; call this once after work of one's own.
  virtual void begin_idle() {}
  /// Tells `observer` what this rank has waited and what its GPU reads, so that neither is lost if the
  /// program is killed. For the leader of a group without requests. Not collective.
  virtual void report_idle(Observer& /*observer*/) {}
  /// After the last request: tells the leader's observer what the ranks have waited since then and what their
  /// GPUs read. Collective over the group.
  virtual void finish(Observer& /*observer*/) {}
};

}  // namespace wan
