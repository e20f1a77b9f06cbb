#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/model_config.h"
#include "engine/expert_sets.h"
#include "engine/expert_shards.h"
#include "engine/expert_turns.h"
#include "engine/model_parts.h"
#include "parallel/node_ranks.h"
#include "parallel/weight_loading.h"

namespace wan::engine {

struct EngineOptions;
struct LoraOptions;

/// This rank's place among those that read a checkpoint.
struct LoadingPlace {
  int group_rank = 0;
  int group_size = 1;
  int world_rank = 0;
  /// World ranks of this node that read together, in the order of NodeRanks::host; empty: this rank reads
  /// alone.
  std::vector<int> node = {};

  parallel::WeightShare share(bool is_sharded) const;
};

enum class LoadedNetworks { all, without_vae };

/// The networks of a checkpoint while their weights are read. The text encoder's weights are read here only
/// if they stay in memory.
class ModelLoading {
 public:
  /// Opens and checks the files, takes the memory and begins to read in the background. No collective. Throws
  /// UsageError if the checkpoint's parts are wrong or do not belong together; c10::OutOfMemoryError, Error.
  ModelLoading(const checkpoint::CheckpointFolder& folder, const EngineOptions& options,
               const LoadingPlace& place, LoadedNetworks networks = LoadedNetworks::all);

  /// Waits for the weights, as parallel::WeightLoading::finish(). Collective over `node` if it is not null.
  bool finish(const parallel::NodeRanks* node) { return loading_->finish(node); }

  /// Bytes of tensor data that this rank has read so far.
  std::uint64_t bytes_read() const;

  // After finish() has returned true. Each may be called once.
  /// The experts; where they take turns, the memory that they share, which is empty.
  std::vector<ExpertShards> take_experts() { return std::move(experts_); }
  /// Where weights change later: what may come into the memory of each expert, or into the one that experts
  /// share; and the files that they are read from. Else empty.
  std::vector<ExpertTurns> take_turns() { return std::move(turns_); }
  std::vector<ExpertFiles> take_expert_files() { return std::move(expert_files_); }
  /// Null if the text encoder's weights are read when they are needed.
  std::shared_ptr<parallel::WeightShards> take_text_shards() { return std::move(text_shards_); }
  /// The files stay open: the text encoder reads from them as long as texts come.
  std::unique_ptr<checkpoint::Checkpoint> take_text_files() { return std::move(text_files_); }
  const TextEncoderModel& text_encoder() const { return *text_encoder_; }  ///< reads from the text files
  /// The image encoder, and its files and weights as those of the text encoder. Empty and null where the kind
  /// has none.
  const std::optional<ImageEncoderModel>& image_encoder() const { return image_encoder_; }
  std::unique_ptr<checkpoint::Checkpoint> take_image_files() { return std::move(image_files_); }
  std::shared_ptr<parallel::WeightShards> take_image_shards() { return std::move(image_shards_); }
  /// Refers to this object's memory.
  VaeModel vae() const;

 private:
  std::vector<ExpertModel> open_experts(const checkpoint::CheckpointFolder& folder, const LoraOptions& loras);
  void add_turns(const std::vector<ExpertModel>& experts, const LoraOptions& loras, bool in_one_memory);

  std::unique_ptr<checkpoint::Checkpoint> text_files_;
  std::optional<checkpoint::Checkpoint> vae_files_;
  std::vector<ExpertFiles> expert_files_;
  std::unique_ptr<checkpoint::Checkpoint> image_files_;
  std::optional<TextEncoderModel> text_encoder_;
  std::optional<ImageEncoderModel> image_encoder_;
  std::optional<vae::VaeConfig> vae_config_;
  std::vector<ExpertShards> experts_;
  std::vector<std::shared_ptr<const ExpertSets>> sets_;  ///< of each expert; empty: LoRAs do not change
  std::vector<std::vector<bool>> changed_;  ///< of each expert: the units that the first set changes
  std::vector<ExpertTurns> turns_;
  std::shared_ptr<parallel::WeightShards> text_shards_;
  std::shared_ptr<parallel::WeightShards> image_shards_;
  std::shared_ptr<parallel::WeightShards> vae_shards_;
  std::unique_ptr<parallel::WeightLoading> loading_;  ///< last: its threads use the members above
};

}  // namespace wan::engine
