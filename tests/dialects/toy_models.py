"""Toy models of every kind, made by diffusers and transformers, the libraries from which users' files come. Heads of 128 elements."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanImageToVideoPipeline, WanPipeline, WanTransformer3DModel
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, T5TokenizerFast, UMT5Config, UMT5EncoderModel

PROJECT = Path(__file__).resolve().parents[2]
TOKENIZER = PROJECT / "inputs/toy/checkpoint/google/umt5-xxl"
TEXT_WIDTH, CLIP_WIDTH = 64, 64
HEAD = 128
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32


@dataclass(frozen=True)
class Kind:
    """The traits of a task's toy."""

    task: str
    channels: int  # that the transformer takes
    experts: int = 1
    has_clip: bool = False
    is_22_vae: bool = False
    takes_image: bool = False
    heads: int = 12  # of a released model, for files without config.json
    dtype: torch.dtype = F32  # of the repository's files

    @property
    def latent(self) -> int:
        return 48 if self.is_22_vae else 16


KINDS = {
    kind.task: kind
    for kind in (
        Kind("t2v-A14B", 16, experts=2, dtype=BF16),
        Kind("i2v-A14B", 36, experts=2, takes_image=True),
        Kind("ti2v-5B", 48, is_22_vae=True, takes_image=True, heads=24, dtype=F16),
        Kind("t2v-1.3B", 16),
        Kind("i2v-14B", 36, has_clip=True, takes_image=True),
    )
}


def fill(model: torch.nn.Module, seed: str) -> torch.nn.Module:
    """Random weights that keep the size of activations. Each tensor depends on its name and the seed alone."""
    for name, parameter in model.named_parameters():
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:6], "big"))
        values = torch.randn(parameter.shape, generator=generator)
        is_gain = name.endswith("gamma") or (name.endswith("weight") and parameter.dim() == 1)
        if is_gain:
            values = 1 + 0.1 * values
        elif parameter.dim() == 1:
            values *= 0.05
        elif name.endswith(("table", "embedding.weight")):
            values *= 0.3
        else:
            values /= math.sqrt(parameter[0].numel())
        parameter.data = values
    return model.eval().requires_grad_(False)


def transformer(kind: Kind, seed: str, heads: int = 2, layers: int = 2) -> WanTransformer3DModel:
    width = heads * HEAD
    model = WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=HEAD,
        in_channels=kind.channels,
        out_channels=kind.latent,
        text_dim=TEXT_WIDTH,
        ffn_dim=96,
        num_layers=layers,
        image_dim=CLIP_WIDTH if kind.has_clip else None,
        added_kv_proj_dim=width if kind.has_clip else None,
    )
    return fill(model, f"{kind.task} {seed}")


def vae(is_22: bool) -> AutoencoderKLWan:
    if not is_22:
        return fill(AutoencoderKLWan(base_dim=8), "vae21")
    sizes = {"base_dim": 4, "decoder_base_dim": 8, "z_dim": 48, "in_channels": 12, "out_channels": 12, "patch_size": 2}
    values = {"latents_mean": [0.0] * 48, "latents_std": [1.0] * 48, "is_residual": True, "scale_factor_spatial": 16}
    return fill(AutoencoderKLWan(**sizes, **values), "vae22")


def text_encoder() -> UMT5EncoderModel:
    config = UMT5Config(vocab_size=413, d_model=TEXT_WIDTH, d_kv=16, num_heads=4, d_ff=96, num_layers=2, feed_forward_proj="gated-gelu")
    return fill(UMT5EncoderModel(config), "umt5")


def image_encoder() -> CLIPVisionModel:
    config = CLIPVisionConfig(
        hidden_size=CLIP_WIDTH, intermediate_size=96, num_hidden_layers=3, num_attention_heads=16, patch_size=14, hidden_act="gelu"
    )
    return fill(CLIPVisionModel(config), "clip")


@dataclass
class Networks:
    """The networks of a toy. `experts` has one transformer, or the one of high noise and the one of low noise."""

    kind: Kind
    experts: list[WanTransformer3DModel]
    vae: AutoencoderKLWan
    text_encoder: UMT5EncoderModel
    image_encoder: CLIPVisionModel | None

    def save_repository(self, root: Path) -> Path:
        """A Diffusers repository, all of it written by save_pretrained(). Its transformers are in shards."""
        parts = {
            "tokenizer": T5TokenizerFast(tokenizer_file=str(TOKENIZER / "tokenizer.json"), extra_ids=0),
            "text_encoder": self.text_encoder,
            "vae": self.vae,
            "scheduler": FlowMatchEulerDiscreteScheduler(),
            "transformer": self.experts[0],
            "transformer_2": self.experts[1] if len(self.experts) > 1 else None,
            "boundary_ratio": 0.9 if len(self.experts) > 1 else None,
            "expand_timesteps": self.kind.is_22_vae,
        }
        if self.kind.takes_image and not self.kind.is_22_vae:
            processor = CLIPImageProcessor() if self.image_encoder else None
            pipeline = WanImageToVideoPipeline(**parts, image_encoder=self.image_encoder, image_processor=processor)
        else:
            pipeline = WanPipeline(**parts)
        pipeline.save_pretrained(root, max_shard_size="2MB")
        return root


def networks(task: str, *, as_released: bool = False, dtype: torch.dtype | None = None) -> Networks:
    """The toy of a task. `as_released`: one block of a released model's width, for files without config.json."""
    kind = KINDS[task]
    heads, layers = (kind.heads, 1) if as_released else (2, 2)
    experts = [transformer(kind, f"expert {number}", heads, layers).to(dtype or kind.dtype) for number in range(kind.experts)]
    return Networks(kind, experts, vae(kind.is_22_vae), text_encoder().to(BF16), image_encoder().to(F16) if kind.has_clip else None)
