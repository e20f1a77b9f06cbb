"""Where the time of every rank went: seconds by name that add up to ranks times wall time.

Every moment of a rank between the end of MPI_Init and the end of its run gets exactly one name. A step counts before the
phase that it lies in, a phase of an item before a phase of the run, and a named phase before a gap. Gaps have names by
where they lie: `between_steps` inside the denoising of an item, `between_phases` between two phases of an item,
`between_items` next to an item (its files are put in place, its records are written, the next row is claimed). Time
without any of these names is `unnamed`. Phases of background threads are listed by `background`, and never summed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from wan_analysis.once import once_per_run
from wan_analysis.run import Run
from wan_analysis.trace_format import ITEM_PHASES

#: The names of the time before a rank is ready for its first item.
LOAD_NAMES = ("start_up", "load")
#: Phases of the run itself, in the order in which one counts before another.
RUN_NAMES = ("join", "load", "start_up", "finish", "idle")
#: Gaps by where they lie.
GAPS = ("between_steps", "between_phases", "between_items")

MEANINGS = {
    "start_up": "from the end of MPI_Init to the loading of the model",
    "load": "loading the model",
    "text": "encoding the prompt",
    "image": "reading the image",
    "encode": "encoding the image",
    "lora": "writing weights anew with other LoRAs",
    "decode": "decoding the video; up to version 0.1.0 with the writing of the video",
    "write": "writing the video",
    "publish": "putting the finished files in place",
    "steps": "steps of denoising",
    "between_steps": "in the denoising, but in no step",
    "between_phases": "between two phases of an item",
    "between_items": "next to an item: its files are put in place, its records are written, the next row is claimed",
    "join": "joining another group's team",
    "idle": "waiting for a row, for other groups or for the end",
    "finish": "ending the run",
    "unnamed": "no name is known",
}


@once_per_run
def account(run: Run) -> pd.DataFrame:
    """Seconds of every rank (index `world_rank`) by name (columns). A row adds up to the rank's wall time.

    Only ranks whose trace is there have a row.
    """
    return account_of(run.phases, run.rank_steps, run.rank_spans, is_old=trace_format_of(run) == 0)


def account_of(phases: pd.DataFrame, rank_steps: pd.DataFrame, spans: pd.DataFrame, *, is_old: bool = False) -> pd.DataFrame:
    """The account of phases (`world_rank`, `group`, `item`, `phase`, `start_s`, `wall_s`, `background`) and steps.

    `spans` has `start_s` and `end_s` of each rank's run by world rank. A trace of format 0 (`is_old`) does not name start-up,
    finish and idle times. There they are the time before the load, and the time after a rank's last row.
    """
    foreground = phases[phases["background"] != 1] if "background" in phases else phases
    item_names = _item_names(foreground)
    names = list(dict.fromkeys((*LOAD_NAMES, *item_names, "steps", *GAPS, "join", "idle", "finish",
                                *_others(foreground, item_names), "unnamed")))
    groups_of_run = rank_steps["group"].nunique() if len(rank_steps) else 1
    tail = "idle" if max(groups_of_run, foreground["group"].nunique() if "group" in foreground else 1) > 1 else "finish"
    phases_of = dict(tuple(foreground.groupby("world_rank", sort=False)))
    steps_of = dict(tuple(rank_steps.groupby("world_rank", sort=False)))
    rows = {}
    for rank, start_s, end_s in spans[["start_s", "end_s"]].itertuples():
        timeline = _Timeline(phases_of.get(rank, foreground.iloc[:0]), steps_of.get(rank, rank_steps.iloc[:0]), item_names)
        rows[rank] = timeline.seconds(float(start_s), max(float(start_s), float(end_s)), tail if is_old else "")
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=names).fillna(0.0)
    table["unnamed"] = (spans["end_s"] - spans["start_s"]).clip(lower=0.0) - table.drop(columns="unnamed").sum(axis=1)
    table.index.name = "world_rank"
    return table


def unnamed_share(table: pd.DataFrame) -> float:
    """Unnamed seconds over ranks times wall time, 0 to 1."""
    total = float(table.to_numpy().sum())
    return float(table["unnamed"].abs().sum()) / total if total else float("nan")


def account_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each name with seconds: `name`, `gpu_s` (sum over the ranks), `percent` of ranks times wall time, `meaning`."""
    sums = table.sum()
    total = float(sums.sum())
    sums = sums[sums.abs() > 0.0]
    return pd.DataFrame({"name": sums.index, "gpu_s": sums.to_numpy(float), "percent": 100.0 * sums.to_numpy(float) / total,
                         "meaning": [MEANINGS.get(name, "a phase of the program") for name in sums.index]})


