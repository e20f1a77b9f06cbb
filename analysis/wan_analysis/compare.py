"""Compares two runs of the same work: which metrics became slower, and which part of a step is the cause."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wan_analysis.measures import DEVIATION_PER_MAD, Shape, phase_means_s, shapes_of, steps_of_shape, vram_peaks_bytes
from wan_analysis.run import Run
from wan_analysis.trace_format import PARTS, REMAINDER

#: A step or a part has changed when its median moved by more than this fraction of itself ...
STEP_TOLERANCE = 0.025
#: ... and by more than this many standard errors of the two medians' difference ...
STANDARD_ERRORS = 5.0
#: ... and, for a part, by more than this fraction of the whole step. A smaller change has no effect for the user.
LEAST_SHARE = 0.001
#: Phases happen once per item, so few values are there to estimate the noise.
PHASE_TOLERANCE = 0.12
#: Memory is the amount that the program requests; it hardly varies.
MEMORY_TOLERANCE = 0.02
#: A size with fewer steps than this gets no verdict.
LEAST_STEPS = 5
#: Standard error of a median over that of a mean, for normal noise.
MEDIAN_ERROR = 1.2533


@dataclass(frozen=True)
class Change:
    """One metric of both runs; `verdict` is "same", "slower", "faster", "more", "less" or "too few steps"."""

    metric: str
    unit: str
    base: float
    new: float
    verdict: str

    @property
    def percent(self) -> float:
        """Change in percent of the base. NaN if the base is 0."""
        return 100.0 * (self.new / self.base - 1.0) if self.base else math.nan

    @property
    def is_regression(self) -> bool:
        """Whether the change needs attention."""
        return self.verdict in ("slower", "more")


def choose_comparable(base: list[Run], new: list[Run]) -> tuple[list[Run], list[Run]]:
    """The starts of two batches that had the same number of ranks in groups of the same size.

    If that holds for several numbers, the one with the most steps counts. Throws ValueError if it holds for none.
    """
    if len(base) == len(new) == 1:
        return base, new
    layouts = {_ranks(run) for run in base} & {_ranks(run) for run in new}
    if not layouts:
        raise ValueError(f"the runs are on {_ranks_text(base)} and on {_ranks_text(new)}; for those make a report, which shows "
                         "how it scales")

    def steps(runs: list[Run], layout: tuple[int, int]) -> int:
        return sum(len(run.steps) for run in runs if _ranks(run) == layout)

    chosen = max(layouts, key=lambda layout: (min(steps(base, layout), steps(new, layout)), layout))
    return [run for run in base if _ranks(run) == chosen], [run for run in new if _ranks(run) == chosen]


def _ranks(run: Run) -> tuple[int, int]:
    return run.gpus, run.group_size


def _ranks_text(runs: list[Run]) -> str:
    return ", ".join(f"{gpus} ranks in groups of {size}" for gpus, size in sorted({_ranks(run) for run in runs}))


def compare_runs(base: Run, new: Run) -> list[Change]:
    """Compares steps by size with their parts, phases and memory. Throws ValueError if the runs did not do the same work."""
    shapes = [shape for shape in shapes_of(base) if shape in shapes_of(new)]
    if not shapes:
        raise ValueError("the two runs have no size in common")
    if base.gpus != new.gpus:
        raise ValueError(f"the runs are on {base.gpus} and {new.gpus} ranks; for those make a report, which shows how it scales")
    changes = [change for shape in shapes for change in _step_changes(base, new, shape)]
    return changes + _phase_changes(base, new) + _memory_change(base, new)


def culprits(changes: list[Change]) -> list[str]:
    """Parts that became slower. The part that costs a step most comes first."""
    parts = [change for change in changes if change.is_regression and change.metric.startswith("part ")]
    parts.sort(key=lambda change: change.base - change.new)
    return [change.metric.removeprefix("part ").split(",")[0] for change in parts]


def _step_changes(base: Run, new: Run, shape: Shape) -> list[Change]:
    before, after = steps_of_shape(base, shape), steps_of_shape(new, shape)
    where = f"{shape[0]}×{shape[1]}, {shape[2]} frames"
    if min(len(before), len(after)) < LEAST_STEPS:
        return [Change(f"step, {where}", "s", _median(before["wall_s"]), _median(after["wall_s"]), "too few steps")]
    changes = [_time_change(f"step, {where}", before["wall_s"], after["wall_s"], 0.0)]
    floor_s = LEAST_SHARE * _median(before["wall_s"])
    for part in (*PARTS, REMAINDER):
        changes.append(_time_change(f"part {part.replace('_', ' ')}, {where}", before[part], after[part], floor_s))
    return changes


def _time_change(metric: str, before: pd.Series, after: pd.Series, floor_s: float) -> Change:
    base, new = _median(before), _median(after)
    error = math.hypot(_median_error(before), _median_error(after))
    threshold = max(STEP_TOLERANCE * base, STANDARD_ERRORS * error, floor_s)
    return Change(metric, "s", base, new, _verdict(new - base, threshold, "slower", "faster"))


def _phase_changes(base: Run, new: Run) -> list[Change]:
    before, after = phase_means_s(base), phase_means_s(new)
    changes = []
    for phase in before:
        if phase not in after or phase == "denoise":  # the steps show this
            continue
        threshold = max(PHASE_TOLERANCE * before[phase], 0.05)
        verdict = _verdict(after[phase] - before[phase], threshold, "slower", "faster")
        changes.append(Change(f"phase {phase}", "s", before[phase], after[phase], verdict))
    return changes


def _memory_change(base: Run, new: Run) -> list[Change]:
    before, after = (float(vram_peaks_bytes(run).max(axis=None)) for run in (base, new))
    if math.isnan(before) or math.isnan(after):
        return []
    gib = 2**30
    verdict = _verdict(after - before, MEMORY_TOLERANCE * before, "more", "less")
    return [Change("peak VRAM", "GiB", before / gib, after / gib, verdict)]


def _verdict(difference: float, threshold: float, up: str, down: str) -> str:
    if abs(difference) <= threshold:
        return "same"
    return up if difference > 0 else down


def _median(values: pd.Series) -> float:
    return float(np.median(values))


def _median_error(values: pd.Series) -> float:
    deviation = DEVIATION_PER_MAD * float(np.median(np.abs(values - np.median(values))))
    return MEDIAN_ERROR * deviation / math.sqrt(len(values))


def changes_text(changes: list[Change]) -> str:
    """A table for a terminal."""
    width = max(len(change.metric) for change in changes)
    lines = [f"{'':{width}}  {'base':>9} {'new':>9}  {'change':>8}"]
    for change in changes:
        percent = "" if math.isnan(change.percent) else f"{change.percent:+.1f} %"
        values = f"{change.base:9.4g} {change.new:9.4g}  {percent:>8} {change.unit:<4}"
        lines.append(f"{change.metric:{width}}  {values} {change.verdict}")
    return "\n".join(lines) + "\n"
