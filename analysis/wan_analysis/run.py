"""A run: all groups of ranks of one start of the program, with their steps and items in common tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from wan_analysis.starts import find_starts
from wan_analysis.trace_file import GroupTrace, Problem
from wan_analysis.trace_format import COMMUNICATION_PARTS, ITEM_PHASES, LAST_PHASE, PARTS, REMAINDER, precision_name

#: The values that two steps must share so that their times can be compared.
SHAPE = ["width", "height", "frames"]


@dataclass(eq=False)
class Run:
    """One run. `label` is unique within a report: the GPU count, with a letter where two runs share it."""

    name: str
    groups: list[GroupTrace]
    label: str = ""
    problems: list[Problem] = field(default_factory=list)
    ranks: int = 0  #: ranks of one start, if the groups belong to several starts; 0 if they belong to one

    @property
    def gpus(self) -> int:
        """Number of ranks of all groups: GPUs, or CPU ranks if there are no GPUs."""
        return self.ranks or sum(group.ranks for group in self.groups)

    @property
    def group_size(self) -> int:
        """Ranks that make one video together."""
        return self.groups[0].ranks

    def attribute(self, name: str) -> str:
        """A root attribute as text. Empty if the trace has no such attribute."""
        return str(self.groups[0].attributes.get(name, ""))

    @property
    def device(self) -> str:
        """GPU model, or "cpu"."""
        return self.attribute("gpu_model") or self.attribute("device") or "unknown device"

    @property
    def precision(self) -> str:
        """"bf16" or "fp32"; empty when the trace does not say."""
        return precision_name(self.attribute("precision"))

    @property
    def unit(self) -> str:
        """The unit of a rank: "GPU" or "CPU rank"."""
        return "CPU rank" if self.device == "cpu" else "GPU"

    @property
    def layout(self) -> str:
        """The layout of its items ("cfg2 x ulysses2, fsdp4"). Several layouts are separated by semicolons."""
        layouts = list(dict.fromkeys(self.items["layout"])) if "layout" in self.items else []
        return "; ".join(layouts) or self.attribute("layout")

    @property
    def has_gpu_times(self) -> bool:
        """Whether the parts' times were measured on the GPU. Otherwise they are seconds of the host."""
        columns = [f"gpu_{part}_s" for part in PARTS]
        steps = self.rank_steps
        return all(column in steps for column in columns) and bool(np.isfinite(steps[columns]).to_numpy().any())

    @cached_property
    def rank_steps(self) -> pd.DataFrame:
        """/steps of all groups, one row per rank and step, with the item's shape."""
        frames = [_with_items(group.steps, group, index) for index, group in enumerate(self.groups)]
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row per group, item and step.

        `wall_s` is the slowest rank's time. The parts are means over the ranks. `other` is the rest of `wall_s`,
        so parts and `other` add up to it. `communication_s` is the sum of the communication parts.
        """
        prefix = "gpu" if self.has_gpu_times else "wall"
        rank_steps = self.rank_steps
        table = rank_steps[["group", "item", "step", "expert", "start_s", "wall_s", *SHAPE]].copy()
        for part in PARTS:
            table[part] = rank_steps[f"{prefix}_{part}_s"].fillna(0.0)
        table["sent_bytes"] = rank_steps["sent_bytes"].astype(float)
        how = {"expert": "first", "start_s": "min", "wall_s": "max", "sent_bytes": "mean"}
        how |= dict.fromkeys(SHAPE, "first") | dict.fromkeys(PARTS, "mean")
        steps = table.groupby(["group", "item", "step"], as_index=False, sort=True).agg(how)
        steps[REMAINDER] = (steps["wall_s"] - steps[list(PARTS)].sum(axis=1)).clip(lower=0.0)
        steps["communication_s"] = steps[list(COMMUNICATION_PARTS)].sum(axis=1)
        return steps

    @cached_property
    def items(self) -> pd.DataFrame:
        """/items of all groups with `steps_done`, `done` (its video was written), `start_s` and `end_s`."""
        frames = [_finished_items(group, index) for index, group in enumerate(self.groups)]
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def phases(self) -> pd.DataFrame:
        """/phases of all groups that belong to an item, in the order in which phases happen."""
        frames = [_with_items(group.phases, group, index) for index, group in enumerate(self.groups)]
        phases = pd.concat(frames, ignore_index=True)
        return phases[phases["item"] >= 0]

    @cached_property
    def samples(self) -> pd.DataFrame:
        """/samples of all groups."""
        return pd.concat([group.samples for group in self.groups], ignore_index=True)

    def phase_names(self) -> list[str]:
        """Phases that happened, known ones in their order."""
        there = list(dict.fromkeys(self.phases["phase"]))
        return [phase for phase in ITEM_PHASES if phase in there] + [p for p in there if p not in ITEM_PHASES]


def _with_items(table: pd.DataFrame, group: GroupTrace, index: int) -> pd.DataFrame:
    """Adds the group's number and the item's shape."""
    result = table.copy()
    result.insert(0, "group", index)
    shapes = group.items[SHAPE].reindex(result["item"].astype(int)).reset_index(drop=True)
    return pd.concat([result.reset_index(drop=True), shapes], axis=1)


def _finished_items(group: GroupTrace, index: int) -> pd.DataFrame:
    items = group.items.copy()
    items.insert(0, "group", index)
    items.insert(1, "item", np.arange(len(items)))
    phases = group.phases.assign(end_s=group.phases["start_s"] + group.phases["wall_s"])
    of_item = phases.groupby("item")
    items["steps_done"] = group.steps.groupby("item")["step"].nunique().reindex(items["item"]).fillna(0).to_numpy(int)
    items["done"] = items["item"].isin(phases.loc[phases["phase"] == LAST_PHASE, "item"])
    items["start_s"] = of_item["start_s"].min().reindex(items["item"]).to_numpy(float)
    items["end_s"] = of_item["end_s"].max().reindex(items["item"]).to_numpy(float)
    return items


def gather_runs(groups: list[GroupTrace]) -> list[Run]:
    """One run for each start, labelled by GPU count, with notes on what is incomplete."""
    runs = [Run(start.name, start.groups, problems=start.problems) for start in find_starts(groups)]
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
    for group in run.groups:
        ranks = group.steps["world_rank"].nunique()
        if 0 < ranks < group.ranks:
            problems.append(
                Problem(str(group.path), f"steps of {ranks} of {group.ranks} ranks only; means are over these ranks")
            )
    if run.rank_steps.empty:
        problems.append(Problem(where, "has no steps (all items were already done, or it was killed before the first step)"))
    cut = run.items[~run.items["done"]]
    for item in cut.itertuples():
        problems.append(
            Problem(where, f"item '{item.id}' stopped after {item.steps_done} of {item.steps} steps "
                    "(killed, failed, or still running); its steps count, the item does not")
        )
    return problems
