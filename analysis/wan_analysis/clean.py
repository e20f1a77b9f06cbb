"""Keeps from a file's tables what can be true, and says what was left out. Nothing behind this module meets other values.

A row that others refer to by its number (/items, /stretches) stays, with unknown values. Other rows are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from wan_analysis.trace_format import FORMAT, PARTS, PRECISION, REQUIRED_ATTRIBUTES, UNKNOWN, WHOLE_NUMBERS, precision_name

#: Bounds beyond which a value is damage.
MOST_RANKS, MOST_STEPS, MOST_PIXELS, MOST_SECONDS = 100_000, 1_000_000, 1_000_000, 1e9
LONGEST_NAME = 300

#: Control characters, separators of lines, characters that change the direction of writing, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

Tables = dict[str, pd.DataFrame]


def clean_text(text: object, longest: int = LONGEST_NAME) -> str:
    """A text in one printable line."""
    found = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text))
    return found if len(found) <= longest else found[:longest - 3] + "..."


def wrong_attributes(attributes: dict[str, Any]) -> str:
    """Why a file with these attributes is no trace that this package reads; empty if it is one."""
    number = attributes.get("format", 0)
    if isinstance(number, int) and number > FORMAT:
        return (f"has format {number}, written by version {clean_text(attributes.get('version', 'unknown'), 60)} of the program; "
                f"this package reads the formats 0 to {FORMAT}: use the analysis package of that version")
    missing = [name for name in REQUIRED_ATTRIBUTES if name not in attributes]
    if missing:
        return "is not a trace of wan_batch: it lacks the attributes " + ", ".join(f"'{name}'" for name in missing)
    for name in WHOLE_NUMBERS:
        if name in attributes and not isinstance(attributes[name], int):
            return f"is damaged: its attribute '{name}' is not a whole number"
    ranks, group, groups = (attributes[name] for name in ("ranks", "group", "groups"))
    world = attributes.get("world_ranks", -1)
    fits = ranks > 0 and groups > 0 and 0 <= group < groups and ranks * groups <= MOST_RANKS and number >= 0
    if not fits or (world != -1 and world != ranks * groups):
        said = f"group {group} of {groups} groups with {ranks} ranks each" + ("" if world == -1 else f", {world} ranks in all")
        return f"is damaged: it says that it is of format {number} and {said}"
    return ""


def clean_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes with texts in one line, the format's number, and today's word for the precision."""
    result = {clean_text(name): clean_text(value, 2000) if isinstance(value, str) else value for name, value in attributes.items()}
    result.setdefault("format", 0)
    for name in ("version", "run"):
        result[name] = clean_text(result[name], 100)
    if precision_name(str(result.get("precision", ""))) == PRECISION:
        result["precision"] = PRECISION
    return result


def clean_tables(tables: Tables, attributes: dict[str, Any]) -> list[str]:
    """Replaces the tables by what can be true in them; returns what was wrong."""
    problems: list[str] = []
    for frame in tables.values():
        for column in frame.columns:
            if frame[column].dtype == object:
                frame[column] = _clean_names(frame[column])
            elif frame[column].dtype == np.float64 and not column.endswith("offset_s"):
                frame[column] = frame[column].where(frame[column].between(-MOST_SECONDS, MOST_SECONDS))
    world = attributes["ranks"] * attributes["groups"]
    items = tables["items"]
    sizes = [items[name].between(1, MOST_PIXELS) for name in ("width", "height", "frames")]
    sized = np.logical_and.reduce([*sizes, items["steps"].between(0, MOST_STEPS)]) if len(items) else np.empty(0, bool)
    if not sized.all():
        problems.append(f"/items: {_rows(int((~sized).sum()))} of an impossible size")
        items.loc[~sized, ["width", "height", "frames", "steps"]] = UNKNOWN["int"]
    of_item = _within(len(items))
    checks: dict[str, dict[str, Callable[[pd.Series], Any]]] = {
        "steps": {"item": lambda values: of_item(values) & np.append(sized, False)[values.clip(-1, len(items))],
                  "world_rank": _within(world), "step": _within(MOST_STEPS), "start_s": _is_time, "wall_s": _is_duration},
        "phases": {"item": lambda values: of_item(values) | (values == -1), "world_rank": _within(world, unknown=True),
                   "start_s": _is_time, "wall_s": _is_duration},
        "samples": {"time_s": _is_time, "rank": _within(world)},
        "item_ends": {"item": of_item, "time_s": _is_time},
        "ranks": {"world_rank": _within(world)},
        "clocks": {"world_rank": _within(world), "time_s": _is_time, "offset_s": _is_time},
    }
    for table, of_column in checks.items():
        tables[table] = _keep(tables[table], table, of_column, problems)
    _clean_values(tables, attributes, of_item, problems)
    return problems


