"""Gives a trace of format 0 the shape of the newest format, so that the rest of the package sees one shape.

A value that format 0 does not hold is unknown: the text "unknown", NaN, or -1. Values that follow from its rows are filled in:
the ranks of a stretch from the steps, the end of an item from its last phase, and the phases of the ranks that do not lead,
because all ranks of a group make an item's phases together. Rows of that kind have `assumed` set.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from wan_analysis.trace_format import ITEM_PHASES, LAST_PHASE, TABLES, UNKNOWN, precision_name

#: Steps that wan_bench made before those that count, unless its command says another number.
BENCH_WARM_UP = 1

Tables = dict[str, pd.DataFrame]

_DTYPES: dict[str, type] = {"text": object, "int": np.int64, "float": np.float64}


def complete(tables: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """All tables with all columns, in the format's order. Missing values are unknown."""
    return {table: _complete_table(tables.get(table, {}), table) for table in TABLES}


def _complete_table(columns: dict[str, np.ndarray], table: str) -> dict[str, np.ndarray]:
    rows = min((len(values) for values in columns.values()), default=0)
    return {column: columns[column][:rows] if column in columns else np.full(rows, UNKNOWN[kind], dtype=_DTYPES[kind])
            for column, (kind, _) in TABLES[table].items()}


