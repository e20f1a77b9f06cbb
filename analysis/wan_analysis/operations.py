"""Floating-point operations of a step, as wan_batch's plan counts them (make_plan() in src/parallel/plan.cpp).

Linear layers grow with the tokens of a video, attention with their square. Both grow with the frames through the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Pixels of a token's edge, and frames of a latent frame (model.md 0.2).
_TOKEN_PIXELS = 16
_LATENT_FRAMES = 4


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of an expert that its operations depend on (model.md 1.2)."""

    dim: int
    ffn_dim: int
    layers: int
    text_tokens: int
    heads: int


#: Both experts of i2v-A14B and t2v-A14B.
A14B = ModelSizes(dim=5120, ffn_dim=13824, layers=40, text_tokens=512, heads=40)


def tokens(width: int, height: int, frames: int) -> int:
    """Tokens of a video of so many pixels and frames."""
    return ((frames - 1) // _LATENT_FRAMES + 1) * (height // _TOKEN_PIXELS) * (width // _TOKEN_PIXELS)


def linear_flop(width: int, height: int, frames: int, passes: float, sizes: ModelSizes = A14B) -> float:
    """Operations of a step's linear layers, over all ranks."""
    rows = tokens(width, height, frames) * passes
    return 2.0 * sizes.dim * (6 * sizes.dim + 2 * sizes.ffn_dim) * sizes.layers * rows


def attention_flop(width: int, height: int, frames: int, passes: float, sizes: ModelSizes = A14B) -> float:
    """Operations of a step's attention, over all ranks: every token attends to all tokens and to the text."""
    count = tokens(width, height, frames)
    return 4.0 * sizes.dim * sizes.layers * passes * count * (count + sizes.text_tokens)


def step_flop(width: int, height: int, frames: int, passes: float, sizes: ModelSizes = A14B) -> float:
    """Operations of a step, over all ranks."""
    return linear_flop(width, height, frames, passes, sizes) + attention_flop(width, height, frames, passes, sizes)


#: Attention heads of the models that have other than 40 (src/model/model_kind.cpp).
_HEADS = {"t2v-1.3B": 12, "ti2v-5B": 24}


def heads_of(task: str | None) -> int:
    """Attention heads of a model, which the ulysses ranks of a group divide."""
    return _HEADS.get(task or "", A14B.heads)
