"""The rows of one rank and step, in the one shape that the factors, the stragglers and the drifts are computed from.

All functions take a table as `Run.rank_steps` gives it. Columns that an old trace lacks are made here: which steps are
warm-up, which ranks made a step together, and the seconds of each part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from wan_analysis.trace_format import COMMUNICATION_PARTS, PARTS

#: Parts in which a rank computes.
COMPUTING_PARTS = ("attention", "linear", "elementwise")

_RANKS = re.compile(r"\d+(,\d+)*")
#: Columns that name one step of one team, as far as a table has them.
STEP_KEY = ("start", "group", "item", "stretch", "step")
#: Columns that two steps must share so that their times can be compared, as far as a table has them.
SERIES_KEY = ("task", "device", "precision", "width", "height", "frames", "passes", "layout", "placement", "attention_backend",
              "head_chunks")
#: The other columns that `prepared` keeps.
_OTHER_KEPT = ("world_rank", "start_s", "wall_s", "expert", "warm_up", "ranks", "card")


def prepared(rank_steps: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of time, with the columns that name a step and its series, and with these columns more.

    `part_*` are seconds of each part: GPU seconds where they were measured, else seconds of the host. `computing_s`,
    `exposed_s` (communication that computing does not hide) and `host_s` add up to `wall_s`. `end_s` is the step's end,
    `is_warm_up` is true or false, `team` names the world ranks that made the step together ("0,1"), and `series` is a
    number that steps share if their times can be compared.
    """
    rows = rank_steps[present(rank_steps, (*STEP_KEY, *SERIES_KEY, *_OTHER_KEPT))].copy()
    for part in PARTS:
        rows[f"part_{part}"] = part_seconds(rank_steps, part)
    rows["computing_s"] = rows[[f"part_{part}" for part in COMPUTING_PARTS]].sum(axis=1)
    communication = rows[[f"part_{part}" for part in COMMUNICATION_PARTS]].sum(axis=1)
    rows["exposed_s"] = np.minimum(communication, (rows["wall_s"] - rows["computing_s"]).clip(lower=0.0))
    rows["host_s"] = rows["wall_s"] - rows["computing_s"] - rows["exposed_s"]
    rows["end_s"] = rows["start_s"] + rows["wall_s"]
    rows["team"] = _teams(rows)
    rows["series"] = _series(rows)
    rows = rows.sort_values([*present(rows, ("start",)), "start_s"], kind="stable", ignore_index=True)
    rows["is_warm_up"] = _warm_up(rows)
    return rows


def present(rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The names in `columns` that the table has."""
    return [column for column in columns if column in rows]


def part_seconds(rank_steps: pd.DataFrame, part: str) -> pd.Series:
    """Seconds of a part in every row: 0 where it did not happen or was not measured."""
    if part in rank_steps and rank_steps[part].dtype != object:
        return rank_steps[part].fillna(0.0)
    measured = pd.Series(np.nan, index=rank_steps.index, dtype=float)
    for prefix in ("gpu", "wall"):
        columns = [f"{prefix}_{name}_s" for name in PARTS if f"{prefix}_{name}_s" in rank_steps]
        if f"{prefix}_{part}_s" not in columns:
            continue
        # A row is one of GPU seconds if any part of it has GPU seconds.
        has_any = np.isfinite(rank_steps[columns].to_numpy(float)).any(axis=1)
        take = measured.isna().to_numpy() & has_any
        values = rank_steps[f"{prefix}_{part}_s"].fillna(0.0)
        measured = measured.where(~take, values)
    return measured.fillna(0.0)


def _teams(rows: pd.DataFrame) -> pd.Series:
    """World ranks of the team that made each row's step. The trace's own text counts, if it has one."""
    if "ranks" in rows:
        codes, texts = pd.factorize(rows["ranks"].astype(object))
        if (codes >= 0).all() and all(_RANKS.fullmatch(str(text)) for text in texts):
            return rows["ranks"].astype(object)
    key = present(rows, STEP_KEY)
    seen = rows[[*key, "world_rank"]].drop_duplicates().sort_values("world_rank")
    text = seen.assign(text=seen["world_rank"].astype(int).astype(str)).groupby(key, sort=False)["text"].agg(",".join)
    made = pd.Series(text.reindex(pd.MultiIndex.from_frame(rows[key])).to_numpy(), index=rows.index, dtype=object)
    if "ranks" not in rows:
        return made
    own = rows["ranks"].astype(str)
    return made.where(~own.str.fullmatch(_RANKS.pattern), own)


def _series(rows: pd.DataFrame) -> pd.Series:
    columns = present(rows, SERIES_KEY)
    if not columns:
        return pd.Series(0, index=rows.index)
    return rows.groupby(columns, dropna=False, sort=False).ngroup()


def _warm_up(rows: pd.DataFrame) -> pd.Series:
    """Whether the trace calls a step warm-up. Where it does not say: the first step of a group, and the first of another size."""
    said = rows["warm_up"] if "warm_up" in rows else pd.Series(-1, index=rows.index)
    said = said.fillna(-1).astype(int)
    if (said >= 0).all():
        return said == 1
    group = present(rows, ("start", "group"))
    key = present(rows, STEP_KEY)
    steps = rows.drop_duplicates(key)
    before = steps.groupby(group, sort=False)["series"].shift() if group else steps["series"].shift()
    before_team = steps.groupby(group, sort=False)["team"].shift() if group else steps["team"].shift()
    first = (before != steps["series"]) | (before_team != steps["team"])
    index = pd.MultiIndex.from_frame(steps[key])
    guessed = pd.Series(first.to_numpy(), index=index).reindex(pd.MultiIndex.from_frame(rows[key]))
    return (said == 1) | ((said < 0) & pd.Series(guessed.to_numpy(bool), index=rows.index))


def part_columns(rows: pd.DataFrame) -> list[str]:
    """The columns of seconds by part that `prepared` makes."""
    return [f"part_{part}" for part in PARTS if f"part_{part}" in rows]