def campaign_account(runs: Iterable[Run]) -> pd.DataFrame:
    """The accounts of several starts, one row for each start and rank (index `run`, `world_rank`)."""
    tables = {run.name: account(run) for run in runs}
    table = pd.concat(tables, names=["run"]).fillna(0.0)
    return table[[*(name for name in table if name != "unnamed"), "unnamed"]]


def background(run: Run) -> pd.DataFrame:
    """Phases that background threads made: `world_rank`, `phase`, `seconds`, `rows`. They are in no sum."""
    return background_of(run.phases)


def background_of(phases: pd.DataFrame) -> pd.DataFrame:
    """`background` of a table of phases."""
    rows = phases[phases["background"] == 1] if "background" in phases else phases.iloc[:0]
    return rows.groupby(["world_rank", "phase"])["wall_s"].agg(seconds="sum", rows="size").reset_index()


def trace_format_of(run: Run) -> int:
    """The number of the trace's format; 0 if the trace has none."""
    text = run.attribute("format")
    return int(text) if text.isdigit() else 0


def _item_names(phases: pd.DataFrame) -> list[str]:
    """Phases of items but denoise, whose time is that of its steps and of the gaps between them."""
    there = set(phases.loc[phases["item"] >= 0, "phase"]) - {"denoise"}
    return [name for name in ITEM_PHASES if name in there] + sorted(there - set(ITEM_PHASES))


def _others(phases: pd.DataFrame, item_names: list[str]) -> list[str]:
    of_run = set(phases.loc[phases["item"] < 0, "phase"])
    return sorted(of_run - set(RUN_NAMES) - set(item_names))


class _Timeline:
    """The rows of one rank as intervals. Each moment belongs to the first kind of row that covers it."""

    def __init__(self, phases: pd.DataFrame, steps: pd.DataFrame, item_names: list[str]) -> None:
        rows, made = _Rows(phases), _Rows(steps)
        of_item, of_run = rows.items >= 0, rows.items < 0
        self._layers: list[tuple[str, np.ndarray]] = [("steps", made.intervals(made.all))]
        self._layers += [(name, rows.intervals(of_item & rows.called(name))) for name in item_names]
        denoising = np.concatenate([rows.intervals(of_item & rows.called("denoise")), _spans(made)])
        self._layers.append(("between_steps", denoising))
        known = [*RUN_NAMES, *sorted(set(rows.phases[of_run]) - set(RUN_NAMES))]
        self._layers += [(name, rows.intervals(of_run & rows.called(name))) for name in known]
        self._layers.append(("between_phases", _spans(rows, made)))
        self._items = [index for index, (name, _) in enumerate(self._layers)
                       if name in item_names or name in ("steps", "between_steps", "between_phases")]
        self._load = next(index for index, (name, _) in enumerate(self._layers) if name == "load")

    def seconds(self, start_s: float, end_s: float, tail: str) -> dict[str, float]:
        """Seconds by name from `start_s` to `end_s`. `tail` is the name of the time after the last row; empty: none is known."""
        spans = [np.clip(spans, start_s, end_s) for _, spans in self._layers]
        edges = np.unique(np.concatenate([[start_s, end_s], *(part.ravel() for part in spans)]))
        lengths = np.diff(edges)
        owner = np.full(len(lengths), -1)
        for index in reversed(range(len(spans))):
            owner[_covered(spans[index], edges)] = index
        result = {name: float(lengths[owner == index].sum()) for index, (name, _) in enumerate(self._layers)}
        for name, mask in self._gaps(owner, tail).items():
            result[name] = result.get(name, 0.0) + float(lengths[mask].sum())
        return result

    def _gaps(self, owner: np.ndarray, tail: str) -> dict[str, np.ndarray]:
        """The intervals without a row by the name of the gap."""
        named = np.flatnonzero(owner >= 0)
        if named.size == 0:
            return {}
        gaps = np.flatnonzero(owner < 0)
        place = np.searchsorted(named, gaps)
        before = np.where(place > 0, owner[named[np.maximum(place - 1, 0)]], -1)
        after = np.where(place < named.size, owner[named[np.minimum(place, named.size - 1)]], -1)
        is_item = np.isin(before, self._items) | np.isin(after, self._items)
        is_tail = (after < 0) & bool(tail)
        is_start = (before < 0) & (after == self._load)
        result = {"between_items": gaps[is_item & (after >= 0) & (before >= 0)], "start_up": gaps[is_start]}
        if tail:
            result[tail] = gaps[is_tail]
        return result


