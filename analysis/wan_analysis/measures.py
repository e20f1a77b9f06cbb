"""Measures of one run. All are functions of its tables, so a test can compute them in another way."""

from __future__ import annotations

import pandas as pd

from wan_analysis.once import once_per_run
from wan_analysis.run import SHAPE, Run

#: (width in pixels, height in pixels, frames)
Shape = tuple[int, int, int]

#: Standard deviation of a normal distribution over its median absolute deviation.
DEVIATION_PER_MAD = 1.4826


def shape_text(shape: Shape) -> str:
    """832×480, 81 frames."""
    width, height, frames = shape
    return f"{width}×{height}, {frames} frames"


def shapes_of(run: Run) -> list[Shape]:
    """Shapes of all steps, ordered by size."""
    there = run.steps[SHAPE].dropna().drop_duplicates()
    return sorted((int(w), int(h), int(f)) for w, h, f in there.itertuples(index=False))


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
