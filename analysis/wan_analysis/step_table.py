"""Steps of equal work in different layouts: their time, their parts in GPU-seconds, and their scaling.

One row stands for the steps that one run made in one layout, on one or several teams of ranks. GPU-seconds are seconds times
ranks, so what more ranks cost is visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from wan_analysis.figures import RunFigures
from wan_analysis.run import Run
from wan_analysis.series import Layout, StepSeries, Work, differences, not_recorded
from wan_analysis.texts import listed
from wan_analysis.trace_file import Problem
from wan_analysis.trace_format import COMMUNICATION_PARTS, PARTS, REMAINDER

#: Time between a step's end and the next one's start of the same item.
BETWEEN = "between_steps"
#: Everything that a step's GPU-seconds consist of.
SHARES = (*PARTS, REMAINDER, BETWEEN)


@dataclass(frozen=True, eq=False)
class StepRow:
    """Steps of one run, work and layout, without warm-up steps. Means are over its steps."""

    figures: RunFigures
    work: Work
    layout: Layout
    teams: int  #: teams of `layout.ranks` ranks that made such steps
    steps: int
    step_s: float  #: from the first rank's start to the last rank's end
    median_s: float
    fastest_s: float
    slowest_s: float
    parts_s: dict[str, float]  #: seconds of a step by part, mean over the ranks; with `other`, they add up to `step_s`
    between_s: float  #: seconds between steps, for each step
    sent_bytes: float  #: by one rank in one step
    rank_steps: pd.DataFrame  #: the rows from which all this was computed
    speedup: float = float("nan")
    efficiency: float = float("nan")  #: 0 to 1
    runs: int = 1  #: runs that the row stands for; more than one in a merged table
    is_warm_up: bool = False  #: the run made no other such steps

    @property
    def label(self) -> str:
        """The run's short name, or how many runs the row stands for."""
        return self.figures.run.label if self.runs == 1 else f"{self.runs} runs"

    @property
    def run(self) -> Run:
        """The run that made the steps."""
        return self.figures.run

    @property
    def name(self) -> str:
        """The layout's name among those of the study."""
        return self.figures.names.name(self.layout)

    @property
    def kind(self) -> str:
        """The way of computing, without the number of ranks."""
        return self.figures.names.kind(self.layout)

    @property
    def gpus(self) -> int:
        """Ranks that make one video together."""
        return self.layout.ranks

    @property
    def gpu_s(self) -> float:
        """GPU-seconds of one step, without the time between steps."""
        return self.step_s * self.gpus

    @property
    def shares_gpu_s(self) -> dict[str, float]:
        """GPU-seconds of one step by part, with the time behind it."""
        return {part: self.gpus * seconds for part, seconds in {**self.parts_s, BETWEEN: self.between_s}.items()}

    @property
    def communication_s(self) -> float:
        """Seconds of one step in which a rank communicates or waits for others, mean over the ranks."""
        return sum(self.parts_s[part] for part in COMMUNICATION_PARTS)

    @property
    def sent_bytes_per_s(self) -> float:
        """Bytes that a rank sends in a second of communication. NaN if it sends nothing."""
        return self.sent_bytes / self.communication_s if self.sent_bytes and self.communication_s else float("nan")


@dataclass(frozen=True, eq=False)
class StepTable:
    """Rows of one work, those with the fewest ranks first; the first one is the base."""

    work: Work
    rows: list[StepRow]

    @property
    def base(self) -> StepRow:
        """The row with which the others are compared."""
        return self.rows[0]


def step_times(rank_steps: pd.DataFrame) -> pd.DataFrame:
    """One row for each group, item and step: start_s, end_s and wall_s from the first rank's start to the last one's end."""
    ended = rank_steps.assign(end_s=rank_steps["start_s"] + rank_steps["wall_s"])
    times = ended.groupby(["group", "item", "step"], as_index=False, sort=True).agg(
        start_s=("start_s", "min"), end_s=("end_s", "max"), expert=("expert", "first")
    )
    times["wall_s"] = times["end_s"] - times["start_s"]
    return times


def step_tables(figures: Sequence[RunFigures], problems: list[Problem]) -> list[StepTable]:
    """One table for each work that was done, the one with the most rows first. Says which values were not recorded."""
    rows = [row for one in figures for row in _rows_of(one)]
    rows.sort(key=lambda row: (row.gpus, row.figures.run.attribute("started"), row.figures.run.name))
    leaders: dict[Work, Work] = {}  # work -> the work of its table
    for work in sorted(dict.fromkeys(row.work for row in rows), key=lambda work: -_known(work)):
        fitting = [leader for leader in dict.fromkeys(leaders.values()) if not differences(work, leader)]
        if len(fitting) > 1:  # what is not recorded could make it the work of one table or of another
            problems.append(Problem("steps", f"{work}: values that were not recorded differ between other steps; reported separately"))
        leaders[work] = fitting[0] if len(fitting) == 1 else work
    tables = []
    for leader in dict.fromkeys(leaders.values()):
        of_table = _without_warm_up([row for row in rows if leaders[row.work] == leader], problems)
        tables.append(StepTable(leader, _against_base(of_table)))
        unknown = not_recorded([row.work for row in of_table])
        if unknown:
            silent = listed(list(dict.fromkeys(row.run.name for row in of_table if _known(row.work) < _known(leader))), 3)
            problems.append(Problem("steps", f"{listed(unknown)}: not recorded by {silent}; its steps are compared as if equal in it"))
    return sorted(
        tables, key=lambda table: (-len({row.gpus for row in table.rows}), -len(table.rows), -sum(row.steps for row in table.rows))
    )