class _Rows:
    """Phases or steps of one rank as arrays [rows]: items, start and end in seconds. Rows without a time are left out."""

    def __init__(self, table: pd.DataFrame) -> None:
        starts, walls = table["start_s"].to_numpy(float), table["wall_s"].to_numpy(float)
        there = np.isfinite(starts) & np.isfinite(walls)
        self.starts, self.ends = starts[there], (starts + walls)[there]
        self.items = table["item"].to_numpy(np.int64)[there]
        groups = table["group"].to_numpy(np.int64)[there] if "group" in table else np.zeros(len(self.items), dtype=np.int64)
        self.keys = groups * 2**32 + self.items  #: a number for each item of each group
        self.phases = table["phase"].to_numpy(object)[there] if "phase" in table else np.full(len(self.items), "")
        self.all = np.ones(len(self.items), dtype=bool)

    def called(self, phase: str) -> np.ndarray:
        """Which rows are of this phase."""
        return self.phases == phase

    def intervals(self, chosen: np.ndarray) -> np.ndarray:
        """[rows, 2]: start and end of the chosen rows. Rows without a length, or with a negative one, are left out."""
        chosen = chosen & (self.ends > self.starts)
        return np.column_stack([self.starts[chosen], self.ends[chosen]])


def _spans(*tables: _Rows) -> np.ndarray:
    """[items, 2]: from the first row's start to the last row's end of every item."""
    chosen = [rows.items >= 0 for rows in tables]
    keys = np.concatenate([rows.keys[of_item] for rows, of_item in zip(tables, chosen, strict=True)])
    if len(keys) == 0:
        return np.empty((0, 2))
    order = np.argsort(keys, kind="stable")
    begins = np.flatnonzero(np.diff(keys[order], prepend=keys[order][0] - 1))
    starts = np.concatenate([rows.starts[of_item] for rows, of_item in zip(tables, chosen, strict=True)])[order]
    ends = np.concatenate([rows.ends[of_item] for rows, of_item in zip(tables, chosen, strict=True)])[order]
    return np.column_stack([np.minimum.reduceat(starts, begins), np.maximum.reduceat(ends, begins)])


def _covered(spans: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """For each interval between two edges, whether one of the spans covers it."""
    if len(spans) == 0:
        return np.zeros(len(edges) - 1, dtype=bool)
    change = np.zeros(len(edges), dtype=int)
    np.add.at(change, np.searchsorted(edges, spans[:, 0]), 1)
    np.add.at(change, np.searchsorted(edges, spans[:, 1]), -1)
    return np.cumsum(change)[:-1] > 0
