"""Step series: the steps of one run that did equal work on the same ranks in the same layout.

`Work` is what two steps must share so that their times can be compared. `Layout` names a series. A value that no trace
holds is None and is shown as "not recorded". Traces of format 0 lack most of them. Some of these follow from what is
there: a value that the command line gives, two passes where the layout splits the passes, the layout of a joined team.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from wan_analysis.command_line import given_options, switch
from wan_analysis.once import once_per_run
from wan_analysis.run import SHAPE, Run
from wan_analysis.step_rows import prepared
from wan_analysis.trace_format import ATTENTION_BACKEND, PARTS, precision_name

NOT_RECORDED = "not recorded"
_LAYOUT = re.compile(r"cfg(\d{1,6}) x ulysses(\d{1,6})(?: x (\d{1,6}) copies)?(?:, fsdp(\d{1,6}))?\Z")
#: A placement that a synthetic trace of format 0 has in its layout's text.
_SHARDED = "sharded over {}"
#: Columns that no figure of a series needs.
_UNNEEDED = ("group_rank", "timestep", "latent_digest", "vram_allocated_bytes", "vram_reserved_bytes", "vram_peak_bytes", "shift",
             "first_step")
#: Columns of a step that name its series, beside the run's own values.
_KEYS = ("layout", "placement", "precision", "passes", "solver", ATTENTION_BACKEND, "head_chunks", "ranks")


@dataclass(frozen=True)
class Work:
    """The work of one step. None: not recorded."""

    task: str | None
    device: str
    precision: str | None
    width: int
    height: int
    frames: int
    passes: int | None  #: 2 with guidance, 1 without
    solver: str | None = None

    def __str__(self) -> str:
        parts = [self.task, self.device, self.precision, f"{self.width}×{self.height}, {self.frames} frames",
                 None if self.passes is None else f"{self.passes} pass{'es' if self.passes != 1 else ''} a step", self.solver]
        return ", ".join(str(part) for part in parts if part is not None)

    @property
    def size(self) -> tuple[int, int, int]:
        """Width and height in pixels, and frames."""
        return self.width, self.height, self.frames


#: The names of the values of `Work` on a page.
WORK_WORDS = {"task": "model", "device": "GPU model", "precision": "precision", "width": "width", "height": "height",
              "frames": "frames", "passes": "passes of a step", "solver": "solver"}


def differences(work: Work, other: Work) -> list[tuple[str, str, str]]:
    """(name, value of `work`, value of `other`) of each value that both know and that differs. Empty: the same work."""
    pairs = [(WORK_WORDS[field.name], getattr(work, field.name), getattr(other, field.name)) for field in fields(Work)]
    return [(name, str(one), str(two)) for name, one, two in pairs if one is not None and two is not None and one != two]


def not_recorded(works: Iterable[Work]) -> list[str]:
    """The values that some of the works know and others do not: no comparison can hold them to be equal."""
    known = [[getattr(work, field.name) is not None for work in works] for field in fields(Work)]
    return [WORK_WORDS[field.name] for field, there in zip(fields(Work), known, strict=True) if any(there) and not all(there)]


@dataclass(frozen=True, order=True)
class Layout:
    """How a group or team divides a step, and how it computes. None: not recorded."""

    ranks: int
    cfg: int | None
    ulysses: int | None
    placement: str | None = None  #: "whole", "sharded over 4", "offloaded", "sharded over 4, offloaded"
    attention: str | None = None
    head_chunks: int | None = None

    @property
    def grid(self) -> str:
        """"cfg2 x ulysses2", with " x 2 copies" if ranks repeat work."""
        if self.cfg is None or self.ulysses is None:
            return f"{self.ranks} ranks, layout {NOT_RECORDED}"
        copies = self.ranks // (self.cfg * self.ulysses)
        return f"cfg{self.cfg} x ulysses{self.ulysses}" + (f" x {copies} copies" if copies > 1 else "")

    def __str__(self) -> str:
        return self.grid if self.placement in (None, "whole") else f"{self.grid}, {self.placement}"


class LayoutNames:
    """Names of layouts that are read together. They hold what differs: the attention kernel and the head chunks only if needed."""

    def __init__(self, layouts: Iterable[Layout]) -> None:
        every = set(layouts)
        self._shows_attention = len({layout.attention for layout in every}) > 1
        without = Counter(replace(layout, head_chunks=None) for layout in every)
        self._shows_chunks = {layout for layout in every if without[replace(layout, head_chunks=None)] > 1}

    def name(self, layout: Layout) -> str:
        """"cfg2 x ulysses2, sharded over 4, attention reference"."""
        parts = [str(layout)]
        if self._shows_attention and layout.attention is not None:
            parts.append(f"attention {layout.attention}")
        if layout in self._shows_chunks and layout.head_chunks is not None:
            parts.append(f"{layout.head_chunks} head chunk{'' if layout.head_chunks == 1 else 's'}")
        return ", ".join(parts)

    def kind(self, layout: Layout) -> str:
        """The way of computing, without the number of ranks: "sharded, attention reference". Empty for whole weights."""
        placement = re.sub(r" over \d+", "", layout.placement) if layout.placement not in (None, "whole") else ""
        attention = f"attention {layout.attention}" if self._shows_attention and layout.attention is not None else ""
        return ", ".join(part for part in (placement, attention) if part)


@dataclass(eq=False)
class StepSeries:
    """Steps of equal work on the same ranks. `steps` are rows of Run.rank_steps, one for each rank and step."""

    run: Run
    work: Work
    layout: Layout
    ranks: tuple[int, ...]  #: world ranks
    steps: pd.DataFrame

    @property
    def measured(self) -> pd.DataFrame:
        """The rows without warm-up steps. May be empty."""
        return self.steps[self.steps["warm_up"] != 1]

    @property
    def counted(self) -> pd.DataFrame:
        """The rows without warm-up steps, or all if there are no others."""
        measured = self.measured
        return self.steps if measured.empty else measured

    @property
    def groups(self) -> list[int]:
        """The groups (places in Run.groups) whose leaders wrote the rows."""
        return sorted(int(group) for group in self.steps["group"].unique())


def step_series(run: Run) -> list[StepSeries]:
    """The step series of a run, those with the most rows first. Empty if it has no steps."""
    steps = described_steps(run)
    if steps.empty:
        return []
    found = []
    for _, rows in steps.groupby([*SHAPE, *_KEYS], sort=False, dropna=False):
        first = rows.iloc[0]
        ranks = tuple(int(rank) for rank in str(first["ranks"]).split(","))
        found.append(StepSeries(run, _work_of(run, first), _layout_of(first, len(ranks)), ranks, rows))
    return sorted(found, key=lambda series: (-len(series.steps), series.ranks))


@once_per_run
def described_steps(run: Run) -> pd.DataFrame:
    """Run.rank_steps with every column that names a series. Values of no trace are None. Callers must not change the table."""
    rows = run.rank_steps
    unneeded = {f"{prefix}_{part}_s" for prefix in ("gpu", "wall") for part in PARTS if part in rows} | set(_UNNEEDED)
    steps = rows[[column for column in rows if column not in unneeded]].copy(deep=False)
    there = steps[SHAPE].notna().all(axis=1)
    steps = steps if there.all() else steps[there]  # rows of an item that the trace does not have
    if steps.empty:
        return steps
    given = given_options(run.attribute("command"))
    _add_ranks(steps)
    steps["device"] = _devices(run, steps["ranks"])
    _add_layout(run, steps)
    _fill(steps, "precision", run.precision or precision_name(given.get("precision", "")) or None)
    _fill(steps, ATTENTION_BACKEND, None if given.get("attention") in (None, "", "automatic") else given["attention"])
    _fill(steps, "solver", given.get("sample-solver"))
    _fill(steps, "head_chunks", None)
    _add_placement(steps, given)
    _add_passes(steps, given)
    _add_warm_up(steps, given)
    return steps


@once_per_run
def prepared_steps(run: Run) -> pd.DataFrame:
    """`prepared` rows of the run's described steps; empty if it has none."""
    steps = described_steps(run)
    return steps if steps.empty else prepared(steps)


