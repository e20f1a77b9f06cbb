"""The figures of one run from which scaling is computed: its items, its time, and its GPUs.

Time counts from the first item's start to the last item's end, on all GPUs of the start, whether they work or not. A run of
wan_bench makes no whole item in one go, so its time is that of its measured steps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from wan_analysis.guided import given_scales, passes_of
from wan_analysis.operations import step_flop
from wan_analysis.run import SHAPE, Run
from wan_analysis.series import LayoutNames, StepSeries, described_steps, is_unknown, step_series
from wan_analysis.texts import listed

BENCHMARK = "wan_bench"
_BENCHMARK_ITEM = "bench"

#: Width, height, frames and steps of an item.
Kind = tuple[int, int, int, int]


@dataclass(frozen=True)
class RunWork:
    """The finished items of a run. None: not recorded."""

    task: str | None
    device: str
    precision: str | None
    passes: str | None  #: "2"; "1:2" with guidance in the high-noise expert only; "1, 2" where items differ
    solver: str | None
    items: frozenset[tuple[str, Kind, int]]  #: name, kind and how many
    guidance: str = field(default="", compare=False)
    mean_passes: float = field(default=2.0, compare=False)  #: over all steps; 2 if they are not recorded

    @cached_property
    def kinds(self) -> Counter[Kind]:
        """How many items of each kind."""
        return Counter({kind: sum(n for _, of, n in self.items if of == kind) for kind in {kind for _, kind, _ in self.items}})

    @property
    def count(self) -> int:
        """Finished items."""
        return sum(self.kinds.values())

    @property
    def flop(self) -> float:
        """Floating-point operations of all steps, as the plan counts them. Two passes if their number is not recorded."""
        return sum(number * kind[3] * step_flop(*kind[:3], self.mean_passes) for kind, number in self.kinds.items())


def kind_text(kind: Kind) -> str:
    """832×480, 81 frames, 40 steps."""
    width, height, frames, steps = kind
    return f"{width}×{height}, {frames} frames, {steps} steps"


#: A comparison holds one of these equal: the same items; the same kinds in equal shares; everything but the number of frames.
SAME_ITEMS, SAME_KINDS, ANY_FRAMES = "items", "kinds", "frames"


def work_differences(work: RunWork, other: RunWork, equal: str = SAME_ITEMS) -> list[tuple[str, str, str]]:
    """(name, value of `work`, value of `other`) of what differs. Empty: the same work."""
    pairs = [
        ("model", work.task, other.task),
        ("GPU model", work.device, other.device),
        ("precision", work.precision, other.precision),
        ("solver", work.solver, other.solver),
    ]
    found = [(name, one, two) for name, one, two in pairs if one is not None and two is not None and one != two]
    if None not in (work.passes, other.passes) and work.passes != other.passes:
        found.append(("passes of a step", _passes_text(work), _passes_text(other)))
    if equal == ANY_FRAMES:
        sizes, others = ({kind[:2] for kind in one.kinds} for one in (work, other))
        if sizes != others:
            found.append(("size", _sizes_text(sizes), _sizes_text(others)))
        return found
    if _shares(work) != _shares(other):
        found.append(("kinds of items", _kinds_text(work), _kinds_text(other)))
    elif equal == SAME_ITEMS and work.items != other.items:
        found.append(("manifest", _items_text(work), _items_text(other)))
    return found


def work_not_recorded(works: list[RunWork]) -> list[str]:
    """Values that some of the works know and others do not."""
    names = {"precision": "precision", "passes": "passes of a step", "solver": "solver"}
    return [word for name, word in names.items() if len({getattr(work, name) is None for work in works}) == 2]


def _passes_text(work: RunWork) -> str:
    return f"{work.passes}" + (f" (guidance {work.guidance})" if work.guidance else "")


def _sizes_text(sizes: set[tuple[int, int]]) -> str:
    return listed([f"{width}×{height}" for width, height in sorted(sizes)])


def _shares(work: RunWork) -> dict[Kind, float]:
    return {kind: round(number / work.count, 12) for kind, number in work.kinds.items()}


def _kinds_text(work: RunWork) -> str:
    return listed([f"{number} of {kind_text(kind)}" for kind, number in sorted(work.kinds.items())]) or "none"


def _items_text(work: RunWork) -> str:
    names = sorted({name for name, _, _ in work.items})
    return f"{work.count} items ({listed(names, 3)})"


class RunFigures:
    """The figures of one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._names: LayoutNames | None = None

    @property
    def names(self) -> LayoutNames:
        """Names of layouts: those of the study that the run belongs to, else its own."""
        if self._names is None:
            self._names = LayoutNames(series.layout for series in self.series)
        return self._names

    @names.setter
    def names(self, names: LayoutNames) -> None:
        self._names = names

    @cached_property
    def series(self) -> list[StepSeries]:
        """Its step series."""
        return step_series(self.run)

    @cached_property
    def steps(self) -> pd.DataFrame:
        """Its steps with all columns that name a series."""
        return described_steps(self.run)

    @property
    def runs(self) -> list[Run]:
        """The starts that the figures are about."""
        return [self.run]

    @property
    def name(self) -> str:
        """Its name on the page and in keys."""
        return self.run.name

    @property
    def label(self) -> str:
        """Its short name on the page."""
        return self.run.label

    @property
    def traced_share(self) -> float:
        """Share of its groups that left a trace."""
        return len(self.run.groups) / self.groups

    @property
    def groups(self) -> int:
        """Groups of the start, those without a trace too."""
        return max(int(self.run.groups[0].attributes["groups"]), len(self.run.groups))

    @property
    def is_complete(self) -> bool:
        """Whether every group of the start left a trace."""
        return len({int(group.attributes["group"]) for group in self.run.groups}) >= int(self.run.groups[0].attributes["groups"])

    @property
    def gpus(self) -> int:
        """All ranks of the start, also those whose trace is missing."""
        return max(self.run.gpus, self.groups * self.run.group_size)

    @property
    def is_benchmark(self) -> bool:
        """Whether wan_bench made it."""
        program = self.run.attribute("program")
        return program == BENCHMARK or (not program and set(self.run.items["id"]) == {_BENCHMARK_ITEM})

    @cached_property
    def layouts(self) -> list[str]:
        """The layouts of its steps, the most frequent first; the layout of its start if it made no step."""
        return list(dict.fromkeys(self.names.name(series.layout) for series in self.series)) or [self.run.layout]

    @property
    def division(self) -> str:
        """How its ranks are divided: "2 groups of cfg2 x ulysses1"."""
        layouts = listed(self.layouts, 3)
        return (
            layouts
            if self.groups == 1
            else f"{self.groups} groups of {self.layouts[0]}" + (f", and {listed(self.layouts[1:], 2)}" if len(self.layouts) > 1 else "")
        )

    @cached_property
    def items(self) -> pd.DataFrame:
        """Finished and unfinished items, each once: id, width, height, frames, steps, done, start_s, end_s, passes, solver."""
        items = self.run.items.copy()
        # Steps with two passes speak for an item of which others have one.
        told = self.steps.sort_values("passes", ascending=False, kind="stable") if len(self.steps) else None
        told = told if told is None else told.drop_duplicates(["group", "item"]).set_index(["group", "item"])
        if told is not None:
            told = told.assign(passes=[self._passes_of_item(*cells) for cells in zip(told["passes"], told["guidance"], strict=True)])
        for column in ("passes", "solver"):
            items[column] = (
                None if told is None else told[column].reindex(pd.MultiIndex.from_frame(items[["group", "item"]])).to_numpy(dtype=object)
            )
        if self.is_benchmark:
            counted = self.steps[self.steps["warm_up"] != 1].groupby(["group", "item"])["step"].nunique()
            items["steps"] = counted.reindex(pd.MultiIndex.from_frame(items[["group", "item"]])).fillna(0).to_numpy(int)
            items["done"] = items["steps"] > 0
            return items
        how = {
            "width": "first",
            "height": "first",
            "frames": "first",
            "steps": "first",
            "done": "any",
            "start_s": "min",
            "end_s": "max",
            "passes": "first",
            "solver": "first",
        }
        return items.groupby("id", as_index=False, sort=False).agg(how)

    @cached_property
    def work(self) -> RunWork:
        """The items that it finished."""
        done = self.items[self.items["done"]]
        kinds = Counter((str(row.id), (int(row.width), int(row.height), int(row.frames), int(row.steps))) for row in done.itertuples())
        precisions = set(self.steps["precision"]) if len(self.steps) else set()
        return RunWork(
            task=self.run.attribute("task") or None,
            device=self.run.device,
            precision=_only(precisions),
            passes=_only(set(done["passes"])),
            solver=_only(set(done["solver"])),
            items=frozenset((name, kind, number) for (name, kind), number in kinds.items()),
            guidance=self._guidance(),
            mean_passes=self._mean_passes(),
        )

    def _passes_of_item(self, passes: int | None, scales: str) -> int | str | None:
        """The passes of an item's steps: 2, or "1:2" if its scales ask for other passes of each expert."""
        asked = passes_of(given_scales(self.run) if is_unknown(scales) else scales) or ()
        return ":".join(map(str, asked)) if len(asked) > 1 else passes

    def _mean_passes(self) -> float:
        known = self.steps.drop_duplicates(["group", "item", "step"])["passes"].dropna() if len(self.steps) else ()
        return float(np.mean(list(known))) if len(known) else 2.0

    def _guidance(self) -> str:
        if "guidance" in self.run.rank_steps:
            said = [str(text) for text in self.run.rank_steps["guidance"].unique() if text not in ("", "unknown")]
            if said:
                return listed(said, 3)
        return given_scales(self.run)

    @cached_property
    def window(self) -> tuple[float, float]:
        """First start and last end of its items in seconds of the run's clock, or of wan_bench's measured steps. NaN: no item."""
        if self.is_benchmark and len(self.steps):
            measured = self.steps[self.steps["warm_up"] != 1]
            measured = self.steps if measured.empty else measured
            return float(measured["start_s"].min()), float((measured["start_s"] + measured["wall_s"]).max())
        return float(self.items["start_s"].min()), float(self.items["end_s"].max())

    @property
    def seconds(self) -> float:
        """From the first item's start to the last item's end."""
        return self.window[1] - self.window[0]

    @property
    def seconds_with_load(self) -> float:
        """From the end of MPI_Init to the last item's end."""
        return self.window[1]

    @cached_property
    def item_interval_s(self) -> float:
        """Mean seconds from one item's end to the next one's in a group; with one item a group, the seconds that it took.

        The first item of a group has no such interval, so items of several sizes count in the shares that were made. A size that only
        groups' first items have counts with the seconds that they took.
        """
        done = self.run.items[self.run.items["done"]].sort_values(["group", "end_s"])
        if done.empty:
            return float("nan")
        intervals = done.groupby("group")["end_s"].diff()
        kinds = [done[name] for name in (*SHAPE, "steps")]
        means = intervals.groupby(kinds).mean()
        if means.isna().any():
            means = means.fillna((done["end_s"] - done["start_s"]).groupby(kinds).mean())
        shares = intervals.groupby(kinds).size()
        return float((means * shares).sum() / shares.sum())

    @cached_property
    def phase_seconds(self) -> dict[str, float]:
        """Mean seconds of each phase of a finished item, without a group's first item if it made more of that kind. Largest first.

        Items of several sizes count in the shares that were made.
        """
        kind = [*SHAPE, "steps"]
        done = self.run.items[self.run.items["done"]].sort_values("start_s")
        rest = done.drop(done.groupby("group").head(1).index)
        has_rest = pd.MultiIndex.from_frame(done[kind]).isin(pd.MultiIndex.from_frame(rest[kind]))
        chosen = pd.concat([rest, done[~has_rest]])
        weights = done.groupby(kind).size() / chosen.groupby(kind).size()
        chosen = chosen.assign(weight=weights.reindex(pd.MultiIndex.from_frame(chosen[kind])).to_numpy())
        phases = self.run.phases
        if "background" in phases:
            phases = phases[phases["background"] != 1]
        phases = phases.merge(chosen[["group", "item", "weight"]], on=["group", "item"])
        per_rank = "world_rank" if "world_rank" in phases else "group"
        of_item = phases.groupby(["phase", "group", "item", per_rank])["wall_s"].sum().groupby(["phase", "group", "item"]).max()
        weight = phases.groupby(["phase", "group", "item"])["weight"].first()
        means = (of_item * weight).groupby("phase").sum() / weight.groupby("phase").sum() if len(of_item) else of_item
        return {str(phase): float(seconds) for phase, seconds in means.sort_values(ascending=False).items()}


def _only(values: set[object]) -> str | None:
    """The values as one text. None if one is unknown."""
    if not values or None in values:
        return None
    return ", ".join(str(value) for value in sorted(values, key=str))
