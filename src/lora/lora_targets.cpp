#include "lora/lora_targets.h"

#include <algorithm>
#include <array>

#include "checkpoint/dialects/dialect.h"

namespace wan::lora {
namespace {

constexpr std::string_view weight = ".weight";
constexpr std::string_view bias = ".bias";
constexpr std::string_view modulation = ".modulation";

/// Widths of the image branch in the names' table: they make no difference to its names.
constexpr std::int64_t some_image_width = 1280;

std::string with_underscores(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

std::string_view before(std::string_view name, std::string_view ending) {
  return name.ends_with(ending) ? name.substr(0, name.size() - ending.size()) : std::string_view();
}

/// Modules of the largest model: also those of the image branch, which LoRAs for this model may name.
std::vector<std::string> all_modules(checkpoint::TransformerConfig config) {
  config.image_dim = some_image_width;
  std::vector<std::string> modules;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::transformer_tensors(config)) {
    for (const std::string_view ending : {weight, bias, modulation}) {
      const std::string_view module = before(tensor.name, ending);
      if (!module.empty()) modules.emplace_back(module);
    }
    if (tensor.name.ends_with(modulation)) modules.push_back(tensor.name);
  }
  return modules;
}

}  // namespace

LoraTargets::LoraTargets(const checkpoint::TransformerConfig& config)
    : layers_(config.num_layers), has_image_branch_(config.image_dim > 0) {
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::transformer_tensors(config))
    shapes_.emplace(tensor.name, tensor.shape);
  const auto add = [&](const std::string& theirs, const std::string& official) {
    official_.emplace(theirs, official);
    mangled_.emplace(with_underscores(theirs), official);
  };
  for (const std::string& module : all_modules(config)) add(module, module);
  for (const checkpoint::ModuleName& name : checkpoint::module_names(checkpoint::Part::transformer, layers_))
    add(name.theirs, name.official);
}

std::string LoraTargets::module_of(const LoraKey& key) const {
  const auto& names = key.is_mangled ? mangled_ : official_;
  const auto found = names.find(key.module);
  return found == names.end() ? std::string() : found->second;
}

std::optional<std::string> LoraTargets::tensor_of(const LoraKey& key) const {
  const std::string module = module_of(key);
  if (module.empty()) return std::nullopt;
  std::string tensor = module;
  switch (key.role) {
    case LoraRole::bias_difference:
      tensor += bias;
      break;
    case LoraRole::modulation_difference:
      if (!module.ends_with(modulation)) tensor += modulation;
      break;
    case LoraRole::difference:
      if (!module.ends_with(modulation)) tensor += weight;
      break;
    default:
      tensor += weight;
  }
  if (!shapes_.contains(tensor)) return std::nullopt;
  return tensor;
}

bool LoraTargets::may_be_absent(std::string_view official_module) const {
  if (has_image_branch_) return false;
  constexpr std::array<std::string_view, 4> absent{".cross_attn.k_img", ".cross_attn.v_img",
                                                   ".cross_attn.norm_k_img", "img_emb."};
  return std::ranges::any_of(
      absent, [&](std::string_view part) { return official_module.find(part) != std::string_view::npos; });
}

}  // namespace wan::lora
