"""A run: all groups of ranks of one start of the program, with their steps and items in common tables.

All times are seconds of one clock, that of world rank 0, whose zero is the end of MPI_Init there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from wan_analysis.clocks import Clocks
from wan_analysis.grouping import Groups
from wan_analysis.starts import find_starts
from wan_analysis.texts import listed
from wan_analysis.trace_file import GroupTrace, Problem
from wan_analysis.trace_format import (
    ATTENTION_BACKEND,
    COMMUNICATION_PARTS,
    PARTS,
    REMAINDER,
    STRETCH_COLUMNS,
    UNKNOWN,
    precision_name,
)

#: The values that two steps must share so that their times can be compared.
SHAPE = ["width", "height", "frames"]
#: So many cut-off items are named.
MOST_NAMED = 3


@dataclass(eq=False)
class Run:
    """One run. `label` is unique within a report: the GPU count, with a letter where two runs share it.

    `group` in its tables is the place of a group in `groups`; `item` and `stretch` are rows of that group's tables.
    """

    name: str
    groups: list[GroupTrace]
    label: str = ""
    problems: list[Problem] = field(default_factory=list)
    ranks: int = 0  #: ranks of one start, if the groups belong to several starts; 0 if they belong to one
    folders: frozenset[Path] = frozenset()  #: output folders in which its files were met, those of copies included

    @property
    def gpus(self) -> int:
        """Ranks of all groups of the start, also of those without a trace: GPUs, or CPU ranks if there are no GPUs."""
        return self.ranks or self.groups[0].world_ranks

    @property
    def group_size(self) -> int:
        """Ranks that make one video together."""
        return self.groups[0].ranks

    def attribute(self, name: str) -> str:
        """A root attribute as text. Empty if the trace has no such attribute."""
        return str(self.groups[0].attributes.get(name, ""))

    def figure(self, name: str) -> float:
        """A root attribute as a number. NaN if the trace has no such number."""
        value = self.groups[0].attributes.get(name)
        return float(value) if isinstance(value, (int, float)) else float("nan")

    @property
    def notes(self) -> pd.DataFrame:
        """/notes: what the program said at the end. Empty before format 2, and without the file of group 0."""
        return self.groups[0].notes

    @cached_property
    def device(self) -> str:
        """GPU model, or "cpu". Several models are joined by "and"."""
        return self.device_of(self._models)

    def device_of(self, ranks: Iterable[int]) -> str:
        """The same of some ranks. A rank whose model no trace holds has that of its start."""
        models = sorted({self._models[rank] for rank in ranks if rank in self._models})
        return listed(models) if models else self.attribute("gpu_model") or self.attribute("device") or "unknown device"

    @cached_property
    def _models(self) -> dict[int, str]:
        """The GPU models that are known, by world rank."""
        known = self.rank_info[~self.rank_info["gpu_model"].isin(["", UNKNOWN["text"]])]
        return dict(zip(known["world_rank"].astype(int), known["gpu_model"].astype(str), strict=True))

    @property
    def precision(self) -> str:
        """"bf16" or "fp32"; empty when the trace does not say. Several are separated by semicolons."""
        return self._of_stretches("precision") or precision_name(self.attribute("precision"))

    @property
    def unit(self) -> str:
        """The unit of a rank: "GPU" or "CPU rank"."""
        return "CPU rank" if self.device == "cpu" else "GPU"

    @property
    def layout(self) -> str:
        """The layout of its items ("cfg2 x ulysses2, fsdp4"). Several layouts are separated by semicolons."""
        layouts = [layout for layout in dict.fromkeys(self.items["layout"]) if layout not in ("", UNKNOWN["text"])]
        return "; ".join(layouts) or self._of_stretches("layout") or self.attribute("layout")

    def _of_stretches(self, column: str) -> str:
        return "; ".join(text for text in dict.fromkeys(self.stretches[column]) if text not in ("", UNKNOWN["text"]))

    @cached_property
    def has_gpu_times(self) -> bool:
        """Whether the parts' times were measured on the GPU. Otherwise they are seconds of the host."""
        columns = [f"gpu_{part}_s" for part in PARTS]
        return any(bool(np.isfinite(group.steps[columns].to_numpy()).any()) for group in self.groups)

    @cached_property
    def clocks(self) -> Clocks:
        """The ranks' clocks. A run of several starts has none."""
        return Clocks([] if self.ranks else [group.clocks for group in self.groups])

    @cached_property
    def rank_steps(self) -> pd.DataFrame:
        """One row per rank and step: /steps, the item's size, PARTS in seconds, and what the stretch says (STRETCH_COLUMNS).

        The stretch's `attention` is called `attention_backend` here. PARTS are gpu_* on GPUs and wall_* on CPUs; `wall_s` is the
        host's. `warm_up` is a bool.
        """
        table = _together([_with_items(group.steps, group, index) for index, group in enumerate(self.groups)])
        prefix = "gpu" if self.has_gpu_times else "wall"
        extra = {part: table[f"{prefix}_{part}_s"].fillna(0.0) for part in PARTS}
        table["warm_up"] = table["warm_up"] == 1
        table["start_s"] = self.clocks.common_s(table["world_rank"].to_numpy(), table["start_s"].to_numpy())
        return pd.concat([table, pd.DataFrame(extra, index=table.index), self._stretch_of(table)], axis=1)

    def _stretch_of(self, steps: pd.DataFrame) -> pd.DataFrame:
        """STRETCH_COLUMNS for each row of /steps; unknown where it belongs to no stretch."""
        sizes = [len(group.stretches) for group in self.groups]
        first = np.concatenate([[0], np.cumsum(sizes)])
        unknown = {c: ("unknown" if self.stretches[c].dtype == object else -1 if self.stretches[c].dtype == np.int64 else np.nan)
                   for c in STRETCH_COLUMNS}
        stretch = steps["stretch"].to_numpy(np.int64)
        place = np.where(stretch >= 0, first[steps["group"].to_numpy(np.int64)] + stretch, first[-1])
        known = pd.concat([self.stretches[list(STRETCH_COLUMNS)], pd.DataFrame([unknown])], ignore_index=True)
        return known.iloc[place].reset_index(drop=True).rename(columns={"attention": ATTENTION_BACKEND})

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row per group, item and step.

        `wall_s` is the slowest rank's time. The parts are means over the ranks. `other` is the rest of `wall_s`,
        so parts and `other` add up to it. `communication_s` is the sum of the communication parts.
        """
        table = self.rank_steps
        groups = Groups(table, ["group", "item", "step"], is_sorted=True)
        firsts = {name: groups.of_first(table[name]) for name in ("group", "item", "step", "expert")}
        spans = {"start_s": groups.min(table["start_s"]), "wall_s": groups.max(table["wall_s"]),
                 "sent_bytes": groups.mean(table["sent_bytes"]), "warm_up": groups.max(table["warm_up"]) > 0}
        of_item = {name: groups.of_first(table[name]) for name in ("stretch", *SHAPE)}
        steps = pd.DataFrame(firsts | spans | of_item | {part: groups.mean(table[part]) for part in PARTS})
        steps[REMAINDER] = (steps["wall_s"] - steps[list(PARTS)].sum(axis=1)).clip(lower=0.0)
        steps["communication_s"] = steps[list(COMMUNICATION_PARTS)].sum(axis=1)
        return steps

    @cached_property
    def items(self) -> pd.DataFrame:
        """/items of all groups with `steps_done` (made here), `first_step`, `outcome`, `done`, `start_s` and `end_s`.

        `outcome` is "done", "failed", "stopped", "handed over", or "cut off" where the trace ends before the item. An item that a team
        goes on with has a row for each stretch of other ranks; at most one of them is done.
        """
        return _together([self._items_of(group, index) for index, group in enumerate(self.groups)])

    def _items_of(self, group: GroupTrace, index: int) -> pd.DataFrame:
        items = group.items.copy()
        items.insert(0, "group", index)
        items.insert(1, "item", np.arange(len(items)))
        count, leader = len(items), group.leader
        phases = self.phases[(self.phases["group"] == index) & (self.phases["item"] >= 0)]
        of_phase, begins = phases["item"].to_numpy(np.int64), phases["start_s"].to_numpy(float)
        starts, ends = np.full(count, np.nan), np.full(count, np.nan)
        np.fmin.at(starts, of_phase, begins)
        np.fmax.at(ends, of_phase, begins + phases["wall_s"].to_numpy(float))
        made = np.unique(group.steps["item"].to_numpy(np.int64) * 2**32 + group.steps["step"].to_numpy(np.int64)) // 2**32
        items["steps_done"] = np.bincount(made, minlength=count)
        stretches = group.stretches[group.stretches["item"] >= 0]
        of_stretch, first_steps = stretches["item"].to_numpy(np.int64), np.full(count, np.inf)
        np.minimum.at(first_steps, of_stretch, stretches["first_step"].to_numpy(float))
        np.fmin.at(starts, of_stretch, self.clocks.common_s(leader, stretches["start_s"].to_numpy()))
        items["first_step"] = np.where(np.isinf(first_steps), 0, first_steps).astype(int)
        of_end, outcomes = group.item_ends["item"].to_numpy(np.int64), np.full(count, "cut off", dtype=object)
        outcomes[of_end] = group.item_ends["outcome"].to_numpy(object)
        np.fmax.at(ends, of_end, self.clocks.common_s(leader, group.item_ends["time_s"].to_numpy()))
        items["outcome"] = pd.Series(outcomes, index=items.index, dtype=object)
        items["done"] = outcomes == "done"
        items["start_s"], items["end_s"] = starts, ends
        return items

    @cached_property
    def phases(self) -> pd.DataFrame:
        """/phases of all groups, one row per rank, with the item's size. Phases of the run have item -1.

        `background` (bool): a thread beside the rank's work, listed but never summed. `assumed` (bool): not written by the program.
        """
        phases = _together([_with_items(group.phases, group, index) for index, group in enumerate(self.groups)])
        phases["background"] = phases["background"] == 1
        phases["start_s"] = self.clocks.common_s(phases["world_rank"].to_numpy(), phases["start_s"].to_numpy())
        return phases

    @cached_property
    def stretches(self) -> pd.DataFrame:
        """/stretches of all groups, with `group` and `stretch` (its row)."""
        frames = []
        for index, group in enumerate(self.groups):
            table = group.stretches.copy()
            table.insert(0, "group", index)
            table.insert(1, "stretch", np.arange(len(table)))
            table["start_s"] = self.clocks.common_s(group.leader, table["start_s"].to_numpy())
            frames.append(table)
        return _together(frames)

    @cached_property
    def rank_info(self) -> pd.DataFrame:
        """/ranks of all groups: one row per rank whose group left a trace, with `group`."""
        frames = [group.rank_table.assign(group=index) for index, group in enumerate(self.groups)]
        return _together(frames).sort_values(["world_rank", "group"], ignore_index=True)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """/samples of all groups."""
        samples = _together([group.samples for group in self.groups])
        samples["time_s"] = self.clocks.common_s(samples["rank"].to_numpy(), samples["time_s"].to_numpy())
        return samples

    @cached_property
    def rank_spans(self) -> pd.DataFrame:
        """For each rank whose group left a trace: `start_s` (its MPI_Init ended) and `end_s` (the run's end). Index: world rank.

        A start that was killed has no end; its ranks end with the last thing that the group's file tells of them. Format 0 tells no
        end. There all groups of a start end with the last one, because they leave MPI together.
        """
        frames = [self._spans_of(group) for group in self.groups]
        spans = pd.concat(frames).groupby(level=0).agg({"start_s": "min", "end_s": "max"})
        if not self.ranks and not self.groups[0].attributes["format"]:
            spans["end_s"] = spans["end_s"].max()
        return spans

    def _spans_of(self, group: GroupTrace) -> pd.DataFrame:
        own = group.rank_table["world_rank"].to_numpy(np.int64)
        ends = [pd.Series(np.nan, index=pd.Index(own, name="world_rank"))]
        for table in (group.steps, group.phases):
            done = self.clocks.common_s(table["world_rank"].to_numpy(), (table["start_s"] + table["wall_s"]).to_numpy())
            ends.append(pd.Series(done, index=table["world_rank"]).groupby(level=0).max())
        last = pd.concat(ends).groupby(level=0).max()
        said = group.attributes.get("ended_s")
        if isinstance(said, (int, float)) and np.isfinite(said):
            whole = float(self.clocks.common_s(group.leader, np.array([said]))[0])
        else:
            seen = group.samples["time_s"].to_numpy()
            seen = self.clocks.common_s(group.samples["rank"].to_numpy(), seen)
            whole = max([*seen[-1:], *last.dropna().to_numpy()], default=0.0)
        last.loc[last.index.isin(own)] = last[last.index.isin(own)].clip(lower=whole).fillna(whole)
        ranks = last.index.to_numpy(np.int64)
        return pd.DataFrame({"start_s": self.clocks.common_s(ranks, np.zeros(len(ranks))), "end_s": last})

    def rank_walls(self) -> pd.Series:
        """Seconds from the end of MPI_Init to the end of the run, by world rank."""
        spans = self.rank_spans
        return (spans["end_s"] - spans["start_s"]).rename("wall_s")


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """The tables of all groups in one. Empty ones count only if all are empty, because they would change types."""
    full = [frame for frame in frames if len(frame)]
    return pd.concat(full or frames[:1], ignore_index=True)


def _with_items(table: pd.DataFrame, group: GroupTrace, index: int) -> pd.DataFrame:
    """Adds the group's place and the item's size; NaN for rows of no item."""
    result = table.reset_index(drop=True)
    result.insert(0, "group", index)
    sizes = group.items[SHAPE].astype(float)
    sizes.loc[-1] = np.nan
    return pd.concat([result, sizes.loc[result["item"]].reset_index(drop=True)], axis=1)


def gather_runs(groups: list[GroupTrace]) -> list[Run]:
    """One run for each start, labelled by GPU count, with notes on what is incomplete."""
    runs = [Run(start.name, start.groups, problems=start.problems, folders=frozenset(start.folders)) for start in find_starts(groups)]
    runs.sort(key=lambda run: (run.gpus, run.attribute("started"), run.name))
    for run in runs:
        same = [other for other in runs if other.gpus == run.gpus]
        run.label = str(run.gpus) if len(same) == 1 else f"{run.gpus}{_letters(same.index(run))}"
        run.problems += _problems_of(run)
    return runs


def join_starts(runs: list[Run]) -> Run:
    """Joins starts of one batch on the same number of ranks to one run, for measures that do not depend on a step's time of day."""
    if len(runs) == 1:
        return runs[0]
    groups = [group for run in runs for group in run.groups]
    return Run(" + ".join(run.name for run in runs), groups, runs[0].label, ranks=runs[0].gpus)


def _letters(number: int) -> str:
    """0 is a, 25 is z, 26 is aa."""
    return (_letters(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def _problems_of(run: Run) -> list[Problem]:
    problems = []
    where = f"run {run.name}"
    groups = int(run.groups[0].attributes["groups"])
    if len(run.groups) < groups:
        problems.append(Problem(where, f"only {len(run.groups)} of its {groups} groups left a trace; the figures describe only these"))
    made = set(run.rank_steps["world_rank"])
    for group in run.groups:
        missing = [rank for rank in group.rank_table["world_rank"] if rank not in made]
        if 0 < len(missing) < group.ranks and len(group.steps):
            there = group.ranks - len(missing)
            problems.append(Problem(str(group.path), f"steps of {there} of {group.ranks} ranks only; means are over these ranks"))
    if run.rank_steps.empty:
        problems.append(Problem(where, "has no steps (all items were already done, or it was killed before the first step)"))
    drafted = run.items["outcome"] == "drafted"
    cut = ~drafted & ~run.items["outcome"].isin(["done", "handed over"])
    for chosen, word, why in ((cut, "stopped", " (killed, failed, or still running)"), (drafted, "drafted", "")):
        items = run.items[chosen]
        if items.empty:
            continue
        named = ", ".join(f"item '{item.id}' {word} after {item.steps_done} of {item.steps} steps"
                          for item in items.head(MOST_NAMED).itertuples())
        more = f", and {len(items) - MOST_NAMED} more items {word}" if len(items) > MOST_NAMED else ""
        problems.append(Problem(where, f"{named}{more}{why}; their steps count, the items do not"))
    dropped = sum(int(group.drops["rows"].clip(lower=0).sum()) for group in run.groups)
    if dropped:
        problems.append(Problem(where, f"{dropped} rows of its trace were dropped, because the disk was too slow"))
    return problems
