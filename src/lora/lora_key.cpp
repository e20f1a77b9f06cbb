// How programs name the tensors of a LoRA for Wan. After the loaders and trainers themselves: kohya and
// musubi (lora_down, lora_up, alpha; lora_unet_ with underscores), PEFT and Diffusers (lora_A, lora_B),
// ModelTC's Wan2.2-Lightning, LightX2V's extractor (diff, diff_b, diff_m), DiffSynth (an adapter's name in
// lora_A.NAME.weight), and Diffusers before PEFT (lora.down, _lora.down).
#include "lora/lora_key.h"

#include <algorithm>
#include <array>

namespace wan::lora {
namespace {

/// An ending of a name. "*" stands for the name of an adapter, without dots.
struct Ending {
  std::string_view text;
  LoraRole role;
  std::string_view spelling;
};

constexpr std::string_view kohya = "lora_down/lora_up";
constexpr std::string_view peft = "lora_A/lora_B";
constexpr std::string_view diffusers = "lora.down/lora.up";
constexpr std::string_view differences = "diff";

constexpr std::array<Ending, 20> endings{{
    {".lora_down.weight", LoraRole::down, kohya},
    {".lora_up.weight", LoraRole::up, kohya},
    {".lora_A.weight", LoraRole::down, peft},
    {".lora_B.weight", LoraRole::up, peft},
    {".lora_A.*.weight", LoraRole::down, peft},
    {".lora_B.*.weight", LoraRole::up, peft},
    {".lora_A", LoraRole::down, peft},
    {".lora_B", LoraRole::up, peft},
    {".lora_B.bias", LoraRole::bias_difference, peft},
    {".lora_B.*.bias", LoraRole::bias_difference, peft},
    {".lora.down.weight", LoraRole::down, diffusers},
    {".lora.up.weight", LoraRole::up, diffusers},
    {"_lora.down.weight", LoraRole::down, diffusers},
    {"_lora.up.weight", LoraRole::up, diffusers},
    {".lora_linear_layer.down.weight", LoraRole::down, diffusers},
    {".lora_linear_layer.up.weight", LoraRole::up, diffusers},
    {".alpha", LoraRole::alpha, ""},
    {".diff", LoraRole::difference, differences},
    {".diff_b", LoraRole::bias_difference, differences},
    {".diff_m", LoraRole::modulation_difference, differences},
}};

struct ForeignMark {
  std::string_view mark;
  bool at_start;
  std::string_view kind;
};

constexpr std::array<ForeignMark, 15> foreign_marks{{
    {"dora_scale", false, "DoRA (weights that are scaled again by their length)"},
    {"lora_magnitude_vector", false, "DoRA (weights that are scaled again by their length)"},
    {".lora_mid.", false, "LoCon with a middle factor (Tucker decomposition)"},
    {".hada_", false, "LoHa (Hadamard products)"},
    {".lokr_", false, "LoKr (Kronecker products)"},
    {".oft_", false, "OFT (orthogonal rotations)"},
    {".reshape_weight", false, "a LoRA that gives weights another shape"},
    {".set_weight", false, "a patch that replaces weights instead of adding to them"},
    {"lora_te", true, "a LoRA for a text encoder, and only the transformers' are applied"},
    {"text_encoder", true, "a LoRA for a text encoder, and only the transformers' are applied"},
    {"lora_unet_double_blocks", true, "a LoRA for another model (FLUX or HunyuanVideo)"},
    {"lora_unet_single_blocks", true, "a LoRA for another model (FLUX or HunyuanVideo)"},
    {"lora_unet_down_blocks", true, "a LoRA for another model (Stable Diffusion)"},
    {"lora_unet_input_blocks", true, "a LoRA for another model (Stable Diffusion)"},
    {"lora_unet_joint_blocks", true, "a LoRA for another model (Stable Diffusion 3)"},
}};

/// Prefixes of names with dots; a name may have two of them, one behind the other.
constexpr std::array<std::string_view, 7> prefixes{
    "diffusion_model.",  "transformer_2.", "transformer.", "pipe.dit.",
    "base_model.model.", "model.",         "unet."};
constexpr std::string_view second_expert_prefix = "transformer_2.";
/// Prefixes of names whose dots are underscores; the longer one first.
constexpr std::array<std::string_view, 3> mangled_prefixes{"lora_unet__", "lora_unet_", "lycoris_"};

/// How many bytes at the end of `name` the ending takes; 0 if it has another ending.
std::size_t length_of(std::string_view ending, std::string_view name) {
  const std::size_t star = ending.find('*');
  if (star == std::string_view::npos) return name.ends_with(ending) ? ending.size() : 0;
  const std::string_view before = ending.substr(0, star);
  const std::string_view after = ending.substr(star + 1);
  if (!name.ends_with(after)) return 0;
  const std::string_view rest = name.substr(0, name.size() - after.size());
  const std::size_t at = rest.rfind(before);
  if (at == std::string_view::npos) return 0;
  const std::string_view adapter = rest.substr(at + before.size());
  return adapter.empty() || adapter.find('.') != std::string_view::npos ? 0 : name.size() - at;
}

std::string_view strip_prefixes(std::string_view module, LoraKey& key) {
  constexpr int most = 2;
  for (int i = 0; i < most; ++i) {
    const auto found =
        std::ranges::find_if(prefixes, [&](std::string_view prefix) { return module.starts_with(prefix); });
    if (found == prefixes.end()) break;
    if (i == 0) key.prefix = *found;
    key.is_second_expert = key.is_second_expert || *found == second_expert_prefix;
    module.remove_prefix(found->size());
  }
  for (const std::string_view prefix : mangled_prefixes) {
    if (!module.starts_with(prefix)) continue;
    key.prefix = prefix;
    key.is_mangled = true;
    module.remove_prefix(prefix.size());
    break;
  }
  return module;
}

}  // namespace

std::string_view foreign_kind_of_lora_key(std::string_view name) {
  for (const ForeignMark& foreign : foreign_marks) {
    const bool has =
        foreign.at_start ? name.starts_with(foreign.mark) : name.find(foreign.mark) != std::string_view::npos;
    if (has) return foreign.kind;
  }
  return {};
}

std::optional<LoraKey> read_lora_key(std::string_view name) {
  const Ending* longest = nullptr;
  std::size_t length = 0;
  for (const Ending& ending : endings) {
    const std::size_t this_length = length_of(ending.text, name);
    if (this_length <= length) continue;
    length = this_length;
    longest = &ending;
  }
  if (longest == nullptr) return std::nullopt;
  LoraKey key{.role = longest->role, .module = {}, .spelling = longest->spelling, .prefix = {}};
  key.module = strip_prefixes(name.substr(0, name.size() - length), key);
  return key;
}

}  // namespace wan::lora
