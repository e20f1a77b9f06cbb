"""Measures of one run. All are functions of its tables, so a test can compute them in another way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wan_analysis.once import once_per_run
from wan_analysis.run import SHAPE, Run
from wan_analysis.trace_format import PARTS, REMAINDER

#: (width in pixels, height in pixels, frames)
Shape = tuple[int, int, int]

SECONDS_PER_HOUR = 3600.0

#: Standard deviation of a normal distribution over its median absolute deviation.
DEVIATION_PER_MAD = 1.4826


@dataclass(frozen=True)
class TypicalStep:
    """Means over the middle half of a shape's steps (first to third quartile of `wall_s`), then over shapes.

    Its parts add up to its time, unlike medians. A slow first step does not change it, as with medians.
    """

    wall_s: float
    median_s: float
    parts_s: dict[str, float]
    communication_s: float
    sent_bytes: float
    count: int

    @property
    def communication_share(self) -> float:
        """Fraction of the step spent in communication, 0 to 1."""
        return self.communication_s / self.wall_s

    @property
    def achieved_bytes_per_s(self) -> float:
        """Bytes that a rank sends in a second of communication. NaN if it sends nothing."""
        if self.sent_bytes == 0 or self.communication_s == 0:
            return float("nan")
        return self.sent_bytes / self.communication_s


def shape_text(shape: Shape) -> str:
    """832×480, 81 frames."""
    width, height, frames = shape
    return f"{width}×{height}, {frames} frames"


def shapes_of(run: Run) -> list[Shape]:
    """Shapes of all steps, ordered by size."""
    there = run.steps[SHAPE].dropna().drop_duplicates()
    return sorted((int(w), int(h), int(f)) for w, h, f in there.itertuples(index=False))


def steps_of_shape(run: Run, shape: Shape) -> pd.DataFrame:
    """Rows of `run.steps` of one shape."""
    return run.steps[(run.steps[SHAPE] == list(shape)).all(axis=1)]


def typical_step(run: Run, shapes: Sequence[Shape]) -> TypicalStep:
    """The run's typical step over `shapes`. The run must have all of them, and each counts the same."""
    rows, medians, count = [], [], 0
    for shape in shapes:
        steps = steps_of_shape(run, shape)
        low, high = np.quantile(steps["wall_s"], [0.25, 0.75])
        middle = steps[steps["wall_s"].between(low, high)]
        if middle.empty:  # with two steps, nothing lies between the quartiles
            middle = steps
        rows.append(middle[["wall_s", *PARTS, REMAINDER, "communication_s", "sent_bytes"]].mean())
        medians.append(float(steps["wall_s"].median()))
        count += len(steps)
    mean = pd.DataFrame(rows).mean()
    return TypicalStep(
        wall_s=float(mean["wall_s"]),
        median_s=float(np.mean(medians)),
        parts_s={part: float(mean[part]) for part in (*PARTS, REMAINDER)},
        communication_s=float(mean["communication_s"]),
        sent_bytes=float(mean["sent_bytes"]),
        count=count,
    )


def items_per_hour(run: Run) -> float:
    """Finished items per hour, from the first item's start to the last finished item's end. Loading does not count."""
    done = run.items[run.items["done"]]
    if done.empty:
        return float("nan")
    return len(done) / (done["end_s"].max() - done["start_s"].min()) * SECONDS_PER_HOUR


def phase_means_s(run: Run) -> dict[str, float]:
    """Mean seconds of every phase, over the items that had the phase."""
    phases = run.phases[(run.phases["item"] >= 0) & ~run.phases["assumed"]]
    by_rank = phases.groupby(["phase", "group", "item", "world_rank"])["wall_s"].sum()
    of_item = by_rank.groupby(["phase", "group", "item"]).mean()
    means = of_item.groupby("phase").mean()
    return {phase: float(means[phase]) for phase in run.phase_names()}


@once_per_run
def vram_peaks_bytes(run: Run) -> pd.DataFrame:
    """Index: world rank; columns `allocator` (peak of the steps) and `device` (largest sample); NaN: not recorded."""
    steps = run.rank_steps
    ranks = pd.Index(sorted({*steps["world_rank"].unique(), *run.samples["rank"].unique()}), name="rank", dtype=int)
    peaks = pd.DataFrame(index=ranks, columns=["allocator", "device"], dtype=float)
    if "vram_peak_bytes" in steps:
        peaks["allocator"] = steps.groupby("world_rank")["vram_peak_bytes"].max().reindex(ranks).astype(float)
    peaks["device"] = run.samples.groupby("rank")["vram_used_bytes"].max().reindex(ranks).astype(float)
    return peaks.where(peaks > 0)
