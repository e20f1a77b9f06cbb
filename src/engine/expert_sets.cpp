#include "engine/expert_sets.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "lora/lora_merge.h"

namespace wan::engine {
namespace {

/// Any error concerns the set alone, also one of the storage.
std::shared_ptr<const lora::LoraMerge> opened(const lora::LoraSet& loras, Expert expert,
                                              const checkpoint::TransformerConfig& config) {
  try {
    return std::make_shared<const lora::LoraMerge>(loras, expert, config);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    fail<UsageError>("cannot use the LoRA: {}", error.what());
  }
}

}  // namespace

/// The LoRAs of a set that may change this expert.
lora::LoraSet ExpertSets::of_expert(int set) const {
  WAN_CHECK(set >= 0 && set < std::ssize(*sets_), "set {} of {} sets of LoRAs", set, sets_->size());
  lora::LoraSet loras = (*sets_)[static_cast<std::size_t>(set)];
  const LoraExperts other = expert_ == Expert::high_noise ? LoraExperts::low_noise : LoraExperts::high_noise;
  if (expert_ != Expert::single)
    std::erase_if(loras, [&](const lora::Lora& lora) { return lora.experts == other; });
  return loras;
}

bool ExpertSets::are_equal(int a, int b) const {
  const lora::LoraSet first = of_expert(a);
  const lora::LoraSet second = of_expert(b);
  return std::ranges::equal(first, second, [](const lora::Lora& one, const lora::Lora& other) {
    return one.file == other.file && one.strength == other.strength;
  });
}

bool ExpertSets::are_all_equal() const {
  for (int set = 1; set < std::ssize(*sets_); ++set)
    if (!are_equal(0, set)) return false;
  return true;
}

ExpertSets::Weights ExpertSets::with(int set) const {
  const std::vector<checkpoint::UnitLayout> units = checkpoint::transformer_units(files_.config);
  Weights weights{.read = checkpoint_reader(files_.weights), .changed = std::vector<bool>(units.size())};
  const lora::LoraSet loras = of_expert(set);
  if (loras.empty()) return weights;
  const auto merge = opened(loras, expert_, files_.config);
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    weights.changed[unit] = std::ranges::any_of(
        units[unit].parameters,
        [&](const checkpoint::Parameter& parameter) { return merge->changes(parameter.name); });
  }
  weights.read = merging_reader(files_.weights, merge);
  return weights;
}

}  // namespace wan::engine
