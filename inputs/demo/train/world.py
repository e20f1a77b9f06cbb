"""Draws the clips of the demo's world: one shape of one colour that moves before a still background.

A scene is a first frame; a motion and a speed make a clip of it. Both come from a seed, and numbers are drawn on the CPU, so that
every machine makes the same clips. Frames are drawn where `device` says, many clips at once. Lengths are in pixels of a frame of
SIDE x SIDE; a smaller or larger frame shows a part or more of the same world.
"""

import math
from dataclasses import dataclass, fields

import torch

from grammar import COLOUR_NAMES, COLOURS, MOTION_NAMES, PLACES, SENTENCES, SHAPES, SPEEDS, Caption

SIDE, FRAMES = 96, 33
EDGE = 1.5  # pixels over which a shape's border turns from object to background

# The motions over a whole clip, slowly and quickly.
DISTANCE = (16.0, 28.0)  # pixels from the first to the last frame
CIRCLE_RADIUS, CIRCLE_TURNS = 12.0, (1.0, 1.5)
HOP_HEIGHT, HOPS = 20.0, (1.0, 2.0)
GROWN = (1.45, 1.8)  # size in the last frame, as a share of that in the first one
SHRUNK = (0.6, 0.4)
FADED = (0.35, 0.0)  # opacity in the last frame

# Each place: the colour of its background, that of its ripples, and two waves in radians per pixel (across, down).
# All of them are dull, so that nothing of a background can be taken for an object.
_GROUNDS = {
    "before a wall": ((0.62, 0.60, 0.57), 0.00, (0.0, 0.0), (0.0, 0.0)),
    "at night": ((0.13, 0.13, 0.17), 0.04, (0.0, 0.07), (0.0, 0.0)),
    "over grass": ((0.36, 0.43, 0.33), 0.05, (0.55, 0.20), (-0.50, 0.28)),
    "on the sand": ((0.66, 0.61, 0.51), 0.04, (0.10, 0.45), (0.0, 0.0)),
    "above the water": ((0.40, 0.46, 0.52), 0.06, (0.06, 0.50), (0.0, 0.22)),
    "over tiles": ((0.50, 0.50, 0.50), 0.06, (0.40, 0.0), (0.0, 0.40)),
}


@dataclass
class Scenes:
    """Many scenes; every field is a tensor [scenes]."""

    colour: torch.Tensor  # index into COLOUR_NAMES
    shape: torch.Tensor
    place: torch.Tensor
    x: torch.Tensor  # centre of the object in the first frame, in pixels from the frame's left edge
    y: torch.Tensor
    radius: torch.Tensor
    phase: torch.Tensor  # where the background's ripples begin, in radians

    def __len__(self) -> int:
        return len(self.colour)

    def __getitem__(self, index) -> "Scenes":
        return Scenes(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device) -> "Scenes":
        return Scenes(*(getattr(self, field.name).to(device) for field in fields(self)))


