"""The text encoder umT5 at a small size (model.md 3.1). Names and shapes are those of the official file.

Token ids are [texts, tokens]; a shorter text is filled up with 0 (<pad>), which no other token sees.
"""

import math

import torch
from torch import nn
from torch.nn import functional

PAD = 0
EXACT_BUCKETS, LARGEST_DISTANCE = 8, 128  # of the 16 buckets on each side


class Norm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


def position_buckets(tokens: int, device) -> torch.Tensor:
    """The bucket of each distance from query to key: [query, key], from 0 to 31."""
    places = torch.arange(tokens, device=device)
    distance = places[None, :] - places[:, None]
    size = distance.abs()
    far = torch.log(size.clamp(min=1).float() / EXACT_BUCKETS) / math.log(LARGEST_DISTANCE / EXACT_BUCKETS) * EXACT_BUCKETS
    far = (EXACT_BUCKETS + far.long()).clamp(max=2 * EXACT_BUCKETS - 1)
    return torch.where(distance > 0, 2 * EXACT_BUCKETS, 0) + torch.where(size < EXACT_BUCKETS, size, far)


class Positions(nn.Module):
    def __init__(self, heads: int):
        super().__init__()
        self.embedding = nn.Embedding(4 * EXACT_BUCKETS, heads)

    def forward(self, tokens: int) -> torch.Tensor:
        """The numbers that are added to the scores: [heads, query, key]."""
        # A product instead of a look-up: its gradient has one order of summation.
        chosen = functional.one_hot(position_buckets(tokens, self.embedding.weight.device), 4 * EXACT_BUCKETS).float()
        return (chosen @ self.embedding.weight).permute(2, 0, 1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-1, -2) + bias, dim=-1)  # no factor 1 / sqrt(head_dim)
        return self.o((weights @ v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(width, inner, bias=False), nn.GELU(approximate="tanh"))
        self.fc1 = nn.Linear(width, inner, bias=False)
        self.fc2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.fc1(x) * self.gate(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, inner: int):
        super().__init__()
        self.norm1, self.attn = Norm(width), Attention(width, heads)
        self.norm2, self.ffn = Norm(width), FeedForward(width, inner)
        self.pos_embedding = Positions(heads)

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        bias = self.pos_embedding(x.shape[1]) + padding
        x = x + self.attn(self.norm1(x), bias)
        return x + self.ffn(self.norm2(x))


class Umt5(nn.Module):
    def __init__(self, vocabulary: int, width: int, heads: int, inner: int, layers: int):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        self.norm = Norm(width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[texts, tokens] to [texts, tokens, width]; the rows of padding are 0, as the DiT expects them."""
        real = ids != PAD
        padding = torch.where(real, 0.0, -1e9)[:, None, None, :]
        x = self.token_embedding(ids)
        for block in self.blocks:
            x = block(x, padding)
        return self.norm(x) * real[..., None]
