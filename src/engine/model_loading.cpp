#include "engine/model_loading.h"

#include <ATen/ATen.h>

#include <map>

#include "core/check.h"
#include "engine/checkpoint_match.h"
#include "engine/text_encoder.h"
#include "engine/wan_engine.h"
#include "parallel/unit_weights.h"

namespace wan::engine {

parallel::WeightShare LoadingPlace::share(bool is_sharded) const {
  if (node.empty()) return parallel::share_alone(group_rank, group_size, is_sharded);
  return parallel::share_on_node(node, world_rank, group_size, is_sharded);
}

ModelLoading::ModelLoading(const checkpoint::CheckpointFolder& folder, const EngineOptions& options,
                           const LoadingPlace& place, LoadedNetworks networks)
    : text_files_(std::make_unique<checkpoint::Checkpoint>(
          checkpoint::Checkpoint::open_part(checkpoint::Part::text_encoder, folder.text_encoder))) {
  const parallel::WeightPlacement placement = parallel::for_group(options.placement, place.group_size);
  if (networks == LoadedNetworks::all) {
    vae_files_.emplace(checkpoint::Checkpoint::open_part(checkpoint::Part::vae, folder.vae));
    vae_config_ = vae_model(*vae_files_).config;
    require_vae_fits(folder, *vae_config_);
  }
  const std::vector<ExpertModel> experts = open_experts(folder, options.loras);
  text_encoder_ = text_encoder_model(*text_files_);
  require_text_width(folder, text_encoder_->config, experts.front().config);
  require_image_branch(folder, experts.front().config);
  if (!folder.image_encoder.empty()) {
    image_files_ = std::make_unique<checkpoint::Checkpoint>(
        checkpoint::Checkpoint::open_part(checkpoint::Part::image_encoder, folder.image_encoder));
    image_encoder_ = image_encoder_model(*image_files_);
    require_image_width(folder, image_encoder_->config, experts.front().config);
  }
  kernels::require_attention_backend(options.attention, options.compute.device, options.compute.type,
                                     experts.front().config.head_dim());

  std::vector<parallel::WeightLoading::Model> models;
  models.reserve(experts.size() + 3);  // and text encoder, image encoder and autoencoder
  const bool is_sharded = placement.transformers.is_sharded();
  const bool takes_turns = placement.transformers.takes_turns();
  add_turns(experts, options.loras, takes_turns);
  // Weights that change are read by each rank for itself: groups change them at different times.
  const parallel::WeightShare share =
      turns_.empty() ? place.share(is_sharded)
                     : parallel::share_alone(place.group_rank, place.group_size, is_sharded);
  if (takes_turns) {  // each is read when its turn comes
    experts_ = take_memory({experts.front()}, placement.transformers, options.compute, share);
  } else {
    experts_ = take_memory(experts, placement.transformers, options.compute, share);
    for (std::size_t i = 0; i < experts.size(); ++i)
      models.push_back({.shards = experts_[i].shards.get(), .read = experts[i].read});
  }
  const EncoderOptions text = text_options(options, placement.text_encoder);
  if (text.keeps_weights()) {
    text_shards_ =
        std::make_shared<parallel::WeightShards>(checkpoint::text_encoder_units(text_encoder_->config),
                                                 place.share(text.placement.is_sharded()), text.compute);
    models.push_back({.shards = text_shards_.get(), .read = text_encoder_->read});
  }
  if (image_encoder_ && text.keeps_weights()) {
    const kernels::Compute compute{.device = text.compute.device, .type = at::kFloat};
    image_shards_ =
        std::make_shared<parallel::WeightShards>(checkpoint::image_encoder_units(image_encoder_->config),
                                                 place.share(text.placement.is_sharded()), compute);
    models.push_back({.shards = image_shards_.get(), .read = image_encoder_->read});
  }
  if (vae_config_) {
    const kernels::Compute compute{.device = options.compute.device, .type = at::kFloat};
    vae_shards_ =
        std::make_shared<parallel::WeightShards>(std::vector<checkpoint::UnitLayout>{vae_unit(*vae_config_)},
                                                 place.share(/*is_sharded=*/false), compute);
    models.push_back({.shards = vae_shards_.get(), .read = checkpoint_reader(*vae_files_)});
  }
  loading_ = std::make_unique<parallel::WeightLoading>(std::move(models));
}

std::vector<ExpertModel> ModelLoading::open_experts(const checkpoint::CheckpointFolder& folder,
                                                    const LoraOptions& loras) {
  std::vector<ExpertModel> experts;
  const auto sets = std::make_shared<const std::vector<lora::LoraSet>>(loras.sets);
  expert_files_.reserve(folder.experts.size());  // an expert's reader refers to its files
  for (const checkpoint::ExpertFolder& expert : folder.experts) {
    expert_files_.push_back(open_expert(expert.path));
    ExpertFiles& files = expert_files_.back();
    experts.push_back(expert_model(expert.expert, files));
    checkpoint::expect_same_config(experts.front().config, folder.experts.front().name(),
                                   experts.back().config, expert.name());
    if (sets->empty()) continue;
    const auto of_expert = std::make_shared<const ExpertSets>(expert.expert, files, sets);
    ExpertSets::Weights weights = of_expert->with(loras.first);
    experts.back().read = weights.read;
    if (!loras.change()) continue;
    sets_.push_back(of_expert);
    changed_.push_back(std::move(weights.changed));
    if (loras.kept_bytes > 0 && !of_expert->are_all_equal())
      files.weights.keep_in_memory(loras.kept_bytes / folder.experts.size());
  }
  return experts;
}

/// `in_one_memory`: experts take turns.
void ModelLoading::add_turns(const std::vector<ExpertModel>& experts, const LoraOptions& loras,
                             bool in_one_memory) {
  if (!in_one_memory && !loras.change()) return;
  std::vector<ExpertTurns::Entry> entries;
  entries.reserve(experts.size());
  for (std::size_t i = 0; i < experts.size(); ++i) {
    entries.push_back({.model = experts[i], .sets = sets_.empty() ? nullptr : sets_[i]});
    if (!sets_.empty()) entries.back().model.read = {};  // it would keep the first set's files open
  }
  if (in_one_memory) {
    turns_.emplace_back(std::move(entries));
    return;
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    turns_.emplace_back(std::vector{std::move(entries[i])});
    turns_.back().note_loaded(loras.first, changed_[i]);
  }
}

std::uint64_t ModelLoading::bytes_read() const {
  std::uint64_t bytes = 0;
  for (const ExpertFiles& files : expert_files_) bytes += files.weights.bytes_read();
  if (text_files_) bytes += text_files_->bytes_read();
  if (image_files_) bytes += image_files_->bytes_read();
  if (vae_files_) bytes += vae_files_->bytes_read();
  return bytes;
}

VaeModel ModelLoading::vae() const {
  WAN_CHECK(vae_shards_ != nullptr, "the autoencoder was not read");
  const checkpoint::UnitLayout& unit = vae_shards_->units().front();
  const std::vector<at::Tensor> views = parallel::parameter_views(unit, vae_shards_->slice(0));
  std::map<std::string, at::Tensor> tensors;
  for (std::size_t i = 0; i < views.size(); ++i) tensors.emplace(unit.parameters[i].name, views[i]);
  // Copies: a view would keep the memory of all tensors, and lie where convolutions are slow to read it.
  return {.config = *vae_config_,
          .read = [tensors](const std::string& name) { return tensors.at(name).clone(); }};
}

}  // namespace wan::engine