def is_unknown(value: Any) -> bool:  # noqa: ANN401  (a cell of a trace: text, a number or nothing)
    """Whether a trace says that it does not know a value."""
    if value is None or (isinstance(value, str) and value in ("", "unknown")):
        return True
    return isinstance(value, (int, float, np.number)) and (value < 0 or math.isnan(value))


def _fill(steps: pd.DataFrame, column: str, value: Any) -> None:  # noqa: ANN401
    """Makes unknown cells None, or `value`."""
    if column not in steps:
        steps[column] = pd.Series([value] * len(steps), index=steps.index, dtype=object)
        return
    codes, cells = pd.factorize(steps[column], use_na_sentinel=False)
    filled = np.empty(len(cells), dtype=object)
    filled[:] = [value if is_unknown(cell) else cell for cell in cells]
    steps[column] = pd.Series(filled[codes], index=steps.index, dtype=object)


def _add_ranks(steps: pd.DataFrame) -> None:
    """World ranks of each step: the stretch's, or those that have a row of it."""
    _fill(steps, "ranks", None)
    if steps["ranks"].notna().all():
        return
    rows = steps[["group", "item", "step", "world_rank"]].drop_duplicates().sort_values(["group", "item", "step", "world_rank"])
    keys = rows[["group", "item", "step"]].to_numpy()
    begins = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    texts = [",".join(str(rank) for rank in ranks) for ranks in np.split(rows["world_rank"].to_numpy(int), begins[1:])]
    of_step = pd.Series(texts, index=pd.MultiIndex.from_arrays(keys[begins].T))
    of_step = of_step.reindex(pd.MultiIndex.from_frame(steps[["group", "item", "step"]])).to_numpy()
    steps["ranks"] = steps["ranks"].where(steps["ranks"].notna(), pd.Series(of_step, index=steps.index))


def _devices(run: Run, teams: pd.Series) -> pd.Series:
    """The GPU models of each row's team."""
    devices = {text: run.device_of(map(int, str(text).split(","))) for text in teams.unique()}
    return teams.map(devices)


