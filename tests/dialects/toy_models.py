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
# latents_mean and latents_std of Wan 2.2's autoencoder (docs/model.md); those of Wan 2.1 are the defaults of diffusers.
# fmt: off
MEAN_22 = [
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891, 0.157, -0.0098, 0.0375, -0.1825,
    -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502, -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.123,
    -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.052, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
]
STD_22 = [
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.499, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
    0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
    0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.06, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
]
# fmt: on
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
    values = {"latents_mean": MEAN_22, "latents_std": STD_22, "is_residual": True, "scale_factor_spatial": 16}
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
