"""Why a series of steps or a run does not scale: the factors of its efficiency, and what each costs in GPU-seconds.

The factors follow POP, the Centre of Excellence for performance (https://pop-coe.eu). For rank r of a team, sums over the
measured steps (those that are no warm-up): c_r are seconds of computing, x_r seconds of communication that computing does
not hide, h_r the rest of its steps. T is the time from the first rank's start to the last rank's end of every step, and t
the smallest x_r.

    load balance         mean(c) / max(c)
    host                 max(c) / max(c + h)
    serialisation        max(c + h) / (T - t)
    transfer             (T - t) / T
    parallel efficiency  mean(c) / T, their product

t is a bound: an infinitely fast network could gain at most t. The split of a typical step's exposed communication takes
each rank's median instead of its sum, so that a slow first step does not change it. A series of several teams adds the
GPU-seconds of its teams, because teams do not wait for each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import pandas as pd

from wan_analysis.account import LOAD_NAMES, account
from wan_analysis.grouping import Groups
from wan_analysis.once import once_per_run
from wan_analysis.run import Run
from wan_analysis.series import prepared_steps
from wan_analysis.step_rows import STEP_KEY, prepared, present

#: The factors whose product is the parallel efficiency, in the order of the formula.
FACTOR_NAMES = ("load balance", "host", "serialisation", "transfer")


@dataclass(frozen=True)
class Factors:
    """The factors of one step series. Times are GPU-seconds over its measured steps: seconds times ranks."""

    ranks: int  #: world ranks that made these steps
    steps: int  #: measured steps, all teams together
    computing_gpu_s: float  #: sum of c
    slowest_gpu_s: float  #: ranks x max(c)
    busy_gpu_s: float  #: ranks x max(c + h)
    without_transfer_gpu_s: float  #: ranks x (T - t)
    gpu_s: float  #: ranks x T
    exposed_gpu_s: float  #: sum of x
    rank_steps: int = 0  #: rows of rank and step
    typical_exposed_gpu_s: float = 0.0  #: steps x sum over ranks of the median of x
    typical_transfer_gpu_s: float = 0.0  #: steps x ranks x the smallest median of x

    @property
    def load_balance(self) -> float:
        """mean(c) / max(c)."""
        return _ratio(self.computing_gpu_s, self.slowest_gpu_s)

    @property
    def host(self) -> float:
        """max(c) / max(c + h)."""
        return _ratio(self.slowest_gpu_s, self.busy_gpu_s)

    @property
    def serialisation(self) -> float:
        """max(c + h) / (T - t)."""
        return _ratio(self.busy_gpu_s, self.without_transfer_gpu_s)

    @property
    def transfer(self) -> float:
        """(T - t) / T."""
        return _ratio(self.without_transfer_gpu_s, self.gpu_s)

    @property
    def parallel_efficiency(self) -> float:
        """mean(c) / T."""
        return _ratio(self.computing_gpu_s, self.gpu_s)

    @property
    def by_name(self) -> dict[str, float]:
        """The four factors by name."""
        return dict(zip(FACTOR_NAMES, (self.load_balance, self.host, self.serialisation, self.transfer), strict=True))

    @property
    def losses_gpu_s(self) -> dict[str, float]:
        """GPU-seconds that each factor loses. They add up to `lost_gpu_s`."""
        marks = (self.computing_gpu_s, self.slowest_gpu_s, self.busy_gpu_s, self.without_transfer_gpu_s, self.gpu_s)
        return {name: after - before for name, before, after in zip(FACTOR_NAMES, marks[:-1], marks[1:], strict=True)}

    @property
    def lost_gpu_s(self) -> float:
        """GPU-seconds in which no rank computed."""
        return self.gpu_s - self.computing_gpu_s

    @property
    def gpu_s_per_step(self) -> float:
        """GPU-seconds of one step."""
        return _ratio(self.gpu_s, self.steps)

    @property
    def computing_gpu_s_per_step(self) -> float:
        """GPU-seconds of computing in one step."""
        return _ratio(self.computing_gpu_s, self.steps)

    @property
    def exposed_s(self) -> float:
        """Seconds of a typical step in which a rank communicates and does not compute: the mean of the ranks' medians."""
        return _ratio(self.typical_exposed_gpu_s, self.rank_steps)

    @property
    def transfer_s(self) -> float:
        """Seconds of a typical step that an infinitely fast network could gain at most: the smallest of the ranks' medians."""
        return _ratio(self.typical_transfer_gpu_s, self.rank_steps)

    @property
    def waiting_s(self) -> float:
        """Seconds of a typical step in which a rank waits for a later one, at least: `exposed_s` less `transfer_s`."""
        return self.exposed_s - self.transfer_s


