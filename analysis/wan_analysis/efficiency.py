"""Efficiency of whole runs: the same items on more GPUs, more work on more GPUs, and throughput.

Speed-up is the time of the same work on the base over its time here. Efficiency is speed-up over the ratio of GPUs. All
GPUs of a start count, also idle ones. The base is the run on the fewest GPUs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from wan_analysis.figures import (
    ANY_FRAMES,
    SAME_ITEMS,
    SAME_KINDS,
    RunFigures,
    work_differences,
    work_not_recorded,
)
from wan_analysis.series import NOT_RECORDED
from wan_analysis.texts import listed
from wan_analysis.trace_file import Problem

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Scaled:
    """One run of a scaling table. `amount` is its work in the table's unit; times are seconds."""

    figures: RunFigures
    series: str  #: name of the series of layouts that it belongs to
    amount: float
    seconds: float
    seconds_with_load: float
    speedup: float  #: work over time, over that of the base
    efficiency: float  #: 0 to 1
    efficiency_with_load: float


@dataclass(frozen=True)
class ScalingTable:
    """Runs that can be compared, those on the fewest GPUs first; the first one is the base."""

    equal: str  #: SAME_ITEMS, SAME_KINDS or ANY_FRAMES
    rows: list[Scaled]
    problems: list[Problem]

    @property
    def base(self) -> Scaled:
        """The run with which the others are compared."""
        return self.rows[0]


@dataclass(frozen=True)
class Throughput:
    """One run of the table of throughput."""

    figures: RunFigures
    items_per_hour: float  #: of all groups that left a trace
    all_groups_per_hour: float  #: the same if the groups without a trace do as well; equal to the former without such groups
    gpu_s_per_item: float  #: GPUs of the groups with a trace, from the first item's start to the last item's end


def scaling_table(figures: Sequence[RunFigures], equal: str = SAME_ITEMS) -> ScalingTable:
    """The runs that did the same work as most. The others are named as problems with what differs."""
    problems: list[Problem] = []
    candidates = [one for one in figures if _can_scale(one, problems)]
    if not candidates:
        return ScalingTable(equal, [], problems)
    reference = most_frequent(candidates, equal)
    kept = []
    for one in candidates:
        different = work_differences(one.work, reference.work, equal)
        if not different:
            kept.append(one)
            continue
        said = "; ".join(f"{name}: {here}; the study: {there}" for name, here, there in different)
        problems.append(Problem(f"run {one.name}", f"did other work: {said}. It is reported separately and left out of the scaling"))
    unknown = work_not_recorded([one.work for one in kept])
    if unknown:
        silent = [one.name for one in kept if any(getattr(one.work, _FIELDS[name]) is None for name in unknown)]
        problems.append(
            Problem("study", f"{listed(unknown)}: {NOT_RECORDED} by {listed(silent, 3)}; the runs are compared as if equal in it")
        )
    rows = [_scaled(one, kept, equal) for one in kept]
    rows.sort(key=lambda row: (row.figures.gpus, row.figures.run.attribute("started"), row.figures.name))
    return ScalingTable(equal, _against_base(rows), problems)


_FIELDS = {"precision": "precision", "passes of a step": "passes", "solver": "solver"}


def _can_scale(figures: RunFigures, problems: list[Problem]) -> bool:
    """Whether a run has a time for its work. Says why, if it has not."""
    where = f"run {figures.name}"
    if not figures.work.count:
        return False
    if not figures.is_complete:
        problems.append(
            Problem(where, "its scaling as a whole is not known, because some of its groups have no trace; its steps are compared")
        )
        return False
    return math.isfinite(figures.seconds) and figures.seconds > 0


def most_frequent(candidates: Sequence[RunFigures], equal: str) -> RunFigures:
    """The run whose work most others did: on the most numbers of GPUs, then in the most runs, then with the most items."""
    unique: dict[object, RunFigures] = {}
    same: Counter[object] = Counter()
    for one in candidates:
        unique.setdefault(one.work, one)
        same[one.work] += 1

    def rank(work: object) -> tuple[int, int, int]:
        alike = [other for other in unique if not work_differences(unique[work].work, unique[other].work, equal)]
        counts = {one.gpus for one in candidates if one.work in alike}
        return len(counts), sum(same[other] for other in alike), unique[work].work.count

    return unique[max(unique, key=rank)]


def series_name(figures: RunFigures, others: Sequence[RunFigures]) -> str:
    """The series of layouts of a run: one group with the passes split or not, or groups of one layout.

    One rank alone belongs to the series of single groups that the others have: it begins each of them.
    """
    if not figures.series:
        return figures.division
    layout, names = figures.series[0].layout, figures.names
    kind = f", {names.kind(layout)}" if names.kind(layout) else ""
    if figures.groups > 1:
        return f"groups of {layout.grid}{kind}"
    if figures.gpus == 1:
        single = [one for one in others if one.groups == 1 and one.gpus > 1 and one.series]
        alike = [one for one in single if names.kind(one.series[0].layout) == names.kind(layout)]
        return series_name(alike[0], ()) if alike else f"one rank{kind}"
    return f"one group, cfg{layout.cfg}{kind}"


def _scaled(figures: RunFigures, kept: Sequence[RunFigures], equal: str) -> Scaled:
    amount = figures.work.flop if equal == ANY_FRAMES else float(figures.work.count)
    return Scaled(figures, series_name(figures, kept), amount, figures.seconds, figures.seconds_with_load, math.nan, math.nan, math.nan)


def _against_base(rows: list[Scaled]) -> list[Scaled]:
    if not rows:
        return []
    base = rows[0]

    def compared(row: Scaled) -> Scaled:
        more = row.amount / base.amount
        speedup = more * base.seconds / row.seconds
        with_load = more * base.seconds_with_load / row.seconds_with_load
        gpus = base.figures.gpus / row.figures.gpus
        return Scaled(row.figures, row.series, row.amount, row.seconds, row.seconds_with_load, speedup, speedup * gpus, with_load * gpus)

    return [compared(row) for row in rows]


def throughput(figures: Sequence[RunFigures]) -> list[Throughput]:
    """Runs that finished an item, by GPU count, then the number of groups."""
    rows = []
    for one in figures:
        if not one.work.count or not one.seconds > 0 or one.is_benchmark:
            continue
        per_hour = one.work.count / one.seconds * SECONDS_PER_HOUR
        gpus = one.gpus * one.traced_share
        rows.append(Throughput(one, per_hour, per_hour / one.traced_share, gpus * one.seconds / one.work.count))
    return sorted(rows, key=lambda row: (row.figures.gpus, row.figures.groups, row.figures.name))


__all__ = ["ANY_FRAMES", "SAME_ITEMS", "SAME_KINDS", "Scaled", "ScalingTable", "Throughput", "most_frequent", "scaling_table",
           "series_name", "throughput"]
