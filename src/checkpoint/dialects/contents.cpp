#include <algorithm>
#include <array>

#include "checkpoint/dialects/dialect.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

struct PartMark {
  std::string_view name;  ///< of a tensor that every file of the part has and no other part
  Part part;
};

constexpr std::array<PartMark, 11> part_marks{
    {{"patch_embedding.weight", Part::transformer},
     {"blocks.0.self_attn.q.weight", Part::transformer},
     {"blocks.0.attn1.to_q.weight", Part::transformer},
     {"decoder.conv1.weight", Part::vae},
     {"decoder.conv_in.weight", Part::vae},
     {"blocks.0.ffn.fc1.weight", Part::text_encoder},
     {"token_embedding.weight", Part::text_encoder},
     {"shared.weight", Part::text_encoder},
     {"visual.patch_embedding.weight", Part::image_encoder},
     {"vision_model.embeddings.patch_embedding.weight", Part::image_encoder},
     {"vision_model.embeddings.class_embedding", Part::image_encoder}}};

struct KnownContents {
  std::string_view mark;  ///< in a tensor's name
  bool at_start;          ///< the name begins with it; otherwise it may be anywhere
  std::string_view what;  ///< "it is ..."
};

constexpr std::array<KnownContents, 21> known_contents{{
    {".lora_", false, "a LoRA, not a model: setting 'LoRA' adds it to one"},
    {".lora.down.", false, "a LoRA, not a model: setting 'LoRA' adds it to one"},
    {".lora.up.", false, "a LoRA, not a model: setting 'LoRA' adds it to one"},
    {"lora_unet_", true, "a LoRA, not a model: setting 'LoRA' adds it to one"},
    {"lycoris_", true, "a LoRA (LyCORIS), not a model: setting 'LoRA' adds it to one"},
    {".diff_b", false, "a LoRA (differences of a model), not a model: setting 'LoRA' adds it to one"},
    {".diff_m", false, "a LoRA (differences of a model), not a model: setting 'LoRA' adds it to one"},
    {".quant_state.bitsandbytes", false, "a model that bitsandbytes quantised (4 bits), which is not read"},
    {".absmax", false, "a model that bitsandbytes quantised (4 bits), which is not read"},
    {".qweight", false, "a model that GPTQ, AWQ or SVDQuant quantised, which is not read"},
    {".weight_scale_2", false, "an NVFP4 model (4 bits), which is not read"},
    {"first_stage_model.", true, "a checkpoint with several networks in one file, which is not read"},
    {"cond_stage_model.", true, "a checkpoint with several networks in one file, which is not read"},
    {"text_encoders.", true, "a checkpoint with several networks in one file, which is not read"},
    {"double_blocks.", true, "another model (FLUX or HunyuanVideo)"},
    {"single_transformer_blocks.", true, "another model (FLUX)"},
    {"transformer_blocks.", true, "another model (LTX-Video, CogVideoX, Qwen-Image or alike)"},
    {"joint_blocks.", true, "another model (Stable Diffusion 3)"},
    {"input_blocks.", true, "another model (Stable Diffusion 1, 2 or XL)"},
    {"control_blocks.", true, "a ControlNet, not a model"},
    {"controlnet_blocks.", true, "a ControlNet, not a model"},
}};

std::string_view remedy(Part part) {
  switch (part) {
    case Part::transformer:
      return "use a file of a Wan model in bf16, fp16, fp32 or fp8";
    case Part::text_encoder:
      return "use a file of umT5-XXL's encoder in bf16, fp16 or fp8";
    case Part::vae:
      return "use the file of the model's Wan VAE";
    case Part::image_encoder:
      return "use the file of CLIP ViT-H that belongs to Wan 2.1";
  }
  return {};
}

}  // namespace

std::string_view with_article(Part part) {
  switch (part) {
    case Part::transformer:
      return "a diffusion transformer";
    case Part::text_encoder:
      return "a umT5 text encoder";
    case Part::vae:
      return "a VAE";
    case Part::image_encoder:
      return "a CLIP image encoder";
  }
  return {};
}

std::string_view setting_of(Part part) {
  switch (part) {
    case Part::transformer:
      return "setting 'model'";
    case Part::text_encoder:
      return "setting 'text encoder'";
    case Part::vae:
      return "setting 'VAE'";
    case Part::image_encoder:
      return "setting 'image encoder'";
  }
  return {};
}

std::optional<Part> part_of(const TensorEntries& entries) {
  const auto found =
      std::ranges::find_if(part_marks, [&](const PartMark& mark) { return entries.contains(mark.name); });
  return found == part_marks.end() ? std::nullopt : std::optional(found->part);
}

void refuse_other_contents(Part part, const TensorEntries& entries, const std::filesystem::path& where) {
  for (const KnownContents& known : known_contents) {
    const auto found = std::ranges::find_if(entries, [&](const auto& item) {
      const std::string& name = item.first;
      return known.at_start ? name.starts_with(known.mark) : name.find(known.mark) != std::string::npos;
    });
    if (found == entries.end()) continue;
    fail<UsageError>("{}: it is {} (tensor {}); {}", where.string(), known.what, in_quotes(found->first),
                     remedy(part));
  }
  const std::optional<Part> other = part_of(entries);
  if (other && *other != part) {
    fail<UsageError>(
        "{}: it holds the tensors of {}, and {} must be at this place; {}, or name each file by its "
        "option ({})",
        where.string(), with_article(*other), with_article(part), remedy(part), setting_of(*other));
  }
}

}  // namespace wan::checkpoint
