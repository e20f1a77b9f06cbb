"""Runs whose speed changes: slower from some moment on, a slow spell, or steps of two speeds; with the time.

Only steps of equal work on the same ranks are compared: their computing over both experts, the whole step for each expert.
The first step of an item and the first of an expert pay for other things than computing (weights that are fetched), so the
comparison of whole steps leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from wan_analysis.grouping import Groups
from wan_analysis.once import once_per_run
from wan_analysis.run import Run
from wan_analysis.segments import levels, two_modes
from wan_analysis.series import prepared_steps
from wan_analysis.step_rows import STEP_KEY, part_columns, prepared, present
from wan_analysis.times import moment_of, time_text

SLOWER, FASTER, SPELL, FAST_SPELL = "slower from here on", "faster from here on", "slow spell", "fast spell"
TWO_SPEEDS, LITTLE_BY_LITTLE = "two speeds", "slower little by little"
#: Steps of two modes have two speeds if the speed turns so often, and after this share of the steps. Else it changed once or twice.
LEAST_TURNS, LEAST_TURN_SHARE = 4, 0.12


@dataclass(frozen=True)
class Drift:
    """A change of speed within a run. It concerns the steps of one team of ranks."""

    kind: str  #: one of the constants above
    ranks: str  #: world ranks of the team, "0,1"
    since_s: float  #: on the run's clock: where the slow (or fast) steps begin
    until_s: float  #: end of the last of them
    at: str  #: `since_s` as a time of day in UTC; "unknown" if the trace has no start time
    steps: int  #: steps of that speed
    of_steps: int  #: steps that were compared
    excess: float  #: by how much the slow steps are slower than the fast ones, as a fraction
    part: str  #: the part that accounts for the most of it; "computing", if only their sum changed
    cost_s: float  #: seconds that the slow steps took longer
    cost_gpu_s: float  #: the same times the ranks of the team

    @property
    def text(self) -> str:
        """One sentence."""
        percent = f"{100 * self.excess:.1f} %"
        where = f"ranks {self.ranks}" if "," in self.ranks else f"rank {self.ranks}"
        cost = f"cost {time_text(self.cost_s)} ({self.cost_gpu_s:.3g} GPU-seconds); most of it is {self.part.replace('_', ' ')}"
        moment = f"{self.at} ({time_text(self.since_s)} after the start)"
        if self.kind == TWO_SPEEDS:
            return (f"{where}: steps have two speeds, {percent} apart; {self.steps} of {self.of_steps} steps are slow, the first at "
                    f"{moment}; they {cost}")
        if self.kind == SLOWER:
            return f"{where}: from {moment} on, steps are {percent} slower; they {cost}"
        if self.kind == LITTLE_BY_LITTLE:
            return f"{where}: from {moment} on, steps become slower little by little, by {percent} in the end; the slow steps {cost}"
        if self.kind == FASTER:
            return f"{where}: until {moment}, steps are {percent} slower; they {cost}"
        if self.kind == FAST_SPELL:
            return f"{where}: {self.steps} steps from {moment} on are fast, and all others {percent} slower; the slow steps {cost}"
        return f"{where}: {self.steps} steps from {moment} on are {percent} slower; they {cost}"


@once_per_run
def drifts(run: Run) -> list[Drift]:
    """Changes of speed within a run, the costliest first. Empty: none was found."""
    return _drifts(prepared_steps(run), run.attribute("started"), is_cpu=run.unit != "GPU")


def drifts_of(rank_steps: pd.DataFrame, started: str = "", *, is_cpu: bool = False) -> list[Drift]:
    """The same for a table of rows of rank and step; `started` is the start's time, as the trace has it."""
    return _drifts(rank_steps if rank_steps.empty else prepared(rank_steps), started, is_cpu=is_cpu)


def _drifts(rows: pd.DataFrame, started: str, *, is_cpu: bool) -> list[Drift]:
    if rows.empty:
        return []
    found: list[Drift] = []
    for _, of_team in rows[~rows["is_warm_up"]].groupby(["series", "team"], sort=False):
        every = _team_steps(of_team)
        steps = _usual(every)
        # Experts and first steps have equal computing on a GPU: a change of it shows over the whole run.
        computing = _in_series(steps if is_cpu else every, "computing_s", started)
        of_experts = [drift for _, of_expert in steps.groupby("expert", sort=False) for drift in _in_series(of_expert, "span_s", started)]
        found += computing + [drift for drift in of_experts if not any(_overlap(drift, other) for other in computing)]
    return sorted(_joined(found), key=lambda drift: -drift.cost_gpu_s)