def _clean_values(tables: Tables, attributes: dict[str, Any], of_item: Callable, problems: list[str]) -> None:
    """Values that do not decide about their row."""
    steps, phases, stretches, samples = (tables[name] for name in ("steps", "phases", "stretches", "samples"))
    for prefix in ("wall", "gpu"):
        for part in PARTS:
            column = f"{prefix}_{part}_s"
            steps[column] = steps[column].where(steps[column] >= 0)
    for frame in (steps, phases):
        frame["sent_bytes"] = frame["sent_bytes"].clip(lower=0)
    for column in ("vram_allocated_bytes", "vram_reserved_bytes", "vram_peak_bytes"):
        steps[column] = steps[column].clip(lower=-1)
    samples["vram_used_bytes"] = samples["vram_used_bytes"].clip(lower=-1)
    wrong = ~of_item(stretches["item"]) | ~stretches["first_step"].between(0, MOST_STEPS)
    if wrong.any():
        problems.append(f"/stretches: {_rows(int(wrong.sum()))} that belong to no item")
        stretches.loc[wrong, "item"] = -1
    unknown = ~_within(len(stretches))(steps["stretch"]) & (steps["stretch"] != -1)
    if unknown.any():
        problems.append(f"/steps: {_rows(int(unknown.sum()))} of a stretch that is not there")
    steps["stretch"] = steps["stretch"].where(_within(len(stretches))(steps["stretch"]), -1)
    stretches["precision"] = stretches["precision"].map(precision_name)
    tables["ranks"] = tables["ranks"].drop_duplicates("world_rank", ignore_index=True)
    doubled = steps.duplicated(["item", "world_rank", "step"], keep="last") if len(steps) else np.empty(0, bool)
    if attributes["format"] == 0 and doubled.any():
        problems.append(f"/steps: {_rows(int(doubled.sum()))} that are there twice")
        tables["steps"] = steps[~doubled].reset_index(drop=True)


def _keep(frame: pd.DataFrame, table: str, of_column: dict[str, Callable[[pd.Series], Any]], problems: list[str]) -> pd.DataFrame:
    if frame.empty:
        return frame
    good = np.ones(len(frame), dtype=bool)
    first = ""
    for column, is_good in of_column.items():
        now = good & np.asarray(is_good(frame[column]))
        if not first and now.sum() < good.sum():
            first = column
        good = now
    if good.all():
        return frame
    problems.append(f"/{table}: {_rows(int((~good).sum()))} with an impossible '{first}', left out")
    return frame[good].reset_index(drop=True)


def _within(count: int, *, unknown: bool = False) -> Callable[[pd.Series], Any]:
    return lambda values: values.between(-1 if unknown else 0, count - 1)


def _is_time(values: pd.Series) -> pd.Series:
    return values.between(-MOST_SECONDS, MOST_SECONDS)


def _is_duration(values: pd.Series) -> pd.Series:
    return values.between(0, MOST_SECONDS)


def _clean_names(values: pd.Series) -> pd.Series:
    codes, distinct = pd.factorize(values.to_numpy(object))
    cleaned = np.array([*(clean_text(text) for text in distinct), ""], dtype=object)
    return pd.Series(cleaned[codes], index=values.index, dtype=object)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
