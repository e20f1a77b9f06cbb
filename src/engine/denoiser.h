#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "dit/overflow.h"
#include "dit/transformer.h"
#include "engine/expert_shards.h"
#include "engine/expert_turns.h"
#include "engine/model_parts.h"
#include "gpu/memory.h"
#include "gpu/part_timer.h"
#include "kernels/attention.h"
#include "kernels/compute.h"
#include "model/part_clock.h"
#include "parallel/arena_weights.h"
#include "parallel/head_chunks.h"
#include "parallel/layout.h"
#include "parallel/ulysses.h"
#include "parallel/unit_weights.h"
#include "parallel/weight_placement.h"
#include "sample/sampler.h"

namespace wan::engine {

/// A request between two steps, whole. Tensors are fp32 [channels, frames, height, width] in latents.
struct DenoiseState {
  int steps_done = 0;
  at::Tensor latent;              ///< pure noise before the first step
  sample::SolverHistory history;  ///< empty before the first step and after the last
  at::Tensor clean = {};          ///< as in sample::SamplerState; may be undefined
};

/// One request as denoising sees it. All tensors are whole and equal on every rank, on any device; each rank
/// keeps its tokens of them.
struct DenoiseInput {
  DenoiseState start;
  at::Tensor condition;  ///< fp32 [20, frames, height, width], mask then image latent; undefined for t2v
  at::Tensor context;    ///< text embedding [tokens, text_dim]
  at::Tensor negative_context;  ///< undefined where guidance is 1 throughout
  sample::SamplerSettings settings;
  at::Tensor first_frame = {};     ///< fp32 [channels, 1, height, width], known throughout; undefined: noise
  at::Tensor image_features = {};  ///< of CLIP, fp32 [tokens, image_dim]; undefined without an image branch
};

/// Measurements of one step on this rank.
struct StepTimes {
  double wall_s = 0;
  std::array<double, part_count> part_s{};      ///< host seconds
  std::array<double, part_count> gpu_part_s{};  ///< GPU seconds; NaN on the CPU and without part_times
  gpu::MemoryUse memory;                        ///< of this rank's GPU at the end; peak: in the step
  std::int64_t digest_share = 0;  ///< of this rank in the digest of the latent (engine/latent_digest.h)
  std::optional<dit::OverflowPlace> overflow = {};  ///< in fp16: where a value of this rank went out of range
};

/// Hears each step: the request, this rank's tokens of both predictions and of the new sample, and times.
using DenoiseListener = std::function<void(const sample::StepRequest&, const sample::Prediction&,
                                           const at::Tensor& local_tokens, const StepTimes&)>;

/// Where the ranks of a team meet while they denoise.
class DenoiseGate {
 public:
  virtual ~DenoiseGate() = default;
  /// On every rank before each step and once after the last; `gather`, if called on one rank, is called on
  /// all: it brings the state together on the host. False on all ranks: leave here.
  virtual bool pass(int steps_done, const std::function<DenoiseState()>& gather) = 0;
  /// In place of the next pass(), on a rank whose memory ran out and that owes the others nothing any more.
  /// Throws, as pass() then does on the others.
  [[noreturn]] virtual void give_up(const c10::OutOfMemoryError& shortage) = 0;
};

struct DenoiseOptions {
  parallel::NetworkPlacement placement = {};  ///< of both experts; waiting on the host: GPU only
  parallel::HeadChunkWish head_chunks = {};   ///< within the group; a larger team chooses its own
  kernels::Compute compute = {};
  kernels::AttentionBackend attention = kernels::AttentionBackend::automatic;
  bool part_times = true;  ///< GPU seconds by part of a step, which take an event wherever a part ends
};

/// The experts of a group of ranks and their weights.
class Denoiser {
 public:
  /// Reads this rank's part of the experts' weights: one expert or more, of the same sizes. `group` must
  /// outlive the denoiser.
  Denoiser(const std::vector<ExpertModel>& experts, const DenoiseOptions& options,
           parallel::GroupCommunicators& group);
  /// The same with weights that were read already, placed as `options` say.
  Denoiser(std::vector<ExpertShards> experts, const DenoiseOptions& options,
           parallel::GroupCommunicators& group);
  /// The same with weights that change. `turns`: of each memory, what may come into it. Where experts take
  /// turns, `experts` is one memory, which holds none of them yet.
  Denoiser(std::vector<ExpertShards> experts, std::vector<ExpertTurns> turns, const DenoiseOptions& options,
           parallel::GroupCommunicators& group);

