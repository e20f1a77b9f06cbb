"""Judges a clip of the demo's world by its pixels alone: which motion does it show, and does the object keep its colour?

Backgrounds are dull and objects are vivid. So the part of a pixel's colour that points into the object's hue says how much object is in
the pixel. From frame to frame this gives the object's place, size and opacity, and these give the motion. numpy only.
"""

from dataclasses import dataclass

import numpy as np

from grammar import COLOUR_NAMES, COLOURS, parse

VIVID = 0.22  # a pixel whose colour is that far from grey belongs to an object; backgrounds stay below 0.12
FLOOR = 0.25  # a share of object below this is background
SIDE = 96  # the bounds below are pixels of a frame of this size

PEAK_FADED = 0.72  # a slow fade ends at 0.35
SIZE_FADED = 0.45  # of the area, when half of the colour is gone; a clip draws 0.9, an autoencoder eats at the edges
STILL = 7.0  # the shortest straight motion is 16
ROUND = 12.0  # a circle is 24 wide and high
SIDEWAYS = 9.0  # most that a bounce may move to the side
GROWN, SHRUNK = 1.4, 0.72  # areas: a slow growth ends at 2.1, a slow shrinking at 0.36
SMALLEST_OBJECT = 12  # pixels

_HUES = np.array(list(COLOURS.values())) - np.mean(list(COLOURS.values()), axis=1, keepdims=True)
_HUES_UNIT = _HUES / np.linalg.norm(_HUES, axis=1, keepdims=True)


@dataclass(frozen=True)
class Verdict:
    """The contents of a clip. `motion` is a word of the grammar, "still", or "lost" if the object goes missing in a way no motion does."""

    colour: str
    colour_kept: bool
    motion: str

    def follows(self, prompt: str) -> bool:
        """Whether it shows the motion that the prompt asks for."""
        caption = parse(prompt)
        if caption is None:
            raise ValueError(f"'{prompt}' is no sentence of the demo's grammar (inputs/demo/train/grammar.py)")
        return self.motion == caption.motion


@dataclass(frozen=True)
class Track:
    """The object over time; every field has one number per frame, lengths in pixels of a frame of SIDE pixels."""

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    opacity: np.ndarray


def _chroma(frames: np.ndarray) -> np.ndarray:
    pixels = frames.astype(np.float32) / 255
    return pixels - pixels.mean(axis=-1, keepdims=True)


def _hue(chroma: np.ndarray) -> int | None:
    """The palette's nearest hue of the vivid pixels among [..., 3]; None if hardly any is vivid."""
    flat = chroma.reshape(-1, 3)
    vivid = flat[np.linalg.norm(flat, axis=1) > VIVID]
    if len(vivid) < SMALLEST_OBJECT:
        return None
    return int(np.argmax(_HUES_UNIT @ vivid.mean(axis=0)))


def track(frames: np.ndarray, hue: int) -> Track:
    """Follows an object of the palette's colour `hue` through uint8 frames [frames, height, width, 3]."""
    share = np.clip(_chroma(frames) @ _HUES[hue] / np.dot(_HUES[hue], _HUES[hue]), 0, 1.1)
    share[share < FLOOR] = 0
    count, height, width = share.shape
    scale = SIDE / np.sqrt(height * width)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y, area, opacity = (np.zeros(count) for _ in range(4))
    for index, frame in enumerate(share):
        strongest = np.sort(frame, axis=None)[-40:]
        opacity[index] = strongest.mean()
        body = frame * (frame > 0.5 * strongest.mean())
        total = body.sum()
        if total < 1:
            x[index], y[index] = (x[index - 1], y[index - 1]) if index else (width * scale / 2, height * scale / 2)
            continue
        x[index], y[index] = (body * columns).sum() / total * scale, (body * rows).sum() / total * scale
        area[index] = (body > 0).sum() * scale * scale
    return Track(x, y, area, opacity)


def motion_of(seen: Track) -> str:
    """The word of the grammar for what the object does, or "still"."""
    last = slice(-3, None)
    if seen.opacity[last].mean() < PEAK_FADED * seen.opacity[0]:
        # A shrinking object stays opaque until a few pixels of it are left; a fading one keeps most of its size while it can be seen.
        seen_well = seen.opacity > 0.5 * seen.opacity[0]
        return "fade" if seen.area[seen_well][-1] > SIZE_FADED * seen.area[0] else "shrink"
    across, down = np.ptp(seen.x), np.ptp(seen.y)
    gone_x, gone_y = seen.x[last].mean() - seen.x[0], seen.y[last].mean() - seen.y[0]
    if max(across, down) < STILL:
        growth = seen.area[last].mean() / max(seen.area[0], 1.0)
        return "grow" if growth > GROWN else "shrink" if growth < SHRUNK else "still"
    if min(across, down) > ROUND:
        return "circle"
    if across < SIDEWAYS and abs(gone_y) < 0.45 * down:
        return "bounce"
    if abs(gone_x) > abs(gone_y):
        return "right" if gone_x > 0 else "left"
    return "down" if gone_y > 0 else "up"


def judge(frames: np.ndarray) -> Verdict:
    """Judges uint8 frames [frames, height, width, 3]. The object's colour is that of the first frame, which shows the image."""
    chroma = _chroma(frames)
    hue = _hue(chroma[0])
    if hue is None:
        return Verdict("none", False, "lost")
    seen = track(frames, hue)
    hues = [found for found in map(_hue, chroma) if found is not None]
    colour_kept = len(hues) >= 3 and hues.count(hue) >= 0.9 * len(hues)
    motion = motion_of(seen)
    if motion != "fade" and (seen.opacity < 0.4).any():
        motion = "lost"
    return Verdict(COLOUR_NAMES[hue], colour_kept, motion)
