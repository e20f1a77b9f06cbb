"""Campaigns: all starts of one batch. Several starts, array tasks and jobs that share an output folder are one campaign.

Each step and item belongs to the start that made it. An attempt at an item goes on after the steps that were saved, so what an
earlier attempt made beyond them was lost, and is repeated by the later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from wan_analysis.run import Run
from wan_analysis.starts import SHARED_IDS, started_s

SECONDS_PER_HOUR = 3600.0
#: A fact that every campaign's readers must know.
MISSING_TIME = ("the time before the end of MPI_Init (queue, start of the processes) is in no trace: it is missing in wall time and "
                "rank-hours")
#: Starts that overlap by less than this many seconds ran one after the other: format 0 tells its start in whole seconds.
LEAST_OVERLAP_S = {0: 1.5, 1: 0.05}


@dataclass(eq=False)
class Campaign:
    """The starts of one batch, earliest first.

    `starts` has a row for each run (by its place in `runs`): started_s (since 1970; NaN unknown), gpus, wall_s, first_item_s and
    last_item_s (on the run's clock; NaN without items), rank_s (ranks times wall time), items_done, steps, steps_repeated, steps_lost,
    and in rank-seconds steps_rank_s, repeated_rank_s, lost_rank_s, start_up_rank_s, load_rank_s, idle_rank_s.
    `items` has a row for each id: attempts, done, made_by (place of the run that finished it, -1), steps_made, steps_repeated,
    steps_lost, outcome (of the last attempt).
    """

    name: str
    runs: list[Run]
    starts: pd.DataFrame
    items: pd.DataFrame

    @property
    def items_done(self) -> int:
        """Items that were made, each once."""
        return int(self.items["done"].sum())

    @property
    def running_s(self) -> float:
        """Seconds in which at least one start ran. Time between starts does not count."""
        return _union_s(self._intervals())

    @property
    def working_s(self) -> float:
        """Seconds in which at least one start was between its first item's start and its last item's end."""
        return _union_s(self._intervals(of_items=True))

    @property
    def gpus(self) -> int:
        """The most ranks that ran at one time."""
        return _most_at_once(self._intervals(), self.starts["gpus"].to_numpy(int), self._least_overlap_s)

    @property
    def rank_hours(self) -> float:
        """Ranks times wall time of all starts, from the end of MPI_Init on."""
        return float(self.starts["rank_s"].sum()) / SECONDS_PER_HOUR

    @property
    def items_per_hour(self) -> float:
        """Items per hour of running, start-up and load included. NaN if nothing is done."""
        return self._rate(self.running_s)

    @property
    def items_per_working_hour(self) -> float:
        """Items per hour from the starts' first items to their last ones. NaN if nothing is done."""
        return self._rate(self.working_s)

    def _rate(self, seconds: float) -> float:
        return self.items_done / seconds * SECONDS_PER_HOUR if self.items_done and seconds > 0 else float("nan")

    @property
    def _least_overlap_s(self) -> float:
        return max(LEAST_OVERLAP_S[min(int(run.groups[0].attributes["format"]), 1)] for run in self.runs)

    def _intervals(self, *, of_items: bool = False) -> np.ndarray:
        """[starts, 2]: start and end of each start in seconds since 1970. Starts without a known time follow each other."""
        table = self.starts
        begin_s = table["started_s"].to_numpy(float).copy()
        unknown = np.isnan(begin_s)
        ends = np.cumsum(table["wall_s"].to_numpy(float))
        last_s = float(np.nanmax(begin_s + table["wall_s"])) if not unknown.all() else 0.0
        begin_s[unknown] = last_s + 1.0 + (ends - table["wall_s"].to_numpy(float))[unknown]
        if not of_items:
            return np.column_stack([begin_s, begin_s + table["wall_s"]])
        spans = np.column_stack([begin_s + table["first_item_s"], begin_s + table["last_item_s"]])
        return spans[np.isfinite(spans).all(axis=1)]

    def lines(self) -> list[str]:
        """The campaign in sentences. The last one names what no trace holds."""
        table, total = self.starts, float(self.starts["rank_s"].sum())
        share = {name: 100 * float(table[f"{name}_rank_s"].sum()) / total if total > 0 else float("nan")
                 for name in ("load", "start_up", "idle", "lost", "repeated")}
        ranks = {True: "CPU ranks", False: "GPUs"}[self.runs[0].device == "cpu"]
        said = [f"{len(self.runs)} start{'s' * (len(self.runs) > 1)} made {self.items_done} of {len(self.items)} items in "
                f"{self.running_s:.4g} s of running on at most {self.gpus} {ranks}: {self.items_per_hour:.4g} items an hour, "
                f"{self.rank_hours:.4g} rank-hours",
                f"start-up and load took {share['start_up'] + share['load']:.1f} % of the rank-hours, idle ranks {share['idle']:.1f} %"]
        lost, repeated = int(table["steps_lost"].sum()), int(table["steps_repeated"].sum())
        if lost or repeated:
            said.append(f"{lost} steps were made and never used ({share['lost']:.1f} % of the rank-hours); "
                        f"{repeated} steps were made again ({share['repeated']:.1f} %)")
        return [*said, MISSING_TIME]


def find_campaigns(runs: Sequence[Run]) -> list[Campaign]:
    """The campaigns of these runs, in the order of their first runs. A run of wan_bench is one of its own."""
    members: list[list[Run]] = []
    folders: list[set[Path]] = []
    for run in runs:
        own = set(run.folders) if not _is_bench(run) else set()
        together = [place for place, known in enumerate(folders) if known & own]
        joined = [one for place in together for one in members[place]] + [run]
        known = own.union(*(folders[place] for place in together))
        for place in reversed(together):
            del members[place], folders[place]
        at = together[0] if together else len(members)
        members.insert(at, joined)
        folders.insert(at, known)
    return [_campaign(group) for group in members]


def _is_bench(run: Run) -> bool:
    return run.attribute("program") == "wan_bench" or run.groups[0].run in SHARED_IDS or set(run.items["id"]) == {"bench"}


def _campaign(runs: list[Run]) -> Campaign:
    runs = sorted(runs, key=lambda run: (started_s(run.groups[0]) is None, started_s(run.groups[0]) or 0.0, run.name))
    attempts = _attempts(runs)
    steps = _credited(_steps(runs, attempts), attempts)
    starts = pd.DataFrame([_start_row(run) for run in runs])
    of_run = steps.groupby("run")
    for name, chosen in (("steps", steps), ("repeated", steps[steps["repeated"]]), ("lost", steps[steps["lost"]])):
        of_run = chosen.groupby("run")["rank_s"]
        column = "steps" if name == "steps" else f"steps_{name}"
        starts[column] = of_run.size().reindex(starts.index).fillna(0).to_numpy(int)
        starts[f"{name}_rank_s"] = of_run.sum().reindex(starts.index).fillna(0.0).to_numpy(float)
    items = _items(attempts, steps)
    made = items.loc[items["done"], "made_by"].value_counts()
    starts["items_done"] = made.reindex(starts.index).fillna(0).to_numpy(int)
    folder = min(runs[0].folders, default=None)
    return Campaign(folder.name if folder is not None and len(runs) > 1 else runs[0].name, runs, starts, items)


def _start_row(run: Run) -> dict[str, object]:
    spans, begun = run.rank_spans, started_s(run.groups[0])
    wall_s = float(spans["end_s"].max() - spans["start_s"].min())
    walls = run.rank_walls()
    of_run = run.phases[(run.phases["item"] < 0) & ~run.phases["background"]].groupby("phase")["wall_s"].sum()
    items = run.items.dropna(subset=["start_s", "end_s"])
    zero_s = float(spans["start_s"].min())
    return {"run": run.name, "started_s": np.nan if begun is None else begun, "gpus": run.gpus, "wall_s": wall_s,
            "first_item_s": items["start_s"].min() - zero_s if len(items) else np.nan,
            "last_item_s": items["end_s"].max() - zero_s if len(items) else np.nan,
            "rank_s": float(walls.sum()) + max(run.gpus - len(walls), 0) * wall_s,
            **{f"{phase}_rank_s": float(of_run.get(phase, 0.0)) for phase in ("start_up", "load", "idle")}}


def _attempts(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each row of /items of each run, in the order of time: run, group, item, id, first_step, steps_done, outcome."""
    frames = []
    for place, run in enumerate(runs):
        begun = started_s(run.groups[0])
        table = run.items[["group", "item", "id", "first_step", "steps_done", "outcome", "done", "start_s"]].copy()
        table.insert(0, "run", place)
        table["begun_s"] = table["start_s"] + (0.0 if begun is None else begun)
        frames.append(table)
    attempts = pd.concat(frames, ignore_index=True).sort_values(["begun_s", "run", "group", "item"], kind="stable", ignore_index=True)
    attempts["attempt"] = np.arange(len(attempts))
    # Only an attempt that made a step begins where a saved state was, or at 0.
    begins = attempts["first_step"].where(attempts["steps_done"] > 0, np.inf)
    later = begins[::-1].groupby(attempts["id"][::-1]).cummin()
    attempts["lost_from"] = later.groupby(attempts["id"][::-1]).shift(1).fillna(np.inf).sort_index()
    return attempts


def _steps(runs: Sequence[Run], attempts: pd.DataFrame) -> pd.DataFrame:
    """One row for each step that was made: run, attempt, id, step, rank_s."""
    frames = []
    for place, run in enumerate(runs):
        made = run.rank_steps.groupby(["group", "item", "step"], as_index=False)["wall_s"].sum().rename(columns={"wall_s": "rank_s"})
        made.insert(0, "run", place)
        frames.append(made)
    steps = pd.concat(frames, ignore_index=True)
    return steps.merge(attempts[["run", "group", "item", "attempt", "id"]], on=["run", "group", "item"], how="left")


def _credited(steps: pd.DataFrame, attempts: pd.DataFrame) -> pd.DataFrame:
    """`lost`: a later attempt began before the step, or the item failed. `repeated`: an earlier attempt had made the step."""
    steps = steps.sort_values(["attempt", "step"], ignore_index=True)
    steps["repeated"] = steps.duplicated(["id", "step"], keep="first") if len(steps) else False
    table = attempts.set_index("attempt")
    failed = attempts.groupby("id")["outcome"].last() == "failed"
    from_step = table["lost_from"].reindex(steps["attempt"]).to_numpy(float)
    steps["lost"] = (steps["step"].to_numpy(float) >= from_step) | steps["id"].map(failed).fillna(value=False).to_numpy(bool)
    return steps


def _items(attempts: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    of_item = attempts.groupby("id", sort=False)
    items = of_item.agg(attempts=("attempt", "size"), done=("done", "max"), outcome=("outcome", "last"))
    finished = attempts[attempts["done"].astype(bool)].groupby("id")["run"].last()
    items["done"] = items["done"].astype(bool)
    items["made_by"] = finished.reindex(items.index).fillna(-1).to_numpy(int)
    made = steps.groupby("id").agg(steps_made=("step", "size"), steps_repeated=("repeated", "sum"), steps_lost=("lost", "sum"))
    return items.join(made).fillna({"steps_made": 0, "steps_repeated": 0, "steps_lost": 0}).astype(
        {"steps_made": int, "steps_repeated": int, "steps_lost": int}).reset_index()


def _union_s(intervals: np.ndarray) -> float:
    """Seconds that at least one of the intervals covers."""
    total, end_s = 0.0, -np.inf
    for begin, end in intervals[np.argsort(intervals[:, 0])] if len(intervals) else []:
        total += max(end - max(begin, end_s), 0.0)
        end_s = max(end_s, end)
    return total


def _most_at_once(intervals: np.ndarray, counts: np.ndarray, least_overlap_s: float) -> int:
    """The largest sum of `counts` over the intervals that hold one moment; short overlaps do not count."""
    begins, ends = intervals[:, 0], np.maximum(intervals[:, 1] - least_overlap_s, intervals[:, 0])
    return max(int(counts[(begins <= begin) & ((ends > begin) | (begins == begin))].sum()) for begin in begins)