@dataclass(frozen=True)
class Loss:
    """One row of a table of losses."""

    name: str
    factor: float  #: 0 to 1
    gpu_s: float  #: GPU-seconds that it loses
    share: float  #: of all GPU-seconds, 0 to 1


@dataclass(frozen=True)
class RunFactors:
    """The factors of a run or of a campaign: where its GPU-seconds went."""

    total_gpu_s: float  #: ranks times wall time
    idle_gpu_s: float
    load_gpu_s: float  #: start-up and load
    steps_gpu_s: float  #: ranks times T of all steps, warm-up steps too
    steps: Factors  #: of the measured steps of all its series
    unnamed_gpu_s: float = 0.0

    @property
    def idle_factor(self) -> float:
        """1 - idle share."""
        return _ratio(self.total_gpu_s - self.idle_gpu_s, self.total_gpu_s)

    @property
    def load_factor(self) -> float:
        """1 - the share of start-up and load of the time that is not idle."""
        rest = self.total_gpu_s - self.idle_gpu_s
        return _ratio(rest - self.load_gpu_s, rest)

    @property
    def steps_factor(self) -> float:
        """The steps' share of the time that is neither idle nor load."""
        return _ratio(self.steps_gpu_s, self.total_gpu_s - self.idle_gpu_s - self.load_gpu_s)

    @property
    def efficiency(self) -> float:
        """The product of all factors: the share of the GPU-seconds in which steps computed."""
        return self.idle_factor * self.load_factor * self.steps_factor * self.steps.parallel_efficiency

    @property
    def lost_gpu_s(self) -> float:
        """GPU-seconds that were not spent on the steps' computing."""
        return self.total_gpu_s * (1.0 - self.efficiency) if math.isfinite(self.efficiency) else self.total_gpu_s

    @property
    def losses(self) -> list[Loss]:
        """The losses, in the order of the formula. The GPU-seconds add up to `lost_gpu_s`.

        Warm-up steps count as steps that lose the same shares as the measured ones.
        """
        between = self.total_gpu_s - self.idle_gpu_s - self.load_gpu_s - self.steps_gpu_s
        rows = [("idle", self.idle_factor, self.idle_gpu_s), ("start-up and load", self.load_factor, self.load_gpu_s),
                ("other than steps", self.steps_factor, between)]
        scale = _ratio(self.steps_gpu_s, self.steps.gpu_s) if self.steps.gpu_s else 0.0
        rows += [(name, self.steps.by_name[name], scale * lost) for name, lost in self.steps.losses_gpu_s.items()]
        return [Loss(name, factor, gpu_s, _ratio(gpu_s, self.total_gpu_s)) for name, factor, gpu_s in rows]


def factors(rank_steps: pd.DataFrame) -> Factors:
    """The factors of one step series. Throws ValueError if it has no measured step."""
    return _factors(_measured(prepared(rank_steps)))


@once_per_run
def run_factors(run: Run) -> RunFactors:
    """The factors of one run, over the ranks whose trace is there."""
    table = account(run)
    rows = prepared_steps(run)
    times = _step_times(rows) if len(rows) else rows
    steps = added([_factors(of_series) for _, of_series in _measured(rows).groupby("series", sort=False)]) if len(rows) else NONE
    return RunFactors(
        total_gpu_s=float(table.to_numpy().sum()),
        idle_gpu_s=float(table["idle"].sum()),
        load_gpu_s=float(table[list(LOAD_NAMES)].to_numpy().sum()),
        steps_gpu_s=float((times["span_s"] * times["ranks"]).sum()) if len(rows) else 0.0,
        steps=steps,
        unnamed_gpu_s=float(table["unnamed"].sum()),
    )


