#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/given_parts.h"
#include "core/log.h"
#include "core/progress_mode.h"
#include "kernels/attention.h"
#include "manifest/manifest.h"
#include "model/precision_name.h"
#include "model/request_values.h"
#include "parallel/head_chunks.h"
#include "parallel/layout.h"
#include "wan/engine.h"
#include "wan/request.h"

namespace wan::launch {

enum class Switch { automatic, on, off };
/// The place of the expert that is not at work. `on`: page-locked host memory. `disk`: the checkpoint's
/// files.
enum class Offload { automatic, on, off, disk };
enum class Device { automatic, cuda, cpu };
enum class Precision {
  bf16,  ///< rounded where the official code rounds
  fp16,  ///< weights and matrix products in fp16, of the models for which it is offered
  fp32,  ///< parity mode
  fast
};
/// The autoencoder's: as `precision` says, or rounded to 16 bits.
enum class VaePrecision { exact, fp16, bf16 };
/// As options, records and traces write it.
constexpr std::string_view to_string(VaePrecision precision) {
  if (precision == VaePrecision::exact) return "exact";
  return precision == VaePrecision::fp16 ? fp16_name : bf16_name;
}
using parallel::Objective;

/// The measurements of wan_bench.
struct BenchSettings {
  std::string model = "i2v-A14B";  ///< a known name, or the path of a config.json
  PixelSize size{832, 480};        ///< of the video, exactly
  int frame_num = 81;
  double guide_scale = 3.5;  ///< of all steps; 1: they make one pass
  int steps = 3;
  int warmup = 1;  ///< steps before those that count
  bool part_times = true;
  bool trace_cost = false;        ///< every second step stays out of the trace
  bool measure_products = false;  ///< in place of all else: which kernels compute the matrix products
  bool kernels = false;           ///< a table of the kernels of one more step, encoding and decoding
};

/// The command line after parsing. An empty optional is a value that the program finds itself: from the
/// checkpoint, the planner or the machine.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): in the order in which users meet them
struct Options {
  std::filesystem::path ckpt_dir;
  checkpoint::GivenParts parts;          ///< named one by one
  std::optional<std::string> task;       ///< official name, "i2v-A14B": what the checkpoint must be
  Switch lightning = Switch::automatic;  ///< whether the model is distilled to few steps without guidance

  // Input: either a manifest or one request given by prompt, with an image where the task takes one.
  std::optional<std::filesystem::path> manifest;
  std::optional<manifest::Shard> shard;  ///< of the manifest's rows; empty: all of them
  std::optional<std::filesystem::path>
      continue_with;  ///< holds the ids of the rows to make; empty: all of them
  std::optional<std::filesystem::path> image;
  std::optional<std::string> prompt;
  std::optional<std::filesystem::path> save_file;  ///< of the one request; ends in .mp4

  // Output.
  std::filesystem::path output_dir = "outputs";
  std::optional<std::filesystem::path> trace;  ///< empty: OUT/trace.h5
  bool save_latents = false;
  bool step_latents = false;           ///< with them, those after each step
  std::optional<int> stop_after_step;  ///< of drafts
  bool draft = false;
  std::optional<int> draft_frames;  ///< 4n+1; empty: all
  std::optional<int> draft_shrink;  ///< 1, 2 or 4; empty: 1
  std::optional<int> fps;           ///< frames per second, 1..240
  std::string codec = "libx264";
  int crf = 10;  ///< 0..51, smaller is better

  // Values for every request that its manifest row does not set.
  RequestOverrides request;
  NoiseDevice noise_device = NoiseDevice::cpu;

  // Machine and layout.
  Device device = Device::automatic;
  std::optional<Precision> precision;
  VaePrecision vae_precision = VaePrecision::exact;
  Objective objective = Objective::latency;
  std::optional<int> group_size;    ///< ranks per group
  std::optional<int> cfg_size;      ///< 1 or 2
  std::optional<int> ulysses_size;  ///< ranks that share a sequence
  parallel::HeadChunkWish head_chunks;
  Switch dit_fsdp = Switch::automatic;
  Switch t5_fsdp = Switch::automatic;
  Offload offload_model = Offload::automatic;
  bool t5_cpu = false;
  kernels::AttentionBackend attention = kernels::AttentionBackend::automatic;

  // The run.
  bool plan = false;
  std::optional<int> gpus;                        ///< of the machine to plan for
  std::optional<std::uint64_t> gpu_memory_bytes;  ///< of each of its GPUs
  std::optional<std::filesystem::path> measured;  ///< a study's JSON file with the site's own figures
  bool dry_run = false;
  bool list_rows = false;
  bool resume = true;
  bool retry_failed = false;
  std::optional<double> time_limit_s;  ///< of the job, from the program's start
  std::optional<double> max_hours;     ///< the same in hours; parse_options() puts it into time_limit_s
  double checkpoint_interval_s = 300;
  bool join_groups = true;
  std::optional<int> writers;  ///< threads of each group that write videos, 0..64; empty: automatic
  std::optional<std::filesystem::path> run_record;
  std::optional<double> collective_timeout_s;
  LogLevel log_level = LogLevel::normal;
  ProgressMode progress = ProgressMode::automatic;

  BenchSettings bench;         ///< of wan_bench alone
  bool doctor_json = false;    ///< of wan_doctor alone
  bool doctor_accept = false;  ///< of wan_doctor alone: measure in place of the checks
};

/// The preview that the options ask for; not wanted without --draft.
inline Draft draft_of(const Options& options) {
  if (!options.draft) return {};
  return {.after_step = options.stop_after_step.value_or(0),
          .frames = options.draft_frames.value_or(0),
          .shrink = options.draft_shrink.value_or(1)};
}

}  // namespace wan::launch