def _add_layout(run: Run, steps: pd.DataFrame) -> None:
    """The layout of the steps' ranks. Format 0 names the group's layout also for the steps of a joined team."""
    _fill(steps, "layout", None)
    if steps["layout"].isna().any():
        items = run.items.set_index(["group", "item"])
        of_item = items["layout"] if "layout" in items else pd.Series(run.attribute("layout"), index=items.index)
        texts = of_item.reindex(pd.MultiIndex.from_frame(steps[["group", "item"]])).to_numpy()
        steps["layout"] = steps["layout"].where(steps["layout"].notna(), pd.Series(texts, index=steps.index))
        sizes = {index: group.ranks for index, group in enumerate(run.groups)}
        count = steps["ranks"].str.count(",") + 1
        joined = count > steps["group"].map(sizes)
        steps.loc[joined, "layout"] = [_team_layout(int(ranks)) for ranks in count[joined]]


def _team_layout(ranks: int) -> str | None:
    """The program's layout of a team with guidance (choose_team_shape in src/parallel/layout.cpp)."""
    return f"cfg2 x ulysses{ranks // 2}" if ranks % 2 == 0 else None


def _add_placement(steps: pd.DataFrame, given: dict[str, str]) -> None:
    sharded, offloaded = switch(given, "dit-fsdp"), switch(given, "offload-model")
    _fill(steps, "placement", None)
    texts = {}
    for layout, ranks in steps[["layout", "ranks"]].drop_duplicates().itertuples(index=False):
        matched = _LAYOUT.match(str(layout))
        in_layout = matched[4] if matched else None
        parts = []
        if in_layout or (sharded == "on" and "," in ranks):
            parts.append(_SHARDED.format(in_layout or ranks.count(",") + 1))
        if offloaded == "on":
            parts.append("offloaded")
        texts[layout, ranks] = ", ".join(parts) or ("whole" if sharded == offloaded == "off" else None)
    derived = [texts[key] for key in zip(steps["layout"], steps["ranks"], strict=True)]
    steps["placement"] = steps["placement"].where(steps["placement"].notna(), pd.Series(derived, index=steps.index, dtype=object))


def _add_passes(steps: pd.DataFrame, given: dict[str, str]) -> None:
    """Passes of a step: from the trace, from a layout that splits them, or from the guidance that the command line gives."""
    _fill(steps, "passes", None)
    if steps["passes"].notna().all():
        return
    scales = given.get("sample-guide-scale", "").split(":")
    try:
        guided = {float(scale) != 1.0 for scale in scales}
    except ValueError:
        guided = set()
    given_passes = (2 if guided.pop() else 1) if len(guided) == 1 else None
    derived = {layout: 2 if str(layout).startswith("cfg2") else given_passes for layout in steps["layout"].unique()}
    values = pd.Series([derived[layout] for layout in steps["layout"]], index=steps.index, dtype=object)
    steps["passes"] = steps["passes"].where(steps["passes"].notna(), values)


def _add_warm_up(steps: pd.DataFrame, given: dict[str, str]) -> None:
    """1 for warm-up steps. In format 0: wan_bench's own, and a group's first step after a start, a join or a change of size."""
    if "warm_up" in steps and not (steps["warm_up"] < 0).any():
        return
    order = steps.groupby(["group", "item", "step"], as_index=False).agg(
        start_s=("start_s", "min"), ranks=("ranks", "first"), **{name: (name, "first") for name in SHAPE})
    order = order.sort_values(["group", "start_s"])
    alike = (order[["group", "ranks", *SHAPE]] == order[["group", "ranks", *SHAPE]].shift()).all(axis=1)
    order["derived"] = (~alike).astype("int8")
    if "warmup" in given and given["warmup"].isdigit():
        order["derived"] = (order["step"] < int(given["warmup"])).astype("int8")
    derived = steps.merge(order[["group", "item", "step", "derived"]], on=["group", "item", "step"], how="left")["derived"].to_numpy()
    if "warm_up" not in steps:
        steps["warm_up"] = derived
    else:
        steps["warm_up"] = steps["warm_up"].where(steps["warm_up"] >= 0, derived)


def _number(value: Any) -> int | None:  # noqa: ANN401
    return None if is_unknown(value) else int(value)


def _text(value: Any) -> str | None:  # noqa: ANN401
    return None if is_unknown(value) else str(value)


def _work_of(run: Run, row: pd.Series) -> Work:
    return Work(task=run.attribute("task") or None, device=str(row["device"]), precision=_text(row["precision"]), width=int(row["width"]),
                height=int(row["height"]), frames=int(row["frames"]), passes=_number(row["passes"]), solver=_text(row["solver"]))


def _layout_of(row: pd.Series, ranks: int) -> Layout:
    matched = _LAYOUT.match(str(row["layout"]))
    cfg, ulysses = (int(matched[1]) or None, int(matched[2]) or None) if matched else (None, None)
    return Layout(ranks, cfg, ulysses, _text(row["placement"]), _text(row[ATTENTION_BACKEND]), _number(row["head_chunks"]))