def draw_scenes(count: int, generator: torch.Generator, side: int = SIDE, spread: float = 10.0) -> Scenes:
    """`count` scenes whose object lies at most `spread` pixels from the middle of a frame of `side` pixels, per axis."""

    def whole(below: int) -> torch.Tensor:
        return torch.randint(below, (count,), generator=generator)

    def between(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    middle = side / 2
    return Scenes(
        whole(len(COLOUR_NAMES)), whole(len(SHAPES)), whole(len(PLACES)), between(middle - spread, middle + spread),
        between(middle - spread, middle + spread), between(10.0, 13.0), between(0.0, 2 * math.pi))


def draw_motions(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Motion and speed of `count` clips, as indices into MOTION_NAMES and SPEEDS."""
    return (torch.randint(len(MOTION_NAMES), (count,), generator=generator), torch.randint(len(SPEEDS), (count,), generator=generator))


def captions(scenes: Scenes, motion: torch.Tensor, speed: torch.Tensor, generator: torch.Generator) -> list[str]:
    """One sentence for each clip, in one of the grammar's equal wordings."""
    sentence = torch.randint(SENTENCES, (len(scenes),), generator=generator)
    rows = zip(scenes.colour.tolist(), scenes.shape.tolist(), motion.tolist(), speed.tolist(), scenes.place.tolist(), sentence.tolist(),
               strict=True)
    return [Caption(COLOUR_NAMES[c], SHAPES[s], MOTION_NAMES[m], SPEEDS[v], PLACES[p]).text(n) for c, s, m, v, p, n in rows]


@dataclass
class Path:
    """Where the object is in each frame; every field is [clips, frames]."""

    x: torch.Tensor
    y: torch.Tensor
    radius: torch.Tensor
    opacity: torch.Tensor


def paths(scenes: Scenes, motion: torch.Tensor, speed: torch.Tensor, frames: int = FRAMES) -> Path:
    """The object's path. A clip of fewer frames than FRAMES is the beginning of the whole clip."""
    time = (torch.arange(frames, device=motion.device) / (FRAMES - 1))[None]  # 0 to 1

    def by_speed(values: tuple[float, float]) -> torch.Tensor:
        return torch.tensor(values, device=motion.device)[speed][:, None]

    def does(name: str) -> torch.Tensor:
        return (motion == MOTION_NAMES.index(name)).float()[:, None]

    along = by_speed(DISTANCE) * time
    angle = 2 * math.pi * by_speed(CIRCLE_TURNS) * time  # clockwise, from the top of the circle
    hop = HOP_HEIGHT * (math.pi * by_speed(HOPS) * time).sin().abs()
    x = (does("right") - does("left")) * along + does("circle") * CIRCLE_RADIUS * angle.sin()
    y = (does("down") - does("up")) * along + does("circle") * CIRCLE_RADIUS * (1 - angle.cos()) - does("bounce") * hop
    size = 1 + (does("grow") * (by_speed(GROWN) - 1) + does("shrink") * (by_speed(SHRUNK) - 1)) * time
    opacity = 1 + does("fade") * (by_speed(FADED) - 1) * time
    return Path(scenes.x[:, None] + x, scenes.y[:, None] + y, scenes.radius[:, None] * size, opacity)


def _distance(shape: torch.Tensor, u: torch.Tensor, v: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """About how many pixels a point lies outside of its shape; negative inside. u, v are from the centre, v grows downwards."""
    length = (u * u + v * v).sqrt()
    rays = 0.74 + 0.30 * torch.cos(5 * torch.atan2(u, -v))
    by_shape = (
        length - r,  # ball
        torch.maximum(u.abs(), v.abs()) - 0.86 * r,  # box
        (u.abs() + v.abs() - 1.25 * r) * math.sqrt(0.5),  # diamond
        torch.maximum(v - 0.6 * r, 0.866 * u.abs() - 0.5 * v - 0.6 * r),  # triangle
        0.8 * (length - rays * r),  # star
        (length - 0.74 * r).abs() - 0.28 * r,  # ring
    )
    result = torch.zeros_like(length)
    for index, distance in enumerate(by_shape):
        result = torch.where(shape == index, distance, result)
    return result


def backgrounds(scenes: Scenes, side: int) -> torch.Tensor:
    """[scenes, 3, side, side], from 0 to 1."""
    device = scenes.phase.device
    colour = torch.tensor([_GROUNDS[place][0] for place in PLACES], device=device)[scenes.place]
    height = torch.tensor([_GROUNDS[place][1] for place in PLACES], device=device)[scenes.place][:, None, None]
    waves = torch.tensor([_GROUNDS[place][2:] for place in PLACES], device=device)[scenes.place]  # [scenes, 2, 2]
    pixel = torch.arange(side, device=device) + 0.5
    across, down = pixel[None, None, :], pixel[None, :, None]
    ripple = 0.0
    for wave in (0, 1):
        rate = waves[:, wave, :, None, None]
        ripple = ripple + torch.sin(rate[:, 0] * across + rate[:, 1] * down + (wave + 1) * scenes.phase[:, None, None])
    light = 0.5 * height * ripple
    return (colour[:, :, None, None] + light[:, None]).clamp(0, 1)


def draw(scenes: Scenes, motion: torch.Tensor, speed: torch.Tensor, frames: int = FRAMES, side: int = SIDE) -> torch.Tensor:
    """The clips [clips, 3, frames, side, side], from -1 to 1. All arguments are on one device, and the clips are made there."""
    path = paths(scenes, motion, speed, frames)
    pixel = torch.arange(side, device=motion.device) + 0.5
    u = pixel[None, None, None, :] - path.x[:, :, None, None]
    v = pixel[None, None, :, None] - path.y[:, :, None, None]
    distance = _distance(scenes.shape[:, None, None, None], u, v, path.radius[:, :, None, None])
    cover = (0.5 - distance / EDGE).clamp(0, 1) * path.opacity[:, :, None, None]  # [clips, frames, side, side]
    colour = torch.tensor(list(COLOURS.values()), device=motion.device)[scenes.colour][:, :, None, None, None]
    ground = backgrounds(scenes, side)[:, :, None]
    return 2 * (ground + cover[:, None] * (colour - ground)) - 1
