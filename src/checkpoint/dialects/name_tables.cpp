// One table of names for each dialect, from the libraries that write them:
// - Diffusers 0.36: models/transformers/transformer_wan.py, models/autoencoders/autoencoder_kl_wan.py, and
//   scripts/convert_wan_to_diffusers.py, which made the repositories *-Diffusers of Wan-AI.
// - transformers 4.57: models/umt5/modeling_umt5.py, models/clip/modeling_clip.py. ComfyUI's files of umT5
//   and CLIP (umt5_xxl_*.safetensors, clip_vision_h.safetensors) have the same names
//   (comfy/text_encoders/wan.py, comfy/clip_vision.py).
// tests/unit/checkpoint/dialect_test.cpp holds the tables to names that these libraries wrote.
#include <array>

#include "checkpoint/dialects/dialect.h"

namespace wan::checkpoint {
namespace {

constexpr std::array transformer_rules{
    NameRule{"patch_embedding.", "patch_embedding."},
    NameRule{"condition_embedder.time_embedder.linear_1.", "time_embedding.0."},
    NameRule{"condition_embedder.time_embedder.linear_2.", "time_embedding.2."},
    NameRule{"condition_embedder.text_embedder.linear_1.", "text_embedding.0."},
    NameRule{"condition_embedder.text_embedder.linear_2.", "text_embedding.2."},
    NameRule{"condition_embedder.time_proj.", "time_projection.1."},
    NameRule{"condition_embedder.image_embedder.norm1.", "img_emb.proj.0."},
    NameRule{"condition_embedder.image_embedder.ff.net.0.proj.", "img_emb.proj.1."},
    NameRule{"condition_embedder.image_embedder.ff.net.2.", "img_emb.proj.3."},
    NameRule{"condition_embedder.image_embedder.norm2.", "img_emb.proj.4."},
    NameRule{"condition_embedder.image_embedder.pos_embed", "img_emb.emb_pos"},
    NameRule{"blocks.{}.scale_shift_table", "blocks.{0}.modulation"},
    NameRule{"blocks.{}.attn1.to_q.", "blocks.{0}.self_attn.q."},
    NameRule{"blocks.{}.attn1.to_k.", "blocks.{0}.self_attn.k."},
    NameRule{"blocks.{}.attn1.to_v.", "blocks.{0}.self_attn.v."},
    NameRule{"blocks.{}.attn1.to_out.0.", "blocks.{0}.self_attn.o."},
    NameRule{"blocks.{}.attn1.norm_q.", "blocks.{0}.self_attn.norm_q."},
    NameRule{"blocks.{}.attn1.norm_k.", "blocks.{0}.self_attn.norm_k."},
    NameRule{"blocks.{}.attn2.to_q.", "blocks.{0}.cross_attn.q."},
    NameRule{"blocks.{}.attn2.to_k.", "blocks.{0}.cross_attn.k."},
    NameRule{"blocks.{}.attn2.to_v.", "blocks.{0}.cross_attn.v."},
    NameRule{"blocks.{}.attn2.to_out.0.", "blocks.{0}.cross_attn.o."},
    NameRule{"blocks.{}.attn2.norm_q.", "blocks.{0}.cross_attn.norm_q."},
    NameRule{"blocks.{}.attn2.norm_k.", "blocks.{0}.cross_attn.norm_k."},
    NameRule{"blocks.{}.attn2.add_k_proj.", "blocks.{0}.cross_attn.k_img."},
    NameRule{"blocks.{}.attn2.add_v_proj.", "blocks.{0}.cross_attn.v_img."},
    NameRule{"blocks.{}.attn2.norm_added_k.", "blocks.{0}.cross_attn.norm_k_img."},
    NameRule{"blocks.{}.norm2.", "blocks.{0}.norm3."},  // the norm before cross-attention in both
    NameRule{"blocks.{}.ffn.net.0.proj.", "blocks.{0}.ffn.0."},
    NameRule{"blocks.{}.ffn.net.2.", "blocks.{0}.ffn.2."},
    NameRule{"scale_shift_table", "head.modulation"},
    NameRule{"proj_out.", "head.head."},
};
/// Diffusers ignores it, too: older conversions of Wan 2.1 I2V hold it.
constexpr std::array<std::string_view, 1> transformer_unused{"blocks.{}.attn2.norm_added_q."};

constexpr std::array vae21_rules{
    NameRule{"encoder.conv_in.", "encoder.conv1."},
    NameRule{"encoder.down_blocks.{}.", "encoder.downsamples.{0}.", -1, 0, true},
    NameRule{"encoder.mid_block.resnets.0.", "encoder.middle.0.", -1, 0, true},
    NameRule{"encoder.mid_block.attentions.0.", "encoder.middle.1."},
    NameRule{"encoder.mid_block.resnets.1.", "encoder.middle.2.", -1, 0, true},
    NameRule{"encoder.norm_out.", "encoder.head.0."},
    NameRule{"encoder.conv_out.", "encoder.head.2."},
    NameRule{"quant_conv.", "conv1."},
    NameRule{"post_quant_conv.", "conv2."},
    NameRule{"decoder.conv_in.", "decoder.conv1."},
    NameRule{"decoder.mid_block.resnets.0.", "decoder.middle.0.", -1, 0, true},
    NameRule{"decoder.mid_block.attentions.0.", "decoder.middle.1."},
    NameRule{"decoder.mid_block.resnets.1.", "decoder.middle.2.", -1, 0, true},
    NameRule{"decoder.up_blocks.{}.resnets.{}.", "decoder.upsamples.{flat}.", -1, 0, true},
    NameRule{"decoder.up_blocks.{}.upsamplers.0.", "decoder.upsamples.{last}."},
    NameRule{"decoder.norm_out.", "decoder.head.0."},
    NameRule{"decoder.conv_out.", "decoder.head.2."},
};

constexpr std::array vae22_rules{
    NameRule{"encoder.conv_in.", "encoder.conv1."},
    NameRule{"encoder.down_blocks.{}.resnets.{}.", "encoder.downsamples.{0}.downsamples.{1}.", -1, 0, true},
    NameRule{"encoder.down_blocks.{}.downsampler.", "encoder.downsamples.{0}.downsamples.2."},
    NameRule{"encoder.mid_block.resnets.0.", "encoder.middle.0.", -1, 0, true},
    NameRule{"encoder.mid_block.attentions.0.", "encoder.middle.1."},
    NameRule{"encoder.mid_block.resnets.1.", "encoder.middle.2.", -1, 0, true},
    NameRule{"encoder.norm_out.", "encoder.head.0."},
    NameRule{"encoder.conv_out.", "encoder.head.2."},
    NameRule{"quant_conv.", "conv1."},
    NameRule{"post_quant_conv.", "conv2."},
    NameRule{"decoder.conv_in.", "decoder.conv1."},
    NameRule{"decoder.mid_block.resnets.0.", "decoder.middle.0.", -1, 0, true},
    NameRule{"decoder.mid_block.attentions.0.", "decoder.middle.1."},
    NameRule{"decoder.mid_block.resnets.1.", "decoder.middle.2.", -1, 0, true},
    NameRule{"decoder.up_blocks.{}.resnets.{}.", "decoder.upsamples.{0}.upsamples.{1}.", -1, 0, true},
    NameRule{"decoder.up_blocks.{}.upsampler.", "decoder.upsamples.{0}.upsamples.3."},
    NameRule{"decoder.norm_out.", "decoder.head.0."},
    NameRule{"decoder.conv_out.", "decoder.head.2."},
};

constexpr std::array umt5_rules{
    NameRule{"shared.weight", "token_embedding.weight"},
    NameRule{"encoder.embed_tokens.weight", "token_embedding.weight"},  // the same tensor, where it is stored
    NameRule{"encoder.block.{}.layer.0.layer_norm.", "blocks.{0}.norm1."},
    NameRule{"encoder.block.{}.layer.0.SelfAttention.q.", "blocks.{0}.attn.q."},
    NameRule{"encoder.block.{}.layer.0.SelfAttention.k.", "blocks.{0}.attn.k."},
    NameRule{"encoder.block.{}.layer.0.SelfAttention.v.", "blocks.{0}.attn.v."},
    NameRule{"encoder.block.{}.layer.0.SelfAttention.o.", "blocks.{0}.attn.o."},
    NameRule{"encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.",
             "blocks.{0}.pos_embedding.embedding."},
    NameRule{"encoder.block.{}.layer.1.layer_norm.", "blocks.{0}.norm2."},
    NameRule{"encoder.block.{}.layer.1.DenseReluDense.wi_0.", "blocks.{0}.ffn.gate.0."},
    NameRule{"encoder.block.{}.layer.1.DenseReluDense.wi_1.", "blocks.{0}.ffn.fc1."},
    NameRule{"encoder.block.{}.layer.1.DenseReluDense.wo.", "blocks.{0}.ffn.fc2."},
    NameRule{"encoder.final_layer_norm.", "norm."},
};
/// ComfyUI's files hold the tokenizer as bytes; files of the whole umT5 hold its decoder.
constexpr std::array<std::string_view, 3> umt5_unused{"spiece_model", "decoder.", "lm_head."};

constexpr std::array clip_rules{
    NameRule{"vision_model.embeddings.class_embedding", "visual.cls_embedding", -1, 2},
    NameRule{"vision_model.embeddings.position_embedding.weight", "visual.pos_embedding", -1, 1},
    NameRule{"vision_model.embeddings.patch_embedding.", "visual.patch_embedding."},
    NameRule{"vision_model.pre_layrnorm.", "visual.pre_norm."},
    NameRule{"vision_model.encoder.layers.{}.layer_norm1.", "visual.transformer.{0}.norm1."},
    NameRule{"vision_model.encoder.layers.{}.self_attn.q_proj.", "visual.transformer.{0}.attn.to_qkv.", 0},
    NameRule{"vision_model.encoder.layers.{}.self_attn.k_proj.", "visual.transformer.{0}.attn.to_qkv.", 1},
    NameRule{"vision_model.encoder.layers.{}.self_attn.v_proj.", "visual.transformer.{0}.attn.to_qkv.", 2},
    NameRule{"vision_model.encoder.layers.{}.self_attn.out_proj.", "visual.transformer.{0}.attn.proj."},
    NameRule{"vision_model.encoder.layers.{}.layer_norm2.", "visual.transformer.{0}.norm2."},
    NameRule{"vision_model.encoder.layers.{}.mlp.fc1.", "visual.transformer.{0}.mlp.0."},
    NameRule{"vision_model.encoder.layers.{}.mlp.fc2.", "visual.transformer.{0}.mlp.2."},
    NameRule{"vision_model.post_layernorm.", "visual.post_norm."},
};
/// The model's text half and projections, which Wan does not use.
constexpr std::array<std::string_view, 5> clip_unused{"text_model.", "text_projection.", "visual_projection.",
                                                      "logit_scale", "vision_model.embeddings.position_ids"};

constexpr std::array<Dialect, 5> all_dialects{{
    {"Diffusers", Part::transformer, "condition_embedder.", transformer_rules, transformer_unused},
    {"Diffusers (Wan 2.2)", Part::vae, "encoder.down_blocks.0.resnets.", vae22_rules, {}},
    {"Diffusers (Wan 2.1)", Part::vae, "encoder.conv_in.", vae21_rules, {}},
    {"transformers", Part::text_encoder, "encoder.block.", umt5_rules, umt5_unused},
    {"transformers", Part::image_encoder, "vision_model.", clip_rules, clip_unused},
}};

}  // namespace

std::span<const Dialect> dialects() { return all_dialects; }

}  // namespace wan::checkpoint