  const checkpoint::TransformerConfig& config() const { return experts_.front().transformer->config(); }
  /// The stretch of steps that run() of such an input makes, without its start. `first_step` counts from the
  /// input's.
  StretchEvent describe(const DenoiseInput& input, const parallel::GroupCommunicators& team) const;
  /// Bytes of all experts' weights on this rank, on the GPU or the host.
  std::int64_t weight_bytes() const;

  /// Whether holds() may ever be false: the same on all ranks of a run.
  bool changes() const { return !turns_.empty(); }
  /// Whether the expert's weights, with any LoRAs, are where run() needs them or come there by themselves.
  bool holds(Expert which) const { return turns_.empty() || turns_of(which).holds(which); }
  /// Whether these are its weights with a set of LoRAs.
  bool holds(Expert which, int set) const { return turns_.empty() || turns_of(which).holds(which, set); }
  /// Reads the expert's weights with a set of LoRAs in place of others, on this rank alone, unless they are
  /// there. No collective. Returns the bytes written. Throws Error, and c10::OutOfMemoryError of the host;
  /// then no weights are held.
  std::int64_t take_turn(Expert which, int set);

  /// Takes the memory for weights that run() gathers or brings in from the host, unless it is there.
  /// Collective over the group.
  void reserve();
  /// Gives it back. Alike on all ranks of the group.
  void release();
  /// After run(): the only expert of a model, if it waits on the host, leaves the GPU to the autoencoder and
  /// the text encoder. Two experts keep their room, because the next request needs it for the other one.
  void rest();

  /// Collective over `team`: this denoiser's group or a larger one that it is part of; after reserve().
  /// The team's ranks are divided as the first step to be made needs it, with or without guidance. A gate
  /// that leaves before the first step of the other kind lets the next run() divide them anew; without it
  /// the steps of the other kind are made in this division, with the same result.
  /// Returns the denoised latent [channels, frames, height, width], whole on every rank, on the compute
  /// device; undefined if `gate` left. If memory runs out on a rank, that rank still takes part in the
  /// collectives up to the next meeting of the ranks, and there gives up; after the last pass of the gate, or
  /// without one, run() throws c10::OutOfMemoryError there.
  at::Tensor run(const DenoiseInput& input, const parallel::GroupCommunicators& team,
                 const DenoiseListener& on_step, DenoiseGate* gate = nullptr);

 private:
  struct Request;
  struct ExpertState {
    Expert expert;
    std::shared_ptr<parallel::WeightShards> shards;
    std::unique_ptr<checkpoint::WeightSource> weights;
    parallel::ArenaWeights* in_arena;  ///< `weights`, if the experts take turns in an arena; else null
    std::unique_ptr<dit::Transformer> transformer;
  };
  ExpertState use(ExpertShards expert);
  Request make_request(const DenoiseInput& input, const parallel::GroupCommunicators& team) const;
  /// Heads in each exchange of `team`.
  std::vector<std::int64_t> head_chunks(const parallel::GroupCommunicators& team,
                                        const parallel::PassCommunicators& passes, std::int64_t tokens) const;
  /// Undefined if the gate left.
  at::Tensor run_steps(std::optional<Request>& request, const DenoiseInput& input,
                       const parallel::GroupCommunicators& team, const DenoiseListener& on_step,
                       DenoiseGate* gate);
  sample::Prediction predict(Request& request, const at::Tensor& x, const sample::StepRequest& step);
  sample::Prediction share_passes(Request& request, const at::Tensor& own);
  void finish_collectives(Request& request);
  static DenoiseState gather_state(const Request& request, const sample::SamplerState& state);
  StepTimes end_step(Request& request);
  ExpertState& expert(Expert which);
  /// The weights whose turn in the arena begins after the step; null if the same expert goes on.
  std::shared_ptr<parallel::WeightShards> next_in_arena(const sample::StepRequest& step,
                                                        const sample::SamplerSettings& settings);
  std::size_t memory_of(Expert which) const;
  const ExpertTurns& turns_of(Expert which) const { return turns_[memory_of(which)]; }

  parallel::GroupCommunicators& group_;
  DenoiseOptions options_;
  std::unique_ptr<gpu::PartTimer> timer_;  ///< on a GPU
  PartClock clock_;
  std::shared_ptr<parallel::GatherBuffers> gather_buffers_;  ///< of all experts, if they are sharded
  std::vector<ExpertState> experts_;  ///< one that changes its role, if they take turns
  std::vector<ExpertTurns> turns_;    ///< of each of them; empty: no weights change
};

}  // namespace wan::engine
