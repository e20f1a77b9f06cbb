"""The experts' material: clips and their first frames as latents, and captions as embeddings, made once by the frozen networks."""

from dataclasses import dataclass

import torch

from autoencoder import half_precision
from plan import Plan
from trainer import step_generator
from umt5 import Umt5
from vae import Vae
from words import NEGATIVE_PROMPT, Words
from world import Scenes, captions, draw, draw_motions, draw_scenes

STORED = torch.bfloat16


@dataclass
class Material:
    clips: torch.Tensor  # [clips, 16, T, h8, w8]
    images: torch.Tensor  # [scenes, 16, T, h8, w8]: the first frame and grey frames, encoded
    scene: torch.Tensor  # [clips]: whose image belongs to a clip
    texts: torch.Tensor  # [clips, tokens, width]
    lengths: torch.Tensor  # [clips]
    negative: torch.Tensor  # [tokens, width]: the negative prompt, filled up with zeros
    negative_length: int


def encode_image(vae: Vae, first: torch.Tensor, frames: int) -> torch.Tensor:
    """First frames [scenes, 3, side, side] followed by grey ones, as the program encodes an image."""
    grey = torch.zeros(len(first), 3, frames - 1, *first.shape[2:], device=first.device)
    return vae.encode(torch.cat([first[:, :, None], grey], dim=2))


@torch.no_grad()
def embed(encoder: Umt5, words: Words, prompts: list[str], device) -> tuple[torch.Tensor, torch.Tensor]:
    ids, lengths = words.table(prompts)
    rows = torch.cat([encoder(part.to(device)) for part in ids.split(2048)])
    return rows, lengths.to(device)


@dataclass
class Drawn:
    """Scenes with motions: what a test or a set of clips shows."""

    scenes: Scenes
    motion: torch.Tensor
    speed: torch.Tensor
    prompts: list[str]


def draw_pairs(seed: int, scenes: int, per_scene: int) -> tuple[Drawn, torch.Tensor]:
    """`per_scene` motions for each of `scenes` scenes, and which scene each belongs to."""
    generator = step_generator(seed, "pairs", 0)
    own = draw_scenes(scenes, generator)
    index = torch.arange(scenes).repeat_interleave(per_scene)
    motion, speed = draw_motions(len(index), generator)
    return Drawn(own, motion, speed, captions(own[index], motion, speed, generator)), index


@torch.no_grad()
def make(plan: Plan, vae: Vae, encoder: Umt5, words: Words, device) -> Material:
    drawn, index = draw_pairs(plan.seed, plan.scenes, plan.clips_per_scene)
    scenes, motion, speed = drawn.scenes.to(device), drawn.motion.to(device), drawn.speed.to(device)
    scene = index.to(device)
    clips, images = [], []
    with half_precision(plan.vae, device):
        for part in torch.arange(len(index), device=device).split(plan.encoded_at_once):
            pixels = draw(scenes[scene[part]], motion[part], speed[part], plan.frames, plan.side)
            clips.append(vae.encode(pixels).to(STORED))
        for part in torch.arange(plan.scenes, device=device).split(plan.encoded_at_once):
            still = torch.zeros(len(part), dtype=torch.long, device=device)
            first = draw(scenes[part], still, still, 1, plan.side)[:, :, 0]
            images.append(encode_image(vae, first, plan.frames).to(STORED))
    texts, lengths = embed(encoder, words, [*drawn.prompts, NEGATIVE_PROMPT], device)
    return Material(torch.cat(clips), torch.cat(images), scene, texts[:-1], lengths[:-1], texts[-1], int(lengths[-1]))