def campaign_factors(runs: Sequence[RunFactors]) -> RunFactors:
    """The factors of several starts: their GPU-seconds added."""
    numbers = {name.name: sum(getattr(run, name.name) for run in runs) for name in fields(RunFactors) if name.name != "steps"}
    return RunFactors(steps=added([run.steps for run in runs]), **numbers)


def added(several: Sequence[Factors]) -> Factors:
    """Factors of all the steps together: GPU-seconds and steps are added, `ranks` is the largest."""
    if not several:
        return NONE
    numbers = {entry.name: sum(getattr(one, entry.name) for one in several) for entry in fields(Factors)}
    return Factors(**(numbers | {"ranks": max(one.ranks for one in several)}))


def computation_scaling(base: Factors, here: Factors) -> float:
    """GPU-seconds of computing for one step on the base, over those here. Both must be of the same work."""
    return _ratio(base.computing_gpu_s_per_step, here.computing_gpu_s_per_step)


def efficiency(base: Factors, here: Factors) -> float:
    """Efficiency against a base by wall times alone: GPU-seconds of one step there, over those here.

    It equals `computation_scaling` times the parallel efficiency here, over that of the base.
    """
    return _ratio(base.gpu_s_per_step, here.gpu_s_per_step)


def losses_against(base: Factors, here: Factors) -> dict[str, float]:
    """GPU-seconds that the steps here cost more than the same steps on the base, by cause. They add up to the difference."""
    per_base = _ratio(here.steps, base.steps)
    result = {"computing": here.computing_gpu_s - per_base * base.computing_gpu_s}
    for name, lost in here.losses_gpu_s.items():
        result[name] = lost - per_base * base.losses_gpu_s[name]
    return result


def _measured(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without warm-up. All rows, if there are no others: a short run has nothing else to say."""
    measured = rows[~rows["is_warm_up"]]
    return rows if measured.empty else measured


def _step_times(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each step of a team: `span_s` from the first rank's start to the last rank's end, `ranks`, `team`."""
    steps = Groups(rows, present(rows, STEP_KEY))
    first_s, last_s = steps.min(rows["start_s"]), steps.max(rows["end_s"])
    return pd.DataFrame({"first_s": first_s, "last_s": last_s, "ranks": steps.sizes, "team": steps.of_first(rows["team"]),
                         "span_s": last_s - first_s})


def _factors(rows: pd.DataFrame) -> Factors:
    if rows.empty:
        raise ValueError("there is no step to compute factors from")
    total = NONE
    for _, of_team in rows.groupby([*present(rows, ("start",)), "team"], sort=False):
        total = added([total, _team_factors(of_team)])
    ranks = len(rows[[*present(rows, ("start",)), "world_rank"]].drop_duplicates())
    return Factors(**({entry.name: getattr(total, entry.name) for entry in fields(Factors)} | {"ranks": ranks}))


def _team_factors(rows: pd.DataFrame) -> Factors:
    """The factors of the steps that one team made."""
    times = _step_times(rows)
    sums = rows.groupby("world_rank")[["computing_s", "host_s", "exposed_s"]].sum()
    ranks = len(sums)
    span_s = float(times["span_s"].sum())
    typical_s = rows.groupby("world_rank")["exposed_s"].median()
    return Factors(
        ranks=ranks,
        steps=len(times),
        computing_gpu_s=float(sums["computing_s"].sum()),
        slowest_gpu_s=ranks * float(sums["computing_s"].max()),
        busy_gpu_s=ranks * float((sums["computing_s"] + sums["host_s"]).max()),
        without_transfer_gpu_s=ranks * (span_s - float(sums["exposed_s"].min())),
        gpu_s=ranks * span_s,
        exposed_gpu_s=float(sums["exposed_s"].sum()),
        rank_steps=len(rows),
        typical_exposed_gpu_s=len(rows) * float(typical_s.mean()),
        typical_transfer_gpu_s=len(rows) * float(typical_s.min()),
    )


def _ratio(one: float, other: float) -> float:
    """NaN if there is nothing to divide by."""
    return one / other if other else math.nan


NONE = Factors(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
