#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "wan/request.h"

namespace wan {

/// Where a step's time goes. The order is that of the trace's columns.
enum class Part { attention, linear, elementwise, all_to_all, weight_gather, host_copy, wait };
inline constexpr std::size_t part_count = 7;
std::string_view to_string(Part part);

enum class Expert { high_noise, low_noise };
std::string_view to_string(Expert expert);  ///< "high_noise", "low_noise"

/// One denoising step as one rank saw it. A plain struct: ranks send it to their group's leader byte by byte.
struct StepEvent {
  std::int32_t world_rank = 0;
  std::int32_t group_rank = 0;
  std::int32_t step = 0;  ///< 0-based
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

/// Hears what happens, on the group's leader only: phases as they end, and per step one event of every rank
/// of the group.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_phase(const PhaseEvent& event) = 0;
  virtual void on_step(const StepEvent& event) = 0;
  /// The group's GPUs since the last call; never called on CPU ranks.
  virtual void on_samples(std::span<const DeviceSample> /*samples*/) {}
};

/// The temporary names an engine writes to. It leaves complete, closed files there or throws.
struct OutputPaths {
  std::filesystem::path video;
  std::filesystem::path latents;  ///< empty: not asked for
};

/// What is known of a finished request; meaningful on the group's leader.
struct RequestReport {
  PixelSize size;  ///< of the video
  int frames = 0;
  std::string layout;                     ///< "cfg2 x ulysses2, fsdp4"
  std::string device;                     ///< "cpu" or the GPU's name
  std::string precision;                  ///< "fp32", "exact"
  std::map<std::string, double> phase_s;  ///< seconds by phase
  double median_step_s = 0;
};

/// Makes videos. One engine per group of ranks; every rank of the group calls run() with the same request.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual const Task& task() const = 0;

  /// Checks what can be checked of a request on this rank alone, without the other ranks and without
  /// computing: image decodable, prompt not empty after cleaning, size on the latent grid, seed. Throws
  /// ItemError.
  virtual void validate(const Request& request) const = 0;

  /// Collective over the group. Throws ItemError on every rank of the group alike when the item cannot be
  /// made.
  virtual RequestReport run(const Request& request, const OutputPaths& outputs, Observer& observer) = 0;
};

}  // namespace wan
