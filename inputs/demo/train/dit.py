"""The diffusion transformer of Wan 2.2 at a small size (model.md 5.6). Names and shapes are those of the official files.

Latents are [clips, channels, T, h8, w8]; a token covers 1 x 2 x 2 of them.
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

TEXT_LENGTH = 512  # rows of a text that cross-attention sees; those after the text's end are zeros
LATENT_CHANNELS = 16
INPUT_CHANNELS = 36  # latent, mask, encoded image


@dataclass(frozen=True)
class DitSize:
    dim: int
    heads: int
    layers: int
    ffn: int
    text_dim: int
    freq_dim: int = 256
    in_dim: int = INPUT_CHANNELS


class RmsNorm(nn.Module):
    """Over all channels of a token, before they are split into heads."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x.float(), x.shape[-1:], self.weight, 1e-6)


def layer_norm(x: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], weight, bias, 1e-6)


@functools.cache  # a copy to the GPU in each step would stop it
def rotary_table(grid: tuple[int, int, int], head_dim: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [tokens, 1, head_dim / 2] of the places in a grid of frames, rows and columns."""
    per_axis = head_dim // 6
    pairs = (head_dim // 2 - 2 * per_axis, per_axis, per_axis)
    places = torch.stack(torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in grid), indexing="ij"), -1).flatten(0, 2)
    angles = torch.cat([places[:, axis, None] * 10000.0 ** (-torch.arange(count, dtype=torch.float64) / count)
                        for axis, count in enumerate(pairs)], dim=1)[:, None]
    return angles.cos().float().to(device), angles.sin().float().to(device)


def rotate(x: torch.Tensor, table: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Turns neighbouring pairs of [clips, tokens, heads, head_dim]."""
    cos, sin = table
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RmsNorm(dim), RmsNorm(dim)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1))


class SelfAttention(Attention):
    def forward(self, x: torch.Tensor, table) -> torch.Tensor:
        v = self.split(self.v(x))
        q, k = (rotate(self.split(norm(part(x))), table).to(v.dtype) for part, norm in ((self.q, self.norm_q), (self.k, self.norm_k)))
        y = functional.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, k, v)))
        return self.o(y.transpose(1, 2).flatten(2))


class CrossAttention(Attention):
    def forward(self, x: torch.Tensor, text: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """`weight` [clips, rows of text] says for how many equal rows a row stands (0: for none)."""
        q, k = self.split(self.norm_q(self.q(x))), self.split(self.norm_k(self.k(text)))
        v = self.split(self.v(text))
        q, k, v = (part.to(v.dtype).transpose(1, 2) for part in (q, k, v))
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5 + weight.log()[:, None, None, :]
        return self.o((torch.softmax(scores, dim=-1).to(v.dtype) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, ffn: int):
        super().__init__()
        self.self_attn, self.cross_attn = SelfAttention(dim, heads), CrossAttention(dim, heads)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn), nn.GELU(approximate="tanh"), nn.Linear(ffn, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim ** 0.5)

    def forward(self, x: torch.Tensor, time: torch.Tensor, text: torch.Tensor, weight: torch.Tensor, table) -> torch.Tensor:
        """x fp32 [clips, tokens, dim], time [clips, 6, dim], text [clips, rows, dim]."""
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation + time)[:, :, None].unbind(1)
        x = x + gate * self.self_attn(layer_norm(x) * (1 + scale) + shift, table)
        x = x + self.cross_attn(layer_norm(x, self.norm3.weight, self.norm3.bias), text, weight)
        return x + ffn_gate * self.ffn(layer_norm(x) * (1 + ffn_scale) + ffn_shift)


class Head(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.head = nn.Linear(dim, 4 * LATENT_CHANNELS)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim ** 0.5)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        shift, scale = (self.modulation + time[:, None])[:, :, None].unbind(1)
        return self.head(layer_norm(x) * (1 + scale) + shift)


def short_text(text: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts [clips, rows, text_dim], zeros after their ends, with one more row of zeros; and for how many rows each row stands.

    The program attends to 512 rows, most of which are zeros and give one and the same key and value. One row stands for all of them here.
    """
    rows = text.shape[1]
    real = torch.arange(rows, device=text.device)[None] < lengths[:, None]
    weight = torch.cat([real.float(), (TEXT_LENGTH - lengths)[:, None].float()], dim=1)
    return functional.pad(text, (0, 0, 0, 1)), weight


class Dit(nn.Module):
    def __init__(self, size: DitSize):
        super().__init__()
        self.size = size
        dim = size.dim
        self.patch_embedding = nn.Conv3d(size.in_dim, dim, (1, 2, 2), stride=(1, 2, 2))
        self.text_embedding = nn.Sequential(nn.Linear(size.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(size.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, size.heads, size.ffn) for _ in range(size.layers))
        self.head = Head(dim)

    def embed_patches(self, latent: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int, int]]:
        """Tokens fp32 [clips, tokens, dim] and their grid. Patches do not overlap, so the convolution is one matrix product."""
        patches = latent.unflatten(3, (-1, 2)).unflatten(5, (-1, 2))  # [clips, channels, T, gh, 2, gw, 2]
        grid = (patches.shape[2], patches.shape[3], patches.shape[5])
        patches = patches.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)
        return functional.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias).float(), grid

    def forward(self, latent: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The velocity [clips, 16, T, h8, w8] of `latent` (noise, mask and image: 36 channels), at whole timesteps [clips]."""
        x, grid = self.embed_patches(latent)
        rows, weight = short_text(text, lengths)
        rows = self.text_embedding(rows)
        with torch.autocast(latent.device.type, enabled=False):
            half = self.size.freq_dim // 2
            angle = timestep.double()[:, None] * 10000.0 ** (-torch.arange(half, device=latent.device).double() / half)
            time = self.time_embedding(torch.cat([angle.cos(), angle.sin()], dim=1).float())
            modulation = self.time_projection(time).unflatten(1, (6, -1))
        table = rotary_table(grid, self.size.dim // self.size.heads, latent.device)
        for block in self.blocks:
            x = block(x, modulation, rows, weight, table)
        y = self.head(x, time).float()
        y = y.unflatten(1, grid).unflatten(-1, (2, 2, LATENT_CHANNELS))  # [clips, T, gh, gw, 2, 2, channels]
        return y.permute(0, 6, 1, 2, 4, 3, 5).flatten(3, 4).flatten(4, 5)

    def prepare_training(self) -> None:
        """Weights to start from: gates at 1, branches scaled to the depth, and a head that predicts nothing."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        nn.init.normal_(self.text_embedding[2].bias, std=0.3)  # a row of zeros must not become a key of zeros, which no norm likes
        nn.init.zeros_(self.time_projection[1].weight)
        for block in self.blocks:
            nn.init.zeros_(block.modulation)
            block.modulation.data[:, (2, 5)] = 1
            for layer in (block.self_attn.o, block.cross_attn.o, block.ffn[2]):
                layer.weight.data *= 1 / math.sqrt(3 * len(self.blocks))
            # The rows after a text's end are many: sharp scores let the few words be heard from the start.
            block.cross_attn.norm_q.weight.data.fill_(1.5)
            block.cross_attn.norm_k.weight.data.fill_(1.5)
        nn.init.zeros_(self.head.head.weight)
        nn.init.zeros_(self.head.modulation)