def _team_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each step of a team in the order of time. Parts are means over the ranks, `computing_s` is the slowest rank's."""
    key = present(rows, STEP_KEY)
    groups = Groups(rows, key)
    columns = {name: groups.of_first(rows[name]) for name in (*key, "team")}
    columns |= {"first_s": groups.min(rows["start_s"]), "end_s": groups.max(rows["end_s"]), "computing_s": groups.max(rows["computing_s"]),
                "ranks": groups.sizes, **{part: groups.mean(rows[part]) for part in part_columns(rows)}}
    columns["expert"] = groups.of_first(rows["expert"]) if "expert" in rows else np.full(groups.count, "", dtype=object)
    steps = pd.DataFrame(columns).sort_values("first_s", ignore_index=True)
    steps["span_s"] = steps["end_s"] - steps["first_s"]
    return steps


def _usual(steps: pd.DataFrame) -> pd.DataFrame:
    """The steps that are neither the first of an item nor the first of an expert. All steps, if those are half of them."""
    item = present(steps, ("start", "group", "item", "stretch"))
    key = [*item, "expert"]
    is_first = (steps[key] != steps[key].shift()).any(axis=1)
    return steps[~is_first] if is_first.sum() <= len(steps) / 2 else steps


def _in_series(steps: pd.DataFrame, column: str, started: str) -> list[Drift]:
    values = steps[column].to_numpy(float)
    if len(values) < 2 or not np.isfinite(values).all() or np.median(values) <= 0.0:
        return []
    return [_drift(steps, column, kind, slow, marked, started) for kind, slow, marked in _changes(values)]


def _changes(values: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(kind, which values are slow, which values the kind speaks of) of each change."""
    modes = two_modes(values)
    if modes is not None and np.count_nonzero(np.diff(modes)) >= max(LEAST_TURNS, LEAST_TURN_SHARE * len(values)):
        yield TWO_SPEEDS, modes, modes
        return
    found = levels(values)
    if len(found) == 1:
        return
    place = np.repeat(np.arange(len(found)), [level.count for level in found])
    medians = np.array([level.median for level in found])
    last = place == len(found) - 1
    if len(found) == 2:
        slower = medians[1] > medians[0]
        yield (SLOWER if slower else FASTER), (last if slower else ~last), last
        return
    if (np.diff(medians) > 0.0).all():
        yield LITTLE_BY_LITTLE, place > 0, place > 0
        return
    middle = (medians.min() + medians.max()) / 2.0
    slow_levels = medians > middle
    changes = int(np.abs(np.diff(slow_levels.astype(int))).sum())
    slow = slow_levels[place]
    if changes == 1:
        yield (SLOWER, slow, slow) if slow_levels[-1] else (FASTER, slow, ~slow)
    elif changes == 2:
        yield (FAST_SPELL, slow, ~slow) if slow_levels[0] else (SPELL, slow, slow)
    else:
        yield TWO_SPEEDS, slow, slow


def _drift(steps: pd.DataFrame, column: str, kind: str, slow: np.ndarray, marked: np.ndarray, started: str) -> Drift:
    values = steps[column].to_numpy(float)
    usual_s = float(np.median(values[~slow]))
    cost_s = float((values[slow] - usual_s).sum())
    since_s, until_s = float(steps["first_s"][marked].min()), float(steps["end_s"][marked].max())
    parts = part_columns(steps)
    growth = steps.loc[slow, parts].median() - steps.loc[~slow, parts].median()
    return Drift(kind, str(steps["team"].iloc[0]), since_s, until_s, moment_of(started, timedelta(seconds=since_s)), int(marked.sum()),
                 len(steps), float(np.median(values[slow])) / usual_s - 1.0,
                 str(growth.idxmax()).removeprefix("part_") if growth.max() > 0.0 else "computing", cost_s,
                 cost_s * float(steps["ranks"].iloc[0]))


def _overlap(one: Drift, other: Drift) -> bool:
    return one.ranks == other.ranks and one.since_s < other.until_s and other.since_s < one.until_s


def _joined(found: list[Drift]) -> list[Drift]:
    """One for several of the same kind, team and part that overlap: those of both experts of one run."""
    kept: list[Drift] = []
    for drift in sorted(found, key=lambda drift: drift.since_s):
        place = next((index for index, other in enumerate(kept)
                      if other.kind == drift.kind and other.ranks == drift.ranks
                      and (drift.kind == TWO_SPEEDS or _overlap(other, drift))), None)
        if place is None:
            kept.append(drift)
            continue
        other = kept[place]
        larger = max(other, drift, key=lambda one: one.cost_s)
        kept[place] = Drift(drift.kind, drift.ranks, other.since_s, max(drift.until_s, other.until_s), other.at, drift.steps + other.steps,
                            drift.of_steps + other.of_steps, larger.excess, larger.part, drift.cost_s + other.cost_s,
                            drift.cost_gpu_s + other.cost_gpu_s)
    return kept
