"""Compares two runs of the same work: which metrics became slower, which part of a step is the cause, and which rank is late.

A step is split so that the ranks that wait are not blamed: transfer is the communication of the rank that communicates least,
and what the others communicate longer is `waiting`. A rank that became late is named by `stragglers`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wan_analysis.compare_tables import WAITING, gaps_s, phase_seconds, shared_kinds, step_parts
from wan_analysis.guided import StepKind, other_guidance, step_kinds
from wan_analysis.late_windows import LEAST_EXCESS, LEAST_EXCESS_CPU
from wan_analysis.measures import DEVIATION_PER_MAD, Shape, shape_text, vram_peaks_bytes
from wan_analysis.run import Run, join_starts
from wan_analysis.series import differences, step_series
from wan_analysis.stragglers import CardExcess, excesses, stragglers
from wan_analysis.trace_format import PARTS, REMAINDER

#: A step or a part has changed when its median moved by more than this fraction of itself ...
STEP_TOLERANCE = 0.025
#: ... and by more than this many standard errors of the two medians' difference ...
STANDARD_ERRORS = 5.0
#: ... and, for a part, by more than this fraction of the whole step. A smaller change has no effect for the user.
LEAST_SHARE = 0.001
#: ... and the time between steps by more than this fraction of it: it holds the host's own noise.
LEAST_GAP_SHARE = 0.005
#: Phases happen once per item, so few values are there to estimate the noise.
PHASE_TOLERANCE = 0.12
#: ... and for phases of an item and gaps by this many seconds, for start-up and load by more, because they depend on the disk.
LEAST_PHASE_S, LEAST_LOAD_S = 0.05, 1.0
#: Memory is the amount that the program requests; it hardly varies.
MEMORY_TOLERANCE = 0.02
#: A size with fewer steps than this gets no verdict.
LEAST_STEPS = 5
#: Standard error of a median over that of a mean, for normal noise.
MEDIAN_ERROR = 1.2533

#: The remedy for runs on other numbers of ranks, of which a side has one start only.
OTHER_RANKS = "make a report, which shows how it scales, or name 2 or more starts of each: they are compared by videos per GPU-hour"


@dataclass(frozen=True)
class Change:
    """One metric of both runs; `verdict` is "same", "slower", "faster", "more", "less" or "too few steps"."""

    metric: str
    unit: str
    base: float
    new: float
    verdict: str
    who: str = ""  #: the rank, host and GPU that are late; empty if the metric is not of one rank

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
        raise ValueError(f"the runs are on {ranks_text(base)} and on {ranks_text(new)}; {OTHER_RANKS}")

    def steps(runs: list[Run], layout: tuple[int, int]) -> int:
        return sum(len(run.steps) for run in runs if _ranks(run) == layout)

    chosen = max(layouts, key=lambda layout: (min(steps(base, layout), steps(new, layout)), layout))
    return [run for run in base if _ranks(run) == chosen], [run for run in new if _ranks(run) == chosen]


def _ranks(run: Run) -> tuple[int, int]:
    return run.gpus, run.group_size


def ranks_text(runs: Sequence[Run]) -> str:
    """"4 ranks in groups of 2" for each layout of the runs."""
    return ", ".join(f"{gpus} ranks in groups of {size}" for gpus, size in sorted({_ranks(run) for run in runs}))


def compare_runs(base: Run | Sequence[Run], new: Run | Sequence[Run]) -> list[Change]:
    """Compares ranks that became late, steps by size with their parts, phases and memory. Several starts are taken together.

    Throws ValueError if the runs did not do the same work.
    """
    bases, news = ([runs] if isinstance(runs, Run) else list(runs) for runs in (base, new))
    before, after = join_starts(bases), join_starts(news)
    kinds = step_kinds([before], [after])
    if not kinds:
        raise ValueError("the two runs have no size in common")
    if before.gpus != after.gpus:
        raise ValueError(f"the runs are on {before.gpus} and {after.gpus} ranks; {OTHER_RANKS}")
    _refuse_other_work(bases[0], news[0])
    changes = [change for kind in kinds for change in _step_changes(before, after, kind)]
    return changes + late_changes(bases, news) + _phase_changes(before, after) + _memory_change(before, after)


def _refuse_other_work(base: Run, new: Run) -> None:
    """Throws ValueError if no steps of the runs computed the same: "passes of a step 2 and 1"."""
    works, others = ({series.work for series in step_series(run)} for run in (base, new))
    found = [differences(work, other) for work in works for other in others]
    if found and all(found):
        named = "; ".join(f"{name} {one} and {other}" for name, one, other in min(found, key=len))
        raise ValueError(f"the two runs did other work: {named}")
    if scales := other_guidance(base, new):
        raise ValueError(f"the two runs did other work: guidance {scales[0]} and {scales[1]}")


def late_ranks(changes: list[Change]) -> list[str]:
    """The ranks that became late, one text for each part: "rank 3 on host n2, GPU-1, part linear, +8.0 %"."""
    return [f"{change.who}, part {_part_of(change)}, {change.percent:+.1f} %" for change in changes if change.is_regression and change.who]


def culprits(changes: list[Change]) -> list[str]:
    """Parts that became slower on all ranks. The part that costs a step most comes first.

    A part in which a rank is late is left out, and so is the waiting for that rank: `late_ranks` names it.
    """
    late = [change for change in changes if change.is_regression and change.who]
    parts = [change for change in changes if change.is_regression and change.metric.startswith("part ")]
    parts.sort(key=lambda change: change.base - change.new)
    explained = {_part_of(change) for change in late} | ({WAITING} if late else set())
    return list(dict.fromkeys(_part_of(change) for change in parts if _part_of(change) not in explained))


def _part_of(change: Change) -> str:
    return change.metric.split("part ", 1)[1].split(",")[0]


def _step_changes(base: Run, new: Run, kind: StepKind) -> list[Change]:
    before, after, where = step_parts(base, kind), step_parts(new, kind), str(kind)
    if min(len(before), len(after)) < LEAST_STEPS:
        return [Change(f"step, {where}", "s", _median(before["wall_s"]), _median(after["wall_s"]), "too few steps")]
    changes = [_time_change(f"step, {where}", before["wall_s"], after["wall_s"], 0.0)]
    floor_s = LEAST_SHARE * _median(before["wall_s"])
    for part in (*PARTS, WAITING, REMAINDER):
        changes.append(_time_change(f"part {part.replace('_', ' ')}, {where}", before[part], after[part], floor_s))
    gaps = gaps_s(base, kind), gaps_s(new, kind)
    if all(len(gap) for gap in gaps):
        changes.append(_time_change(f"time between steps, {where}", *gaps, LEAST_GAP_SHARE * _median(before["wall_s"])))
    return changes


def late_changes(bases: list[Run], news: list[Run]) -> list[Change]:
    """Parts of ranks that are late in the new runs and were not as late in the base.

    `base` is the median of all ranks in the new runs, with the rank's excess in the base: what it would take if it were not late.
    """
    late = stragglers(news)
    if not late:
        return []
    earlier, now = excesses(bases), excesses(news)
    least = LEAST_EXCESS if news[0].unit == "GPU" else LEAST_EXCESS_CPU
    found = []
    for one in late:
        for part, excess in one.parts.items():
            was = _same_card(earlier, now[one.key, one.size, part], part)
            if was is not None and excess - was.excess < least:
                continue
            usual_s = now[one.key, one.size, part].usual_s
            base_s = usual_s * (1.0 + (was.excess if was is not None else 0.0))
            metric = f"rank {one.rank}, part {part}, {shape_text(one.size)}"
            found.append(Change(metric, "s", base_s, usual_s * (1.0 + excess), "slower", str(one.device)))
    return found


def _same_card(earlier: dict[tuple[str, Shape, str], CardExcess], card: CardExcess, part: str) -> CardExcess | None:
    """The same GPU in the base; if it did not run there, the same rank."""
    there = [one for (_, size, name), one in earlier.items() if (size, name) == (card.size, part)]
    own = [one for one in there if one.key == card.key and not one.key[0].isdigit()]
    return next(iter(own or [one for one in there if one.rank == card.rank]), None)


def _time_change(metric: str, before: pd.Series, after: pd.Series, floor_s: float) -> Change:
    base, new = _median(before), _median(after)
    error = math.hypot(_median_error(before), _median_error(after))
    threshold = max(STEP_TOLERANCE * base, STANDARD_ERRORS * error, floor_s)
    return Change(metric, "s", base, new, _verdict(new - base, threshold, "slower", "faster"))


def _phase_changes(base: Run, new: Run) -> list[Change]:
    kinds = shared_kinds([base, new])
    before, after = phase_seconds(base, kinds), phase_seconds(new, kinds)
    changes = []
    for name in before:
        if name not in after:
            continue
        least_s = LEAST_LOAD_S if name in ("phase load", "phase start_up") else LEAST_PHASE_S
        threshold = max(PHASE_TOLERANCE * before[name], least_s)
        verdict = _verdict(after[name] - before[name], threshold, "slower", "faster")
        changes.append(Change(name.replace("_", " "), "s", before[name], after[name], verdict))
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
    lines = [f"{'':{width}}  {'base':>9} {'new':>9}  {'unit':<4} {'change':>9}"]
    for change in changes:
        percent = "" if math.isnan(change.percent) else f"{change.percent:+.1f} %"
        values = f"{change.base:9.4g} {change.new:9.4g}  {change.unit:<4} {percent:>9}"
        lines.append(f"{change.metric:{width}}  {values}  {change.verdict}")
    return "\n".join(lines) + "\n"
