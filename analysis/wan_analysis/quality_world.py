"""Whether a clip of the demo's world does what its prompt says.

The judge itself lies with the world, in inputs/demo/train of a checkout. An installed package has no judge.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WORLD = Path(__file__).resolve().parents[2] / "inputs" / "demo" / "train"


@dataclass(frozen=True)
class Judged:
    """The demo's verdict on one clip."""

    asked: str  # the motion that the prompt asks for
    seen: str  # the motion that the pixels show, "still" or "lost"
    follows: bool
    colour: str  # of the object in the first frame
    colour_kept: bool  # through all frames, and it is the colour that the prompt names


def has_judge() -> bool:
    """Whether the code runs from a checkout, which has the demo's judge."""
    return (WORLD / "judge.py").is_file()


def judge_frames(frames: np.ndarray, prompt: str) -> Judged | None:
    """Judges uint8 frames [frames, height, width, 3]. None if the prompt is no sentence of the demo's grammar, or without a judge."""
    if not has_judge():
        return None
    if str(WORLD) not in sys.path:
        sys.path.append(str(WORLD))
    from grammar import parse
    from judge import judge

    caption = parse(prompt)
    if caption is None:
        return None
    verdict = judge(frames)
    kept = verdict.colour_kept and verdict.colour == caption.colour
    return Judged(caption.motion, verdict.motion, verdict.motion == caption.motion, verdict.colour, kept)
