"""The figures of starts from which the time of a campaign follows: start and load, first item, cadence of a group, tail, power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wan_analysis.command_line import given_options, switch
from wan_analysis.efficiency import SAME_KINDS, most_frequent
from wan_analysis.figures import RunFigures, work_differences
from wan_analysis.repetitions import Case, step_walls
from wan_analysis.run import Run
from wan_analysis.study_record import StudyRecord
from wan_analysis.texts import printable

#: Fewer readings of a rank's power tell nothing.
_LEAST_SAMPLES = 3
_KIND = ["width", "height", "frames", "steps"]


@dataclass(frozen=True)
class StartFacts:
    """One start. Seconds; NaN: not known."""

    launch_s: float  #: from the command to the end of MPI_Init; only jobs/study.sh knows it
    ready_s: float  #: from the end of MPI_Init to the first item's start
    first_s: float  #: of a group's first item
    interval_s: float  #: between the ends of two items that one group makes in a row; of several sizes, in the shares that were made
    item_noise: float  #: standard deviation of such intervals within the start, as a fraction
    denoise_s: float  #: of an item: its steps and the time between them
    finish_s: float  #: from the last item's end to the end of the start
    load_w: float = math.nan  #: mean power of a GPU before the first item
    work_w: float = math.nan  #: mean power of a GPU from the first item's start to the end


@dataclass(frozen=True)
class LayoutFacts:
    """All starts of one layout, and what they have in common."""

    name: str
    gpus: int
    groups: int
    group_gpus: int
    layout: str
    joins: bool  #: idle groups join others
    starts: tuple[StartFacts, ...]
    options: tuple[str, ...] = ()  #: of wan_batch, that choose this layout
    device: str = ""
    hosts: int = 1
    copies: int = 1  #: jobs of this kind side by side, each on its own nodes
    is_measured: bool = True
    doubt: float = 0.0  #: standard deviation by which a predicted layout's work may be wrong, as a fraction

    def values(self, name: str) -> np.ndarray:
        """One value for each start that knows it."""
        found = np.array([getattr(start, name) for start in self.starts], dtype=float)
        return found[np.isfinite(found)]

    def median(self, name: str, otherwise: float = math.nan) -> float:
        """The median over the starts that know it."""
        found = self.values(name)
        return float(np.median(found)) if len(found) else otherwise


def facts_of_case(case: Case, record: StudyRecord | None = None) -> LayoutFacts | None:
    """The facts of a case of wan_batch. None: a benchmark, a batch of several starts, or nothing was finished in a known time."""
    figures = case.first
    if figures.is_benchmark or any(len(one.runs) > 1 for one in case.starts) or not figures.work.count:
        return None
    walls = _command_walls(record)
    starts = [facts for one in case.starts if (facts := facts_of_start(one, walls)) is not None]
    if not starts:
        return None
    run = figures.run
    given = given_options(run.attribute("command"))
    is_free = not {"cfg-size", "ulysses-size"} & set(given) or given.get("cfg-size") == "auto"
    hosts = len(set(run.rank_info["host"].astype(str)) - {"", "unknown"}) or 1
    return LayoutFacts(case.name, case.gpus, figures.groups, run.group_size, figures.layouts[0],
                       figures.groups > 1 and is_free and switch(given, "join-groups") != "off", tuple(starts),
                       _layout_options(run.group_size, given), run.device, hosts)


def _command_walls(record: StudyRecord | None) -> dict[str, float]:
    """Seconds of the whole command by the name of its folder's end, gpus_2/start_1."""
    return {start.folder: start.wall_s for start in record.starts} if record else {}


def _layout_options(group_size: int, given: dict[str, str]) -> tuple[str, ...]:
    words = ["--group-size", str(group_size)]
    for name in ("cfg-size", "ulysses-size", "dit-fsdp", "offload-model", "precision", "attention", "writers"):
        if given.get(name) not in (None, ""):
            words += [f"--{name}", given[name]]
    return tuple(words)


def facts_of_start(figures: RunFigures, walls: dict[str, float] | None = None) -> StartFacts | None:
    """The facts of one start. None: it finished no item, or a group left no trace."""
    run, items = figures.run, figures.run.items
    done = items[items["done"]]
    begun = items.dropna(subset=["start_s", "end_s"])
    if done.empty or begun.empty or not figures.is_complete:
        return None
    ready_s, last_s = float(begun["start_s"].min()), float(begun["end_s"].max())
    end_s = float(run.rank_spans["end_s"].max())
    alone = _made_alone(run)
    firsts, intervals = _of_groups(items, alone)
    interval_s = _mean_interval_s(alone, intervals)
    denoise_s = _denoise_s(figures, alone if len(alone) else done)
    first_s = float(np.median(firsts)) if firsts else interval_s
    launch_s = math.nan
    for folder in run.folders:
        wall_s = (walls or {}).get(f"{folder.parent.name}/{folder.name}", math.nan)
        if wall_s > end_s:  # of a start whose study was killed meanwhile, the record has no more than its trace
            launch_s = wall_s - end_s
    return StartFacts(launch_s, ready_s, first_s, first_s if math.isnan(interval_s) else interval_s, _noise(intervals), denoise_s,
                      max(end_s - last_s, 0.0), *_powers(run, ready_s))


