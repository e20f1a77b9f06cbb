"""A quick look at what the experts have learned: Euler's method with guidance, judged by pixels.

The program itself is the measure (`tests/demo`); this tells within seconds of training whether it is worth asking.
"""

from collections import Counter

import torch

from dit import Dit
from experts import TIMESTEPS, with_condition
from grammar import parse
from judge import judge
from latents import draw_pairs, embed, encode_image
from plan import Plan
from umt5 import Umt5
from vae import Vae
from words import NEGATIVE_PROMPT, Words
from world import draw

UNSEEN_SEED = 9_000_001  # scenes that the training does not draw
STEPS, GUIDANCE = 12, 3.0


def schedule(steps: int, shift: float) -> list[float]:
    places = [1 - index / steps for index in range(steps)]
    return [shift * place / (1 + (shift - 1) * place) for place in places] + [0.0]


@torch.no_grad()
def sample(plan: Plan, experts: dict[str, Dit], image: torch.Tensor, text, lengths, negative, negative_length, generator) -> torch.Tensor:
    """Latents of clips whose first frames are encoded in `image`."""
    latent = torch.randn(image.shape, generator=generator, device=image.device)
    sigmas = schedule(STEPS, plan.expert.shift)
    count = len(image)
    text = torch.cat([text, negative.expand(count, -1, -1)])
    lengths = torch.cat([lengths, torch.full_like(lengths, negative_length)])
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        expert = experts["high" if sigma >= plan.expert.boundary else "low"]
        seen = with_condition(latent, image)
        timestep = torch.full((2 * count,), int(sigma * TIMESTEPS), device=image.device)
        with_prompt, without = expert(torch.cat([seen, seen]), timestep, text, lengths).chunk(2)
        latent = latent + (following - sigma) * (without + GUIDANCE * (with_prompt - without))
    return latent


@torch.no_grad()
def score(plan: Plan, vae: Vae, encoder: Umt5, words: Words, experts: dict[str, Dit], count: int, device, prompted: bool = True) -> dict:
    """Shares of `count` unseen clips with the right motion and colour. Without `prompted` all get the negative prompt."""
    drawn, _ = draw_pairs(UNSEEN_SEED, count, 1)
    scenes = drawn.scenes.to(device)
    still = torch.zeros(count, dtype=torch.long, device=device)
    rows, lengths = embed(encoder, words, [*drawn.prompts, NEGATIVE_PROMPT], device)
    generator = torch.Generator(device).manual_seed(plan.seed)
    right, kept, failures = Counter(), 0, Counter()
    asked = Counter()
    for part in torch.arange(count, device=device).split(64):
        first = draw(scenes[part], still[part], still[part], 1, plan.side)[:, :, 0]
        text, length = (rows[part], lengths[part]) if prompted else (rows[-1:].expand(len(part), -1, -1), lengths[-1:].expand(len(part)))
        latent = sample(plan, experts, encode_image(vae, first, plan.frames), text, length, rows[-1], int(lengths[-1]), generator)
        pixels = torch.cat([vae.decode(piece) for piece in latent.split(16)])
        frames = ((pixels.clamp(-1, 1) + 1) / 2 * 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()
        for index, clip in zip(part.tolist(), frames, strict=True):
            verdict = judge(clip)
            wanted = drawn.prompts[index]
            name = _motion(wanted)
            asked[name] += 1
            kept += verdict.colour_kept and verdict.colour == wanted.split()[1]
            if verdict.motion == name:
                right[name] += 1
            else:
                failures[f"{name}>{verdict.motion}"] += 1
    return {"motion": sum(right.values()) / count, "colour": kept / count,
            "by_motion": {name: f"{right[name]}/{asked[name]}" for name in sorted(asked)}, "failures": dict(failures.most_common(12))}


def _motion(prompt: str) -> str:


    caption = parse(prompt)
    assert caption is not None
    return caption.motion
