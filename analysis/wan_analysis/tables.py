"""The door for other Python programs: traces as pandas data frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path

import pandas as pd

from wan_analysis.efficiency import throughput
from wan_analysis.factors import run_factors
from wan_analysis.figures import RunFigures
from wan_analysis.run import Run, gather_runs
from wan_analysis.table_columns import BOOL, INT, TABLES, TEXT, Column
from wan_analysis.trace_file import read_traces
from wan_analysis.trace_format import PARTS, UNKNOWN

#: Integers of which -1 is a value.
_NEGATIVE = ("seed",)
#: Integers of which only -1 is unknown.
_SIGNED = ("latent_digest",)
_NAMES = {"id": "item_id", "width": "width_pixel", "height": "height_pixel", **{part: f"{part}_s" for part in PARTS}}


class StudyTables:
    """The starts that `load` found, as tables. Each attribute is a pandas data frame with the columns of `wan_analysis.columns()`.

    `runs`: a row for each start. `items`: for each item of a group, and for each part of one that a team made. `steps`: for each step
    and rank. `phases`: for each phase and rank. `samples`: for each reading of a GPU. `ranks`: for each rank. `factors`: for each start
    and cause of lost time. Tables share the columns `run`, `group`, `item` and `world_rank`; join them by these.

    Times are seconds of the clock of a start's rank 0, which begins at the end of MPI_Init. A value that is not known is <NA> or NaN,
    never 0. Tables are made when they are first read, and kept; copy one before you change it.
    """

    def __init__(self, runs: Sequence[Run], problems: Sequence[str]) -> None:
        self._runs = list(runs)
        self.problems = list(problems)  #: texts: what could not be read or is incomplete, and where

    def __repr__(self) -> str:
        return f"<StudyTables: {len(self._runs)} runs, {len(self.problems)} problems>"

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row for each start, those on few ranks first."""
        return self._table("runs", _runs)

    @cached_property
    def items(self) -> pd.DataFrame:
        """One row for each item that a group began; an item that a team went on with has another row for the team's part."""
        return self._table("items", lambda run: run.items)

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row for each step and rank. A step takes as long as its slowest rank; the parts need not add up to `wall_s`."""
        return self._table("steps", lambda run: _with_ids(run.rank_steps, run))

    @cached_property
    def phases(self) -> pd.DataFrame:
        """One row for each phase and rank. A phase of the run belongs to no item."""
        return self._table("phases", lambda run: _with_ids(run.phases, run))

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row for each reading of a GPU. None on CPUs."""
        return self._table("samples", lambda run: run.samples.rename(columns={"rank": "world_rank"}))

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """One row for each rank whose group left a trace."""
        return self._table("ranks", lambda run: run.rank_info.merge(run.rank_spans, left_on="world_rank", right_index=True, how="left"))

    @cached_property
    def factors(self) -> pd.DataFrame:
        """Seven rows for each start: the factors whose product is its efficiency, and what each of them loses."""
        return self._table("factors", _factors)

    def _table(self, name: str, of_run: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
        frames = [_shaped(of_run(run), run, TABLES[name]) for run in self._runs]
        return pd.concat(frames, ignore_index=True)


def load(*paths: str | PathLike[str]) -> StudyTables:
    """Reads the traces of one or more starts.

    `paths`: output folders of wan_batch, their `trace.h5`, or files of single groups. A file that occurs twice counts once. Files
    that cannot be read are left out and named in `problems` of the result. Raises ValueError, with these problems, if nothing can be read.
    """
    traces = read_traces([Path(path) for path in paths])
    runs = gather_runs(traces.groups)
    problems = [str(problem) for problem in (*traces.problems, *(problem for run in runs for problem in run.problems))]
    if not runs:
        raise ValueError("there is no trace to load: " + ("; ".join(problems) or "no path was given"))
    return StudyTables(runs, problems)


def _runs(run: Run) -> pd.DataFrame:
    figures = RunFigures(run)
    made = throughput([figures]) if len(run.steps) else []
    row: dict[str, object] = {
        name: run.attribute(name) or pd.NA for name in ("program", "version", "revision", "task", "device", "started", "exit_reason")}
    row |= {name: run.attribute(name) for name in ("gpu_model", "host", "job")}
    row |= {
        "label": run.label, "layout": run.layout or pd.NA, "precision": run.precision or pd.NA, "ranks": run.gpus,
        "groups": figures.groups, "groups_traced": len(run.groups), "group_size": run.group_size,
        "items_done": int(run.items.loc[run.items["done"], "id"].nunique()),
        "items_s": figures.seconds if len(run.steps) else float("nan"), "wall_s": float(run.rank_walls().max()),
        "items_per_hour": made[0].items_per_hour if made else float("nan"),
        "rank_s_per_item": made[0].gpu_s_per_item if made else float("nan"), "efficiency": run_factors(run).efficiency}
    return pd.DataFrame([row])


def _factors(run: Run) -> pd.DataFrame:
    rows = [(loss.name, loss.factor, loss.gpu_s, loss.share) for loss in run_factors(run).losses]
    return pd.DataFrame(rows, columns=["factor", "value", "lost_rank_s", "lost_share"])


def _with_ids(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The table with `id`, the name of the item that a row belongs to."""
    ids = run.items.set_index(["group", "item"])["id"]
    return table.assign(id=ids.reindex(pd.MultiIndex.from_frame(table[["group", "item"]])).to_numpy())


def _shaped(table: pd.DataFrame, run: Run, columns: tuple[Column, ...]) -> pd.DataFrame:
    """The table with exactly these columns and their dtypes."""
    table = table.rename(columns=_NAMES)
    numbers = [int(group.attributes["group"]) for group in run.groups]
    result = {}
    values: pd.Series
    for column in columns:
        if column.name == "run":
            values = pd.Series(run.name, index=table.index)
        elif column.name == "group":
            values = table["group"].map(dict(enumerate(numbers)))
        else:
            values = table[column.name]
        if column.dtype == INT:
            values = values.astype("Int64")
            if column.name not in _NEGATIVE:
                values = values.mask(values == UNKNOWN["int"] if column.name in _SIGNED else values < 0)
        elif column.dtype == TEXT:
            values = values.astype("string")
            values = values.mask(values == UNKNOWN["text"])
        elif column.dtype == BOOL:
            values = values.astype("bool")
        else:
            values = values.astype("float64")
        result[column.name] = values
    return pd.DataFrame(result, index=table.index)