def _made_alone(run: Run) -> pd.DataFrame:
    """Rows of the items that their group made from the first step to the last, in the order of their starts."""
    items = run.items
    team = _made_by_teams(run)
    is_alone = items["done"] & (items["first_step"] == 0) & ~items.set_index(["group", "item"]).index.isin(team)
    return items[is_alone].sort_values(["group", "start_s"])


def _of_groups(items: pd.DataFrame, alone: pd.DataFrame) -> tuple[list[float], list[pd.Series]]:
    """Seconds of each group's first item, and from the end of the item before to the end of each other one. Only those `alone` count.

    The item before may have failed: its time is not that of the next one.
    """
    firsts, intervals = [], []
    for group, own in alone.groupby("group"):
        first = own.iloc[0]
        if first["item"] == 0:
            firsts.append(float(first["end_s"] - first["start_s"]))
        before = items[items["group"] == group].sort_values("start_s")["end_s"].cummax().shift()
        seconds = (own["end_s"] - before.reindex(own.index)).clip(lower=0.0).dropna()
        if len(seconds):
            intervals.append(seconds)
    return firsts, intervals


def _mean_interval_s(alone: pd.DataFrame, intervals: Sequence[pd.Series]) -> float:
    """The mean interval. The first item of a group has none, so each kind of items counts with its share of all. NaN: no interval."""
    if not intervals:
        return math.nan
    kinds = alone[_KIND].apply(tuple, axis=1)
    seconds = pd.concat(intervals)
    means = seconds.groupby(kinds.reindex(seconds.index)).mean()
    shares = kinds.value_counts().reindex(means.index)
    return float((means * shares).sum() / shares.sum())


def _noise(intervals: Sequence[pd.Series]) -> float:
    """Standard deviation of a group's intervals about their mean, as a fraction, over all groups. 0: no group has two intervals."""
    known = [found for found in intervals if len(found) > 1 and found.mean() > 0.0]
    freedom = sum(len(found) - 1 for found in known)
    return math.sqrt(sum(float(((found / found.mean() - 1.0) ** 2).sum()) for found in known) / freedom) if freedom else 0.0


def _made_by_teams(run: Run) -> list[tuple[int, int]]:
    """(group, item) of the rows of /items that ranks of other groups helped to make."""
    sizes = {index: group.ranks for index, group in enumerate(run.groups)}
    counts = run.stretches["ranks"].astype(str).str.count(",") + 1
    wide = run.stretches[counts > run.stretches["group"].map(sizes)]
    return list(zip(wide["group"], wide["item"], strict=True))


def _denoise_s(figures: RunFigures, items: pd.DataFrame) -> float:
    """Mean seconds of the steps of these items: the median step of each kind times the number of its steps."""
    of_items = pd.MultiIndex.from_frame(items[["group", "item"]])
    total = 0.0
    for series in figures.series:
        made = series.steps[["group", "item", "step"]].drop_duplicates()
        number = int(pd.MultiIndex.from_frame(made[["group", "item"]]).isin(of_items).sum())
        total += number * float(np.median(step_walls(series.counted))) if number else 0.0
    return total / len(items) if total > 0.0 else math.nan


def _powers(run: Run, ready_s: float) -> tuple[float, float]:
    """Mean power of a GPU before and from the first item on. NaN if a rank's power is not known."""
    samples = run.samples.dropna(subset=["power_w"])
    of_rank = samples.groupby("rank").size()
    if len(of_rank) < run.gpus or (of_rank < _LEAST_SAMPLES).any():
        return math.nan, math.nan
    before = samples.loc[samples["time_s"] < ready_s, "power_w"]
    after = samples.loc[samples["time_s"] >= ready_s, "power_w"]
    work_w = float(after.mean()) if len(after) else float(samples["power_w"].mean())
    return (float(before.mean()) if len(before) else work_w), work_w


def find_facts(cases: Sequence[Case], record: StudyRecord | None = None) -> tuple[list[LayoutFacts], list[str], list[Run]]:
    """The facts of the cases of wan_batch whose items are of the kinds that most have; why others are left out; the starts of the former.

    Layouts can be compared for equal videos only: items with fewer steps, or on another GPU model, would win or lose in any layout.
    """
    known = [(case, facts) for case in cases if (facts := facts_of_case(case, record)) is not None]
    if not known:
        return [], [], []
    reference = most_frequent([start for case, _ in known for start in case.starts], SAME_KINDS)
    chosen, left_out, runs = [], [], []
    for case, facts in known:
        differ = work_differences(case.first.work, reference.work, SAME_KINDS)
        if differ:
            said = "; ".join(f"{name} {one}, not {other}" for name, one, other in differ)
            left_out.append(printable(f"{case.name}: left out of the advice, because it did other work: {said}", 400))
        else:
            chosen.append(facts)
            runs += case.runs
    return chosen, left_out, runs
