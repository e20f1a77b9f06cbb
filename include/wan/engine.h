#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "wan/request.h"

namespace wan {

/// Where a step's time goes. The order is that of the trace's columns.
enum class Part { attention, linear, elementwise, all_to_all, weight_gather, host_copy, wait };
inline constexpr std::size_t part_count = 7;
std::string_view to_string(Part part);

enum class Expert { high_noise, low_noise };
std::string_view to_string(Expert expert);  ///< "high_noise", "low_noise"

/// One denoising step as one rank saw it. A plain struct: ranks send it to their leader byte by byte.
struct StepEvent {
  std::int32_t world_rank = 0;
  std::int32_t group_rank = 0;   ///< in the team
  std::int32_t group_ranks = 1;  ///< of the team
  std::int32_t step = 0;         ///< 0-based
  std::int32_t step_count = 0;
  std::int32_t timestep = 0;  ///< 0..1000
  Expert expert = Expert::high_noise;
  double start_s = 0;  ///< seconds since the run began
  double wall_s = 0;
  std::array<double, part_count> part_wall_s{};  ///< host seconds by part, indexed by Part
  std::array<double, part_count> part_gpu_s{};   ///< GPU seconds by part; NaN where there is no GPU
  std::uint64_t sent_bytes = 0;                  ///< by collectives, to other ranks
  std::uint64_t vram_allocated_bytes = 0;
  std::uint64_t vram_reserved_bytes = 0;
  std::uint64_t vram_peak_bytes = 0;
};

/// A GPU at a moment.
struct DeviceSample {
  double time_s = 0;  ///< since the run began
  std::int32_t rank = 0;
  std::uint64_t vram_used_bytes = 0;  ///< by everybody, contexts included
  double power_w = 0;                 ///< NaN where unknown
  double temperature_c = 0;           ///< NaN where unknown
};

/// One phase of a request (text, image, encode, denoise, decode, write) or of the run (load).
struct PhaseEvent {
  std::string phase;
  double start_s = 0;  ///< seconds since the run began
  double wall_s = 0;
  std::uint64_t sent_bytes = 0;
};

/// Hears what happens, on the leader only: phases as they end, and per step one event of every rank of the
/// team.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_phase(const PhaseEvent& event) = 0;
  virtual void on_step(const StepEvent& event) = 0;
  /// The team's GPUs since the last call; never called on CPU ranks.
  virtual void on_samples(std::span<const DeviceSample> /*samples*/) {}
};

/// The temporary names an engine writes to. It leaves complete, closed files there or throws.
struct OutputPaths {
  std::filesystem::path video;
  std::filesystem::path latents = {};      ///< empty: not asked for
  std::filesystem::path state = {};        ///< of the unfinished request; empty: none is saved
  std::filesystem::path resume_from = {};  ///< a state to go on from, read on the leader; empty: begin anew
};

/// What is to happen between two steps. The ranks may want different things; the last in this list wins.
enum class StepAction : std::int64_t {
  go_on,
  save,       ///< leave the state in OutputPaths::state, go on
  hand_over,  ///< leave run(), keeping the state in memory for a larger team's run() of the same request
  stop,       ///< leave the state in OutputPaths::state, then leave run()
};

/// Steers a request while it is made.
class RunControl {
 public:
  virtual ~RunControl() = default;
  /// On every rank, before each step and once before decoding (then both numbers are the same).
  virtual StepAction next_action(int steps_done, int step_count) = 0;
  /// On the leader: a complete, closed state lies in OutputPaths::state.
  virtual void on_state(int steps_done) = 0;
  /// On the leader: a state could not be written, or the one to go on from cannot be used and the request
  /// begins anew. The message says why.
  virtual void on_state_problem(const std::string& message) = 0;
  /// On the leader: a state could not be written for a reason for which nothing else could, as a full disk.
  virtual void on_storage_problem(const std::string& message) { on_state_problem(message); }
};

/// Who makes a request: `width` neighbouring groups, the first of which has an index that `width` divides.
struct Team {
  int width = 1;   ///< groups
  int leader = 0;  ///< which of them asks for the request: its rank 0 writes and reports
};

/// The end of a prompt that the text encoder does not see, as the prompt is longer than it takes.
struct LostText {
  std::string field;             ///< "prompt" or "negative_prompt"
  std::int64_t tokens = 0;       ///< of the whole text
  std::int64_t used_tokens = 0;  ///< of them seen
  std::string first_words;       ///< that are lost
};

enum class RunEnd { finished, handed_over, stopped };

/// What is known of a request that left the engine; meaningful on the leader, `end` on every rank.
struct RequestReport {
  RunEnd end = RunEnd::finished;
  int first_step = 0;  ///< steps that had been done when the engine took the request up
  int steps_done = 0;  ///< since the request began, by all engines that it was with
  PixelSize size;      ///< of the video
  int frames = 0;
  std::string layout;                     ///< "cfg2 x ulysses2, fsdp4"
  std::string device;                     ///< "cpu" or the GPU's name
  std::string precision;                  ///< "bf16", "fp32"
  std::map<std::string, double> phase_s;  ///< seconds by phase
  double median_step_s = 0;
  std::vector<LostText> lost_texts;  ///< what was too long for the text encoder
};

/// Makes videos. One engine per group of ranks; every rank of the team calls run() with the same request.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual const Task& task() const = 0;

  /// Checks what can be checked of a request on this rank alone, without the other ranks and without
  /// computing: image decodable, prompt not empty after cleaning, size on the latent grid, seed. Throws
  /// ItemError.
  virtual void validate(const Request& request) const = 0;

  /// Whether teams of that many groups can make such requests. The same answer on every rank.
  virtual bool can_team(const Request& request, int width) const = 0;

  /// Collective over the team. Throws ItemError on every rank of the team alike when the item cannot be made,
  /// StorageError when nothing can be written.
  /// A team of more than one group goes on with what its leader's group was told to hand over.
  virtual RequestReport run(const Request& request, const OutputPaths& outputs, Observer& observer,
                            RunControl& control, const Team& team) = 0;

  /// After a MemoryError: makes all later requests need less memory on each rank, at the price of speed, with
  /// the same results. Collective over the group. What was changed, for the user ("weights sharded"), the
  /// same on every rank; empty if nothing is left to change. Throws Error if the engine cannot be used any
  /// more.
  virtual std::string make_leaner() { return {}; }
};

}  // namespace wan
