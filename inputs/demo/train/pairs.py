#!/usr/bin/env python3
"""Draws image and prompt pairs that no training has seen, as a manifest for wan_batch.

    .venv/bin/python inputs/demo/train/pairs.py FOLDER [--count 48] [--seed N]

It writes FOLDER/manifest.csv and one PNG for each image. `jobs/analysis.sh quality OUT` judges the videos.
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image

from grammar import MOTION_NAMES
from trainer import step_generator
from world import SIDE, captions, draw, draw_motions, draw_scenes

UNSEEN_SEED = 9_000_001  # the training draws its scenes from other seeds


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description="Draws unseen image and prompt pairs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=48, help="pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=UNSEEN_SEED, help="another seed gives other pairs (default: %(default)s)")
    options = parser.parse_args(arguments)
    generator = step_generator(options.seed, "pairs", 0)
    scenes = draw_scenes(options.count, generator)
    _, speed = draw_motions(options.count, generator)
    motion = torch.arange(options.count) % len(MOTION_NAMES)  # every motion equally often
    prompts = captions(scenes, motion, speed, generator)
    first = draw(scenes, motion, speed, 1)[:, :, 0]
    pixels = ((first + 1) / 2 * 255).round().byte().permute(0, 2, 3, 1).numpy()
    options.folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,prompt"]
    for index, (picture, prompt) in enumerate(zip(pixels, prompts, strict=True)):
        Image.fromarray(picture).save(options.folder / f"{index:03d}.png")
        lines.append(f"{index:03d}.png,{prompt}")
    (options.folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{options.folder}/manifest.csv: {options.count} pairs of {SIDE}*{SIDE} pixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
