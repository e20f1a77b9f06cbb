"""Seconds of a run for a comparison: steps split so that waiting for a late rank is told from transfer, gaps, and phases."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from wan_analysis.guided import StepKind, is_of_kind
from wan_analysis.run import SHAPE, Run
from wan_analysis.step_rows import COMPUTING_PARTS
from wan_analysis.trace_format import COMMUNICATION_PARTS, ITEM_PHASES, PARTS, REMAINDER

#: Communication of a rank beyond that of the rank that communicates least: it waits for a later one. A mean over the ranks.
WAITING = "waiting"
#: Width, height, frames and steps of an item.
Kind = tuple[int, int, int, int]
#: Phases of a run that are compared.
RUN_PHASES = ("start_up", "load")


def step_parts(run: Run, kind: StepKind) -> pd.DataFrame:
    """One row for each step of one kind: `wall_s` of the slowest rank, PARTS, `waiting` and `other` in seconds, which add up to it.

    Computing and host parts are means over the ranks. Communication parts are those of the rank that communicates least.
    """
    rows = _rows(run, kind)
    key = ["group", "item", "step"]
    steps = rows.groupby(key, sort=True).agg(wall_s=("wall_s", "max"), **{part: (part, "mean") for part in (*COMPUTING_PARTS, "host_copy")})
    least = rows.loc[rows.groupby(key, sort=True)["exchange_s"].idxmin()].set_index(key)
    for part in COMMUNICATION_PARTS:
        steps[part] = least[part]
    steps[WAITING] = rows.groupby(key, sort=True)["exchange_s"].mean() - least["exchange_s"]
    steps[REMAINDER] = (steps["wall_s"] - steps[[*PARTS, WAITING]].sum(axis=1)).clip(lower=0.0)
    return steps.reset_index()


def gaps_s(run: Run, kind: StepKind) -> pd.Series:
    """Seconds between a step's end and the next step's start in the same item, a mean over the ranks; one for each pair."""
    rows = _rows(run, kind).sort_values(["group", "item", "world_rank", "start_s"])
    key = ["group", "item", "world_rank"]
    follows = (rows[key] == rows[key].shift()).all(axis=1) & (rows["step"] == rows["step"].shift() + 1)
    rows["gap_s"] = (rows["start_s"] - (rows["start_s"] + rows["wall_s"]).shift()).clip(lower=0.0)
    return rows[follows].groupby(["group", "item", "step"])["gap_s"].mean()


def shared_kinds(runs: Sequence[Run]) -> set[Kind]:
    """The kinds of items (size, frames, steps) of which every run has phases."""
    found = [set(_kinds_of_items(run)) for run in runs]
    return set.intersection(*found) if found else set()


def _kinds_of_items(run: Run) -> pd.Series:
    """The kind of each item that has phases. Index: group and item."""
    items = run.items.set_index(["group", "item"])
    there = pd.MultiIndex.from_frame(run.phases.loc[run.phases["item"] >= 0, ["group", "item"]].drop_duplicates())
    kinds = items.loc[items.index.isin(there), [*SHAPE, "steps"]].astype(int)
    return pd.Series(list(kinds.itertuples(index=False, name=None)), index=kinds.index, dtype=object)


def phase_seconds(run: Run, kinds: Collection[Kind] = ()) -> dict[str, float]:
    """Mean seconds by metric: "phase load" (of a rank), "phase decode" (of an item), "time between phases" (of an item).

    Items of these kinds only, if there are any, and each kind counts the same: two runs may have made other numbers of each.
    """
    phases = run.phases[~run.phases["background"]]
    result = {}
    for name in RUN_PHASES:
        of_phase = phases[(phases["item"] < 0) & (phases["phase"] == name)]
        if len(of_phase):
            result[f"phase {name}"] = float(of_phase.groupby(["group", "world_rank"])["wall_s"].sum().mean())
    of_items = phases[phases["item"] >= 0]
    kind_of = _kinds_of_items(run)
    kind = kind_of.reindex(pd.MultiIndex.from_frame(of_items[["group", "item"]])).to_numpy(object)
    if kinds:
        chosen = np.array([one in kinds for one in kind], dtype=bool)
        of_items, kind = of_items[chosen], kind[chosen]
    # Without named kinds all items count the same.
    of_items = of_items.assign(kind=[str(one) for one in kind] if kinds else "")
    by_item = of_items.groupby(["kind", "phase", "group", "item", "world_rank"])["wall_s"].sum().groupby(
        ["kind", "phase", "group", "item"]).mean()
    means = by_item.groupby(["kind", "phase"]).mean().groupby("phase").mean()
    known = [name for name in ITEM_PHASES if name in means] + sorted(set(means.index) - set(ITEM_PHASES))
    result |= {f"phase {name}": float(means[name]) for name in known if name != "denoise"}  # the steps show that one
    if len(of_items):
        result["time between phases"] = float(np.mean([_between_phases_s(rows) for _, rows in of_items.groupby("kind")]))
    return result


def _between_phases_s(phases: pd.DataFrame) -> float:
    """Seconds between an item's phases in which none of them ran, a mean over items and ranks."""
    ordered = phases.sort_values(["group", "item", "world_rank", "start_s"])
    key = ["group", "item", "world_rank"]
    ends = (ordered["start_s"] + ordered["wall_s"]).groupby([ordered[name] for name in key]).cummax()
    follows = (ordered[key] == ordered[key].shift()).all(axis=1)
    gaps = (ordered["start_s"] - ends.shift()).clip(lower=0.0)[follows]
    return float(gaps.sum()) / len(ordered[key].drop_duplicates())


def _rows(run: Run, kind: StepKind) -> pd.DataFrame:
    rows = run.rank_steps[is_of_kind(run, kind)].copy()
    rows["exchange_s"] = np.sum([rows[part].to_numpy(float) for part in COMMUNICATION_PARTS], axis=0)
    return rows
