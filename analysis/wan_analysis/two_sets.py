"""Compares two sets of starts: chooses those that can be compared, judges every metric, and says which part or rank explains a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wan_analysis.compare import Change, choose_comparable, late_changes, late_ranks, ranks_text
from wan_analysis.compare_tables import WAITING
from wan_analysis.guided import guidance_of, other_guidance, shares_of_size, step_kinds
from wan_analysis.measures import Shape
from wan_analysis.run import Run
from wan_analysis.series import Work, differences, step_series
from wan_analysis.start_values import kinds_differ, layout_samples, rate_samples
from wan_analysis.texts import listed
from wan_analysis.verdicts import BETTER, UNKNOWN, WITHIN, WORSE, Sample, Verdict, judge

#: The parts that are named explain so much of a change together.
EXPLAINED_SHARE = 0.75
MOST_CAUSES = 3


@dataclass(frozen=True)
class Comparison:
    """The verdicts on two sets of starts. `late`: the ranks that became late, if steps became slower."""

    base: list[Run]
    new: list[Run]
    verdicts: list[Verdict]
    late: list[str]

    @property
    def regressions(self) -> list[Verdict]:
        """The metrics that became worse."""
        return [verdict for verdict in self.verdicts if verdict.is_regression]

    @property
    def undecided(self) -> list[Verdict]:
        """The metrics that need more runs."""
        return [verdict for verdict in self.verdicts if verdict.answer == UNKNOWN]


def compare_sets(bases: Sequence[Run], news: Sequence[Run], within: float = WITHIN) -> Comparison:
    """Compares starts metric by metric, and those of different layouts by videos per GPU-hour, too.

    Starts on other numbers of ranks, or in other groups, are compared by videos per GPU-hour and energy only.

    Throws ValueError if the runs did other work, if a start is on both sides, or if a side mixes layouts of which the other one has none.
    """
    _refuse_same_starts(bases, news)
    layouts = [{(run.gpus, run.group_size) for run in runs} for runs in (bases, news)]
    if not layouts[0] & layouts[1]:
        for name, runs, found in zip(("first", "second"), (bases, news), layouts, strict=True):
            if len(found) > 1:
                raise ValueError(f"the {name} set of runs mixes {ranks_text(runs)}: name the runs of one layout")
        _refuse_other_work([*bases, *news])
        return Comparison(list(bases), list(news), judge(rate_samples(bases, news), within), [])
    base, new = choose_comparable(list(bases), list(news))
    samples = layout_samples(base, new)
    _refuse_other_work([*base, *new])
    if {run.layout for run in base} != {run.layout for run in new} and not kinds_differ(base, new):
        known = {sample.metric for sample in samples}
        samples = [sample for sample in rate_samples(base, new) if sample.metric not in known] + samples
    verdicts = judge(samples, within)
    slower = any(verdict.is_regression and verdict.metric.startswith("step, ") for verdict in verdicts)
    late = late_changes(base, new) if slower else []
    shares = shares_of_size(base[0], step_kinds(base, new))
    return Comparison(base, new, [_explained(verdict, samples, late, shares) for verdict in verdicts], late_ranks(late))


def _refuse_same_starts(bases: Sequence[Run], news: Sequence[Run]) -> None:
    """Throws ValueError if a file belongs to both sets."""
    files = {group.path.resolve() for run in bases for group in run.groups}
    for run in news:
        if any(group.path.resolve() in files for group in run.groups):
            raise ValueError(f"start {run.name} is in both sets of runs; a comparison needs different starts")


def _refuse_other_work(runs: Sequence[Run]) -> None:
    """Throws ValueError if steps of one size computed something that the steps of that size in the first start did not compute."""
    known: dict[Shape, set[Work]] = {}
    for run in runs:
        works = {series.work for series in step_series(run)}
        # A run with guidance in one expert may have been stopped before it made steps of both kinds: its scales are compared instead.
        works = {replace(work, passes=None) if any(len(passes) > 1 for passes in guidance_of(run).get(work.size, ())) else work
                 for work in works}
        for work in works:
            first = known.get(work.size)
            found = [differences(other, work) for other in first or ()]
            if found and all(found):
                named = "; ".join(f"{name} {one} and {other}" for name, one, other in min(found, key=len))
                raise ValueError(f"the runs did other work: {named} (start {run.name})")
        for size in {work.size for work in works} - set(known):
            known[size] = {work for work in works if work.size == size}
        if scales := other_guidance(runs[0], run):
            raise ValueError(f"the runs did other work: guidance {scales[0]} and {scales[1]} (start {run.name})")


def _explained(verdict: Verdict, samples: Sequence[Sample], late: Sequence[Change], shares: Mapping[str, float]) -> Verdict:
    """The verdict with the parts that explain it, if it is about a step or an item that changed. `shares`: `shares_of_size`."""
    what, _, where = verdict.metric.partition(", ")
    if verdict.answer not in (WORSE, BETTER) or what not in ("step", "item"):
        return verdict
    growth = {sample.metric: float(np.median(sample.new) - np.median(sample.base)) for sample in samples
              if np.isfinite([*sample.base, *sample.new]).all()}
    sign = 1.0 if verdict.change > 0.0 else -1.0
    if what == "item":
        return replace(verdict, cause=listed(_largest(_item_growth(growth, where, shares), sign), MOST_CAUSES))
    names = []
    for part in _largest(_step_growth(growth, where, with_waiting=not late), sign):
        ranks = [change.metric.split(",")[0] for change in late if _is_of_part(change, part, where)]
        names.append(f"{part} of {listed(ranks, 2)}" if ranks else part)
    return replace(verdict, cause=listed(names, MOST_CAUSES))


def _is_of_part(change: Change, part: str, where: str) -> bool:
    """Whether a change of a rank is about this part of steps of the size with which `where` begins."""
    _, found, size = change.metric.partition(f", part {part}, ")
    return bool(found) and where.startswith(size)


def _step_growth(growth: Mapping[str, float], shape: str, *, with_waiting: bool) -> dict[str, float]:
    """Seconds by which the parts of a step grew."""
    parts = {name.removeprefix("part ").removesuffix(f", {shape}"): seconds for name, seconds in growth.items()
             if name.startswith("part ") and name.endswith(f", {shape}")}
    return {part: seconds for part, seconds in parts.items() if with_waiting or part != WAITING}


def _item_growth(growth: Mapping[str, float], kind: str, shares: Mapping[str, float]) -> dict[str, float]:
    """Seconds by which the pieces of an item grew; `kind` is "832×480, 81 frames, 40 steps"."""
    shape, _, steps = kind.rpartition(", ")
    count = int(steps.split(" ")[0])
    pieces = {name.removeprefix("phase "): seconds for name, seconds in growth.items()
              if name.startswith("phase ") and name not in ("phase load", "phase start up")}
    own = {where: share for where, share in shares.items() if where.startswith(shape)}
    pieces["steps"] = count * sum(share * growth.get(f"step, {where}", 0.0) for where, share in own.items())
    pieces["time between steps"] = (count - 1) * sum(
        share * growth.get(f"time between steps, {where}", 0.0) for where, share in own.items())
    pieces["time between phases"] = growth.get("time between phases", 0.0)
    return pieces


def _largest(growth: Mapping[str, float], sign: float) -> list[str]:
    """The names that changed most in the direction of `sign`, until they explain EXPLAINED_SHARE of all growth in it."""
    ordered = sorted(((sign * seconds, name) for name, seconds in growth.items() if sign * seconds > 0.0), reverse=True)
    total, names, sum_s = sum(seconds for seconds, _ in ordered), [], 0.0
    for seconds, name in ordered[:MOST_CAUSES]:
        names.append(name)
        sum_s += seconds
        if sum_s >= EXPLAINED_SHARE * total:
            break
    return names


def grown_parts(comparison: Comparison) -> list[str]:
    """The parts that became slower; the part that costs a step most comes first. The waiting for a rank that is late is left out."""
    parts = [verdict for verdict in comparison.regressions if verdict.metric.startswith("part ")]
    parts.sort(key=lambda verdict: verdict.base - verdict.new)
    names = list(dict.fromkeys(verdict.metric.removeprefix("part ").split(", ")[0] for verdict in parts))
    return [name for name in names if not (comparison.late and name == WAITING)]


def verdicts_text(verdicts: Sequence[Verdict]) -> str:
    """A table for a terminal: metric, medians of both sides, change, answer."""
    width = max(len(verdict.metric) for verdict in verdicts)
    lines = [f"{'':{width}}  {'base':>9} {'new':>9}"]
    lines += [f"{verdict.metric:{width}}  {verdict.base:9.4g} {verdict.new:9.4g} {verdict.unit:<6} {verdict.text}" for verdict in verdicts]
    return "\n".join(lines) + "\n"
