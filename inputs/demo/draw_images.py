#!/usr/bin/env python3
"""Draws the demo's images: first frames of the demo's world (train/world.py), made here so that nobody else holds rights to them.

Usage: draw_images.py [FOLDER]        (default: images/ beside this script; needs PyTorch and Pillow)
"""

import sys
from pathlib import Path

import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE / "train"))
from grammar import COLOUR_NAMES, PLACES, SHAPES  # noqa: E402
from world import Scenes, draw  # noqa: E402

# File, colour, shape, place; the object's centre and radius in pixels, and where the background's ripples begin, in radians.
PICTURES = (
    ("ball_on_grass.png", "red", "ball", "over grass", 40.0, 52.0, 12.0, 0.5),
    ("star_at_night.png", "yellow", "star", "at night", 50.0, 46.0, 13.0, 1.5),
    ("box_on_sand.png", "blue", "box", "on the sand", 46.0, 50.0, 11.0, 2.5),
    ("ring_on_tiles.png", "pink", "ring", "over tiles", 52.0, 56.0, 13.0, 3.5),
)


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "images"
    folder.mkdir(parents=True, exist_ok=True)
    names, colours, shapes, places, *lengths = zip(*PICTURES, strict=True)
    indices = [[words.index(word) for word in column]
               for words, column in ((COLOUR_NAMES, colours), (SHAPES, shapes), (PLACES, places))]
    scenes = Scenes(*map(torch.tensor, indices), *map(torch.tensor, lengths))
    still = torch.zeros(len(names), dtype=torch.long)
    frames = draw(scenes, still, still, frames=1)[:, :, 0]  # [pictures, 3, side, side]
    for name, picture in zip(names, frames, strict=True):
        pixels = ((picture + 1) / 2 * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
