#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/model_config.h"
#include "core/clock.h"
#include "engine/group_teams.h"
#include "engine/host_size.h"
#include "engine/model_loading.h"
#include "engine/model_parts.h"
#include "engine/request_run.h"
#include "engine/text_look_ahead.h"
#include "engine/wan_stages.h"
#include "gpu/device.h"
#include "gpu/monitor.h"
#include "lora/lora_set.h"
#include "model/model_kind.h"
#include "parallel/layout.h"
#include "parallel/weight_placement.h"
#include "wan/engine.h"

namespace wan::engine {

/// The bounds of make_leaner().
struct LeanerOptions {
  parallel::WeightPlacement leanest = parallel::leanest_placement;  ///< how far it may go
  std::optional<std::int64_t> host_bytes = {};  ///< that this rank may page-lock; empty: all that can be had
};

/// The sets of LoRAs that requests may ask for (Request::lora_set), which are added to the experts' weights
/// as they are read. Their checksums, if they are known, decide with the weights which saved states are used.
struct LoraOptions {
  std::vector<lora::LoraSet> sets = {};  ///< empty: no LoRAs
  int first = 0;                         ///< the set that the weights have after loading
  /// Host memory of this rank in which the checkpoint's weights of the experts stay for the next set; 0: they
  /// are read again.
  std::uint64_t kept_bytes = 0;

  bool change() const { return sets.size() > 1; }
};

struct EngineOptions {
  parallel::WeightPlacement placement = {};
  parallel::HeadChunkWish head_chunks = {};  ///< within the group
  kernels::Compute compute = {};
  kernels::AttentionBackend attention = kernels::AttentionBackend::automatic;
  std::optional<at::ScalarType> vae_rounded = {};  ///< fp16 or bf16 (vae::Arithmetic); none: not rounded
  gpu::DeviceInfo gpu = {};                        ///< of this rank, if it computes on one
  LeanerOptions leaner = {};
  /// The remedy that a user is told where memory runs out; a program names its options here.
  std::string memory_remedy =
      "use more ranks per group, a smaller size, fewer frames, sharded weights or one expert on the host";
  std::string weights =
      {};  ///< checkpoint::fingerprint(), the same on all ranks: states of others are not used
  LoraOptions loras = {};
  /// Called on the leader with a note for the user on a request that is made all the same.
  std::function<void(const std::string&)> on_note = {};
};

/// The options of the text encoder, and of the image encoder beside it, for weights that are placed so.
EncoderOptions text_options(const EngineOptions& options, const parallel::NetworkPlacement& placement);

/// The pipelines of all kinds of models over one group of ranks (model.md 7.1).
class WanEngine final : public Engine {
 public:
  /// `loading`: the networks of `folder`, read completely for a rank of `group` with `options`; without it
  /// the engine reads this rank's part of the checkpoint itself. `run_clock` started with the run. Makes no
  /// collective. Throws UsageError if the checkpoint's parts are wrong or do not belong together.
  WanEngine(const checkpoint::CheckpointFolder& folder, const EngineOptions& options,
            parallel::GroupCommunicators group, const Stopwatch& run_clock,
            std::unique_ptr<ModelLoading> loading = nullptr);
  WanEngine(const WanEngine&) = delete;
  WanEngine& operator=(const WanEngine&) = delete;
  ~WanEngine() override;

  const Task& task() const override { return folder_.task; }
  const text::Tokenizer& tokenizer() const;
  void validate(const Request& request) const override;
  bool can_team(const Request& request, int width) const override;
  RequestReport run(const Request& request, const OutputPaths& outputs, Observer& observer,
                    RunControl& control, const Team& team) override;

  /// First splits the weights over the group. Where they are split, or the group is one rank, it moves the
  /// expert not in use to the host. Goes no further than LeanerOptions.
  std::string make_leaner() override;

  void begin_idle() override;
  void report_idle(Observer& observer) override;
  void finish(Observer& observer) override;
  /// From when on no observer has heard of this rank's time, on the run's clock.
  double idle_since_s() const { return idle_since_s_; }
  /// The same as begin_idle(), at an earlier time.
  void begin_idle_at(double time_s);

  /// Allows teams of several groups, up to `largest_width`. Without this call each request is made by one
  /// group.
  void allow_teams(TeamFactory make_team, int largest_width) {
    groups_.allow(std::move(make_team), largest_width);
  }

  /// Lets the text encoder serve several requests while its weights are in memory. No collective; call it
  /// alike on every rank of the group.
  void look_ahead(LookAhead ahead) { tools_.look_ahead = std::move(ahead); }

  /// Sets a function that hears every step of the following requests, on every rank; for tests.
  void set_step_listener(DenoiseListener listener) { tools_.step_listener = std::move(listener); }
  /// Sets a function that hears each phase of the following requests as it begins, on every rank; for tests.
  void set_phase_listener(std::function<void(const std::string& phase)> listener) {
    phase_listener_ = std::move(listener);
  }
  /// Bytes of the experts' files that this rank has read, where weights change; else 0.
  std::uint64_t expert_bytes_read() const;
  std::int64_t encoded_texts() const { return tools_.networks.text->encoded_texts(); }
  std::int64_t image_encoder_loads() const { return tools_.networks.image->loads(); }
  std::int64_t text_encoder_loads() const { return tools_.networks.text->loads(); }
  const parallel::GroupCommunicators& communicators() const { return groups_.own(); }

 private:
  RunSetup setup_of(const Request& request, const OutputPaths& outputs, Observer& observer,
                    RunControl& control, const Team& team);
  /// Takes what this rank has done from its last request until `now_s` on the run's clock.
  std::vector<RankPhase> take_since_request(double now_s);
  std::string precision_name() const;
  /// The values that a saved state must have been made with, beside those of the request, which the batch
  /// compares. The layout is free.
  std::string identity_of(const Request& request) const;
  /// Whether all ranks of the group have host memory for all experts. Collective.
  bool can_offload() const;
  /// Releases the buffers that a failed request may have left. Call it alike on all ranks.
  void release_buffers() const;
  LoadingPlace place_in_group() const;
  /// Makes text encoder and denoiser.
  void use_models(ModelLoading& loading);
  void use_vae(const VaeModel& vae);
  /// Reads the weights of text encoder and experts anew, on this rank alone. No collectives.
  void reload();

  checkpoint::CheckpointFolder folder_;
  const model::ModelKind& kind_;
  EngineOptions options_;
  GroupTeams groups_;
  const Stopwatch& run_clock_;
  std::vector<ExpertFiles> expert_files_;                        ///< of experts whose weights change
  std::unique_ptr<checkpoint::Checkpoint> text_encoder_files_;   ///< read from as long as texts come
  std::unique_ptr<checkpoint::Checkpoint> image_encoder_files_;  ///< likewise, images; may be null
  std::unique_ptr<gpu::Monitor> monitor_;                        ///< of this rank's GPU
  HostUse host_use_;
  StageTools tools_;
  Pipeline pipeline_;
  std::function<void(const std::string& phase)> phase_listener_;
  std::unique_ptr<HandOver> handed_over_;  ///< on the rank that led the request
  /// Requests that wait for the second expert, by id; the content is on the group's leader.
  std::map<std::string, std::unique_ptr<HandOver>> waiting_;
  double idle_since_s_ = 0;               ///< on the run's clock
  bool has_idled_ = false;                ///< begin_idle() was called since the last request
  std::vector<RankPhase> since_request_;  ///< of this rank, for the next request's observer
};

}  // namespace wan::engine