def _without_warm_up(rows: list[StepRow], problems: list[Problem]) -> list[StepRow]:
    """The rows of measured steps, or all if there are no others. Says so: a warm-up step takes longer, so the two cannot be compared."""
    warm = [row for row in rows if row.is_warm_up]
    measured = [row for row in rows if not row.is_warm_up]
    for row in warm:
        said = "left out, because others are measured without warm-up" if measured else "they take longer than later ones"
        problems.append(Problem(f"run {row.run.name}", f"made warm-up steps only as {row.name} ({row.work}); {said}"))
    return measured or rows


def _known(work: Work) -> int:
    return sum(value is not None for value in vars(work).values())


def _rows_of(figures: RunFigures) -> list[StepRow]:
    alike: dict[tuple[Work, Layout], list[StepSeries]] = {}
    for series in figures.series:
        alike.setdefault((series.work, series.layout), []).append(series)
    return [_row(figures, work, layout, found) for (work, layout), found in alike.items()]


def _row(figures: RunFigures, work: Work, layout: Layout, found: list[StepSeries]) -> StepRow:
    rows = pd.concat([series.counted for series in found], ignore_index=True)
    times = step_times(rows)
    seconds = {part: float(rows[part].mean()) for part in PARTS}
    step_s = float(times["wall_s"].mean())
    seconds[REMAINDER] = step_s - sum(seconds.values())
    return StepRow(
        figures=figures,
        work=work,
        layout=layout,
        teams=len(found),
        steps=len(times),
        step_s=step_s,
        median_s=float(times["wall_s"].median()),
        fastest_s=float(times["wall_s"].min()),
        slowest_s=float(times["wall_s"].max()),
        parts_s=seconds,
        between_s=between_steps_s(times),
        sent_bytes=float(rows["sent_bytes"].astype(float).mean()),
        rank_steps=rows,
        is_warm_up=all(series.measured.empty for series in found),
    )


def between_steps_s(times: pd.DataFrame) -> float:
    """Mean seconds from a step's end to the start of the next step of its item. 0 if no step follows another."""
    same = (times[["group", "item"]] == times[["group", "item"]].shift()).all(axis=1) & (times["step"] == times["step"].shift() + 1)
    gaps = (times["start_s"] - times["end_s"].shift())[same].to_numpy(float)
    return float(np.clip(gaps, 0.0, None).mean()) if len(gaps) else 0.0


def _against_base(rows: Sequence[StepRow]) -> list[StepRow]:
    base = rows[0]
    return [replace(row, speedup=base.step_s / row.step_s, efficiency=base.gpu_s / row.gpu_s) for row in rows]


def merged_table(table: StepTable, most: int) -> StepTable:
    """The same table; if it has more rows than `most`, those of one layout are one row with the means over all their steps."""
    if len(table.rows) <= most:
        return table
    alike: dict[Layout, list[StepRow]] = {}
    for row in table.rows:
        alike.setdefault(row.layout, []).append(row)
    return StepTable(table.work, [found[0] if len(found) == 1 else _merged(found) for found in alike.values()])


def _merged(rows: Sequence[StepRow]) -> StepRow:
    weights = np.array([row.steps for row in rows], dtype=float)

    def mean(values: Sequence[float]) -> float:
        return float(np.average(values, weights=weights))

    every = pd.concat([row.rank_steps.assign(start=place) for place, row in enumerate(rows)], ignore_index=True)
    return replace(
        rows[0],
        teams=sum(row.teams for row in rows),
        steps=int(weights.sum()),
        step_s=mean([row.step_s for row in rows]),
        median_s=float(np.median([row.median_s for row in rows])),
        fastest_s=min(row.fastest_s for row in rows),
        slowest_s=max(row.slowest_s for row in rows),
        parts_s={part: mean([row.parts_s[part] for row in rows]) for part in rows[0].parts_s},
        between_s=mean([row.between_s for row in rows]),
        sent_bytes=mean([row.sent_bytes for row in rows]),
        rank_steps=every,
        speedup=mean([row.speedup for row in rows]),
        efficiency=mean([row.efficiency for row in rows]),
        runs=len(rows),
    )


def row_keys(rows: Sequence[StepRow]) -> list[str]:
    """A key of a page for each row: the run's name, with size and layout if the run has several rows."""
    count = Counter(row.figures.run.name for row in rows)
    keys = []
    for row in rows:
        width, height, frames = row.work.size
        several = f"/{width}x{height}x{frames}/{row.name}" if count[row.figures.run.name] > 1 else ""
        keys.append(f"{row.runs} runs/{row.name}" if row.runs > 1 else f"{row.figures.run.name}{several}")
    seen: Counter[str] = Counter()
    for place, key in enumerate(keys):
        seen[key] += 1
        keys[place] = key if seen[key] == 1 else f"{key}/{seen[key]}"
    return keys
