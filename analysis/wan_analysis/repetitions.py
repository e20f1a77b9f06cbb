"""Cases of a study: starts that did the same work on as many ranks in the same layout. They are the repetitions of one another.

A batch in several starts is no repetition of itself: it is a case of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wan_analysis.campaign_figures import CampaignFigures
from wan_analysis.figures import RunFigures, work_differences
from wan_analysis.intervals import Interval, median_interval
from wan_analysis.run import Run
from wan_analysis.texts import plural


@dataclass(eq=False)
class Case:
    """The starts of one case, earliest first. `name` is unique in a study."""

    name: str
    starts: list[RunFigures]

    @property
    def first(self) -> RunFigures:
        """A start of the case, for what all have in common."""
        return self.starts[0]

    @property
    def runs(self) -> list[Run]:
        """The runs of all starts."""
        return [run for one in self.starts for run in one.runs]

    @property
    def gpus(self) -> int:
        """Ranks of a start, idle ones too."""
        return self.first.gpus

    @property
    def label(self) -> str:
        """"4 (6 starts)"."""
        return f"{self.gpus} ({plural(len(self.starts), 'start')})"

    def values(self, of_start: Callable[[RunFigures], float]) -> list[float]:
        """One value for each start."""
        return [float(of_start(one)) for one in self.starts]

    def interval(self, of_start: Callable[[RunFigures], float]) -> Interval:
        """Median and interval of a value of each start."""
        return median_interval(self.values(of_start))


def find_cases(units: Sequence[RunFigures]) -> list[Case]:
    """The cases of a study, those on the fewest ranks first."""
    found: list[list[RunFigures]] = []
    for one in sorted(units, key=lambda unit: (unit.gpus, unit.groups, unit.run.attribute("started"), unit.name)):
        home = None if isinstance(one, CampaignFigures) else next((starts for starts in found if _is_alike(one, starts[0])), None)
        if home is None:
            found.append([one])
        else:
            home.append(one)
    names = [_name(starts[0]) for starts in found]
    seen: Counter[str] = Counter()
    cases = []
    for name, starts in zip(names, found, strict=True):
        seen[name] += 1
        cases.append(Case(name if names.count(name) == 1 else f"{name}, work {seen[name]}", starts))
    return cases


def is_repeated(cases: Sequence[Case]) -> bool:
    """Whether any case has several starts."""
    return any(len(case.starts) > 1 for case in cases)


def _name(figures: RunFigures) -> str:
    division = figures.layouts[0] if figures.groups == 1 else f"{figures.groups} groups of {figures.layouts[0]}"
    return f"{plural(figures.gpus, figures.run.unit)}, {division}"


def _is_alike(one: RunFigures, other: RunFigures) -> bool:
    if isinstance(other, CampaignFigures) or one.is_benchmark != other.is_benchmark:
        return False
    if (one.gpus, one.groups, one.layouts[0]) != (other.gpus, other.groups, other.layouts[0]):
        return False
    return _kind_of_steps(one) == _kind_of_steps(other) and not work_differences(one.work, other.work)


def _kind_of_steps(figures: RunFigures) -> object:
    """The work of the most frequent steps."""
    return figures.series[0].work if figures.series else None


def step_s(figures: RunFigures) -> float:
    """Median seconds of a start's steps without warm-up, from the first rank's start to the last one's end. NaN: no step."""
    if not figures.series:
        return float("nan")
    longest = figures.series[0]
    alike = [series for series in figures.series if (series.work, series.layout) == (longest.work, longest.layout)]
    walls = [step_walls(series.counted) for series in alike]
    return float(np.median(np.concatenate(walls)))


def step_walls(rows: pd.DataFrame) -> np.ndarray:
    """Seconds of each step, from the first rank's start to the last one's end."""
    ended = rows.assign(end_s=rows["start_s"] + rows["wall_s"]).groupby(["group", "item", "step"])
    return (ended["end_s"].max() - ended["start_s"].min()).to_numpy(float)


def items_per_hour(figures: RunFigures) -> float:
    """Finished items over the time from the first item's start to the last one's end. NaN: a benchmark, or nothing is finished."""
    if figures.is_benchmark or not figures.work.count or not figures.seconds > 0.0:
        return float("nan")
    return 3600.0 * figures.work.count / figures.seconds


def speed_of(case: Case) -> Interval:
    """The figure on which a study decides: the median step of wan_bench, items per hour of wan_batch."""
    return case.interval(step_s if case.first.is_benchmark else items_per_hour)