def with_all_columns(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """The table with all columns of the format, in their order; those that it lacks are unknown."""
    types = {column: _DTYPES[kind] for column, (kind, _) in TABLES[table].items()}
    there = {column: frame[column].to_numpy(types[column]) for column in frame.columns}
    return to_frame(_complete_table(there, table))


def to_frame(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """A table of columns; texts stay objects."""
    return pd.DataFrame({name: pd.Series(values, dtype=object) if values.dtype == object else values for name, values in columns.items()})


def upgrade(tables: Tables, attributes: dict[str, Any]) -> None:
    """Fills in what follows from the rows of a trace of format 0. In a trace of format 1 nothing is assumed."""
    tables["phases"]["assumed"] = False
    if attributes["format"] > 0:
        return
    steps, samples = tables["steps"], tables["samples"]
    samples["vram_used_bytes"] = samples["vram_used_bytes"].where(samples["vram_used_bytes"] != 0, UNKNOWN["int"])
    ranks = attributes["group"] * attributes["ranks"] + np.arange(attributes["ranks"])
    tables["ranks"] = _rank_rows(attributes, ranks)
    steps["stretch"], teams = _stretches_of(steps)
    tables["stretches"] = _stretch_rows(tables, attributes, teams)
    steps["warm_up"] = _warm_up(tables, attributes).astype(np.int64)
    tables["item_ends"] = _end_rows(tables)
    tables["phases"] = _phases_by_rank(tables["phases"], steps, ranks)


def _rank_rows(attributes: dict[str, Any], ranks: np.ndarray) -> pd.DataFrame:
    """Format 0 names the host and GPU of the leader only."""
    frame = with_all_columns(pd.DataFrame({"world_rank": ranks, "group_rank": np.arange(len(ranks))}), "ranks")
    for column in ("host", "gpu_model"):
        text = str(attributes.get(column, ""))
        if text:
            frame.loc[frame.index[:1], column] = text
    return frame


def _stretches_of(steps: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """The stretch of each row of /steps, and for each stretch its item, first step, ranks and start."""
    empty = pd.DataFrame({"item": [], "first_step": [], "ranks": [], "width": [], "start_s": []})
    if steps.empty:
        return np.empty(0, dtype=np.int64), empty
    ordered = steps.sort_values(["item", "step", "world_rank"])
    of_step = ordered.groupby(["item", "step"], sort=True)
    ranks = of_step["world_rank"].agg(lambda values: ",".join(map(str, values))) if _varies(of_step) else _same_ranks(of_step)
    made = ranks.rename("ranks").reset_index()
    made["start_s"] = of_step["start_s"].min().to_numpy()
    begins = (made["item"] != made["item"].shift()) | (made["ranks"] != made["ranks"].shift())
    made["stretch"] = begins.cumsum() - 1
    first = made[begins].rename(columns={"step": "first_step"}).reset_index(drop=True)
    first["width"] = first["ranks"].str.count(",") + 1
    place = pd.MultiIndex.from_frame(made[["item", "step"]])
    rows = place.get_indexer(pd.MultiIndex.from_frame(steps[["item", "step"]]))
    return made["stretch"].to_numpy(np.int64)[rows], first


def _varies(of_step: Any) -> bool:  # noqa: ANN401  (a DataFrameGroupBy)
    """Whether the ranks of a step are not the same ones in all steps."""
    ranks = of_step["world_rank"]
    return any((values != values.iloc[0]).any() for values in (ranks.min(), ranks.max(), ranks.size()))


def _same_ranks(of_step: Any) -> pd.Series:  # noqa: ANN401
    sizes = of_step.size()
    some = of_step.get_group(sizes.index[0])["world_rank"]
    return pd.Series(",".join(map(str, some)), index=sizes.index)


def _stretch_rows(tables: Tables, attributes: dict[str, Any], teams: pd.DataFrame) -> pd.DataFrame:
    """A stretch of other ranks than the group's was made by a team, whose layout format 0 does not tell."""
    layouts = tables["items"]["layout"].to_numpy(object)
    written = [layouts[int(item)] for item in teams["item"]]
    written = [text if text not in ("", UNKNOWN["text"]) else str(attributes.get("layout", "")) for text in written]
    known = [_layout_and_placement(text, int(width)) for text, width in zip(written, teams["width"], strict=True)]
    frame = pd.DataFrame({
        "item": teams["item"].to_numpy(np.int64), "first_step": teams["first_step"].to_numpy(np.int64),
        "team_width": np.maximum(teams["width"].to_numpy(np.int64) // attributes["ranks"], 1),
        "ranks": teams["ranks"].to_numpy(object), "layout": [layout for layout, _ in known],
        "placement": [placement for _, placement in known],
        "precision": precision_name(str(attributes.get("precision", ""))) or UNKNOWN["text"],
        "start_s": teams["start_s"].to_numpy(np.float64)})
    return with_all_columns(frame, "stretches")


def _layout_and_placement(text: str, ranks: int) -> tuple[str, str]:
    """("cfg2 x ulysses2", "sharded over 4") of "cfg2 x ulysses2, fsdp4"; unknown for a layout of another number of ranks."""
    layout, _, rest = text.partition(", ")
    sizes = re.fullmatch(r"cfg(\d{1,6}) x ulysses(\d{1,6})", layout)
    if sizes is None or int(sizes[1]) * int(sizes[2]) != ranks:
        return str(UNKNOWN["text"]), str(UNKNOWN["text"])
    shards = re.fullmatch(r"fsdp(\d{1,6})", rest)
    return layout, f"sharded over {shards[1]}" if shards else str(UNKNOWN["text"])


def _warm_up(tables: Tables, attributes: dict[str, Any]) -> np.ndarray:
    """wan_bench: its first steps. wan_batch: the first step of the file, after a change of ranks, and after one of size."""
    steps, items = tables["steps"], tables["items"]
    if steps.empty:
        return np.empty(0, dtype=bool)
    if str(attributes["run"]) == "bench" or (len(items) == 1 and items["id"].iloc[0] == "bench"):
        said = re.search(r"--warm-?up[ =](\d{1,6})\b", str(attributes.get("command", "")))
        return (steps["step"] < (int(said[1]) if said else BENCH_WARM_UP)).to_numpy()
    made = steps.groupby(["item", "step"], as_index=False).agg(start_s=("start_s", "min"), stretch=("stretch", "first"))
    made = made.sort_values("start_s")
    key = items[["width", "height", "frames"]].iloc[made["item"]].reset_index(drop=True)
    key["ranks"] = tables["stretches"]["ranks"].to_numpy()[made["stretch"]]
    changed = (key != key.shift()).any(axis=1).to_numpy()
    first = pd.MultiIndex.from_frame(made.loc[changed, ["item", "step"]])
    return pd.MultiIndex.from_frame(steps[["item", "step"]]).isin(first)


def _end_rows(tables: Tables) -> pd.DataFrame:
    """An item whose last phase is there is done. The others were cut off, or failed; format 0 does not tell."""
    phases = tables["phases"].assign(end_s=tables["phases"]["start_s"] + tables["phases"]["wall_s"])
    decoded = phases.loc[phases["phase"] == LAST_PHASE, "item"].unique()
    ends = phases[phases["item"].isin(decoded) & phases["phase"].isin(ITEM_PHASES)].groupby("item")["end_s"].max()
    made = tables["items"]["steps"].to_numpy(np.int64)
    items = ends.index.to_numpy(np.int64)
    frame = pd.DataFrame({"item": items, "time_s": ends.to_numpy(np.float64), "outcome": "done", "steps_done": made[items]})
    return with_all_columns(frame, "item_ends")


def _phases_by_rank(phases: pd.DataFrame, steps: pd.DataFrame, ranks: np.ndarray) -> pd.DataFrame:
    """The leader's row of each phase, and one for each other rank that took part. Before the load a run starts up."""
    phases = phases.assign(background=0)
    load = phases[(phases["item"] < 0) & (phases["phase"] == "load")].head(1)
    if len(load) and not (phases["phase"] == "start_up").any():
        started = load.assign(phase="start_up", start_s=0.0, wall_s=load["start_s"], sent_bytes=0, assumed=True)
        phases = pd.concat([started[started["wall_s"] > 0], phases], ignore_index=True)
    made = steps.groupby("item")["world_rank"].unique() if len(steps) else {}
    teams = [np.sort(made[item]) if item in made and len(made[item]) > len(ranks) else ranks for item in phases["item"]]
    repeats = np.array([len(team) for team in teams], dtype=np.int64)
    leader = phases.index.to_numpy().repeat(repeats)
    result = phases.loc[leader].reset_index(drop=True)
    result["world_rank"] = np.concatenate(teams) if teams else np.empty(0, dtype=np.int64)
    first = np.repeat(np.array([team[0] for team in teams], dtype=np.int64), repeats)
    result["assumed"] = result["assumed"] | (result["world_rank"].to_numpy() != first)
    return result
