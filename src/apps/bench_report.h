#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "apps/bench_reference.h"
#include "apps/options.h"
#include "gpu/kernel_profile.h"
#include "parallel/item_time.h"
#include "wan/engine.h"

namespace wan::apps {

/// Whether a step comes into a trace of half the steps (--trace-cost).
constexpr bool is_in_half_trace(int step) { return step % 2 == 0; }

/// The cost of a trace, from the steps of one start of which half were traced.
struct TraceCost {
  double traced_s = 0;     ///< median step in the trace, with the time that the trace took after it
  double untraced_s = 0;   ///< median of the other steps
  double most_host_s = 0;  ///< the most that the thread of the steps spent on the trace after a step
};

/// `step_s`: of the steps that count, the first of which is step `first`. `trace_s`: by step.
TraceCost trace_cost(std::span<const double> step_s, int first, const std::map<int, double>& trace_s);

/// By work ("step", "encode", "decode"): the kernels that it ran.
using KernelProfiles = std::vector<std::pair<std::string, std::vector<gpu::KernelUse>>>;

/// The measurements of wan_bench, on rank 0.
struct BenchResult {
  int gpus = 0;  ///< ranks; on the CPU too
  std::string gpu_model;
  std::string precision;
  std::string layout;
  std::vector<std::int64_t> head_chunks;  ///< heads of a rank with the most, in each exchange
  std::string attention;
  std::vector<double> step_s;             ///< of the steps that count, without warm-up
  std::map<std::string, double> parts_s;  ///< by part: device time per step, mean of the ranks; may be empty
  std::vector<double> rank_computing_s;   ///< by rank of the first group: computing in a step; may be empty
  double fill_s = 0;                      ///< making the random weights
  double text_s = 0;
  double clip_s = 0;                                               ///< NaN for a model without CLIP
  double vae_encode_s = std::numeric_limits<double>::quiet_NaN();  ///< not there for t2v
  double vae_decode_s = 0;
  std::uint64_t peak_vram_bytes =
      0;  ///< in use on a GPU by all programs, the largest of all ranks; 0 on the CPU
  std::uint64_t peak_allocated_bytes = 0;
  std::uint64_t weights_bytes_per_gpu = 0;  ///< of both experts, in GPU or host memory
  std::optional<TraceCost> trace;           ///< with --trace-cost
  KernelProfiles kernels = {};              ///< with --kernels: of rank 0's GPU
  std::uint64_t wire_bytes_per_step = 0;    ///< bytes handed to other ranks, by the rank with the most
  BenchFacts facts;
  std::vector<std::string> arguments;  ///< of the command line

  // The plan's expectations, on every rank.
  parallel::ItemTime expected = {};
  double expected_step_s = 0;
  std::string figures = {};         ///< the machine whose figures they are, and their source
  bool is_of_measured_gpu = false;  ///< they were measured on GPUs of this kind
};

/// The group whose steps were measured.
struct BenchGroup {
  int ranks = 1;
  bool on_gpu = false;
};
/// Fills in what the result holds of the steps that count. `events`: of all steps and ranks of the group.
void add_steps(BenchResult& result, const launch::BenchSettings& settings, std::span<const StepEvent> events,
               const BenchGroup& group);

/// A table for people.
std::string bench_table(const launch::BenchSettings& settings, const BenchResult& result);
/// One line of JSON without a line feed.
std::string bench_json(const launch::BenchSettings& settings, const BenchResult& result);

}  // namespace wan::apps
