"""Keeps from a file's tables what can be true, and says what was left out. Nothing behind this module meets other values.

A row that others refer to by its number (/items, /stretches) stays, with unknown values. Other rows are left out.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from wan_analysis.trace_format import FORMAT, PARTS, REQUIRED_ATTRIBUTES, UNKNOWN, WHOLE_NUMBERS, precision_name

#: Bounds beyond which a value is damage.
MOST_RANKS, MOST_STEPS, MOST_PIXELS, MOST_SECONDS = 100_000, 1_000_000, 1_000_000, 1e9
LONGEST_NAME = 300

#: Control characters, separators of lines, characters that change the direction of writing, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

#: Columns by name for each table; shape of each: [rows].
Columns = dict[str, np.ndarray]


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
    if "precision" in result:
        result["precision"] = precision_name(str(result["precision"]))
    return result


def clean_columns(tables: dict[str, Columns], attributes: dict[str, Any]) -> list[str]:
    """Replaces the columns of all tables (complete ones) by what can be true in them; returns what was wrong."""
    problems: list[str] = []
    for columns in tables.values():
        for name, values in columns.items():
            if values.dtype == object:
                columns[name] = _clean_names(values)
            elif values.dtype == np.float64:
                outside = ~(np.abs(values) <= MOST_SECONDS) & ~np.isnan(values)
                if outside.any():
                    columns[name] = np.where(outside, np.nan, values)
    world = attributes["ranks"] * attributes["groups"]
    items = tables["items"]
    sized = _within(items["steps"], 0, MOST_STEPS)
    for name in ("width", "height", "frames"):
        sized &= _within(items[name], 1, MOST_PIXELS)
    if not sized.all():
        problems.append(f"/items: {_rows(int((~sized).sum()))} of an impossible size")
        for name in ("width", "height", "frames", "steps"):
            items[name] = np.where(sized, items[name], UNKNOWN["int"])
    count = len(sized)
    steps, phases, samples, ends, clocks = (tables[name] for name in ("steps", "phases", "samples", "item_ends", "clocks"))
    good_item = _within(steps["item"], 0, count - 1)
    good_item[good_item] = sized[steps["item"][good_item]]
    _keep(steps, "steps", problems, {
        "item": good_item, "world_rank": _within(steps["world_rank"], 0, world - 1), "step": _within(steps["step"], 0, MOST_STEPS),
        "start_s": np.isfinite(steps["start_s"]), "wall_s": steps["wall_s"] >= 0})
    _keep(phases, "phases", problems, {
        "item": _within(phases["item"], -1, count - 1), "world_rank": _within(phases["world_rank"], -1, world - 1),
        "start_s": np.isfinite(phases["start_s"]), "wall_s": phases["wall_s"] >= 0})
    _keep(samples, "samples", problems, {"time_s": np.isfinite(samples["time_s"]), "rank": _within(samples["rank"], 0, world - 1)})
    _keep(ends, "item_ends", problems, {"item": _within(ends["item"], 0, count - 1), "time_s": np.isfinite(ends["time_s"])})
    _keep(tables["ranks"], "ranks", problems, {"world_rank": _within(tables["ranks"]["world_rank"], 0, world - 1)})
    _keep(clocks, "clocks", problems, {"world_rank": _within(clocks["world_rank"], 0, world - 1),
                                       "time_s": np.isfinite(clocks["time_s"]), "offset_s": np.isfinite(clocks["offset_s"])})
    _clean_values(tables, attributes, count, problems)
    return problems


def _clean_values(tables: dict[str, Columns], attributes: dict[str, Any], items: int, problems: list[str]) -> None:
    """Values that do not decide about their row."""
    steps, phases, stretches, samples = (tables[name] for name in ("steps", "phases", "stretches", "samples"))
    for prefix in ("wall", "gpu"):
        for part in PARTS:
            values = steps[f"{prefix}_{part}_s"]
            if (values < 0).any():
                steps[f"{prefix}_{part}_s"] = np.where(values < 0, np.nan, values)
    for columns, name, least in ((steps, "sent_bytes", 0), (phases, "sent_bytes", 0), (steps, "vram_allocated_bytes", -1),
                                 (steps, "vram_reserved_bytes", -1), (steps, "vram_peak_bytes", -1), (samples, "vram_used_bytes", -1)):
        columns[name] = np.maximum(columns[name], least)
    wrong = ~_within(stretches["item"], 0, items - 1) | ~_within(stretches["first_step"], 0, MOST_STEPS)
    if wrong.any():
        problems.append(f"/stretches: {_rows(int(wrong.sum()))} of no item")
        stretches["item"] = np.where(wrong, -1, stretches["item"])
        stretches["first_step"] = np.where(wrong, 0, stretches["first_step"])
    unknown = ~_within(steps["stretch"], -1, len(wrong) - 1)
    if unknown.any():
        problems.append(f"/steps: {_rows(int(unknown.sum()))} of a stretch that is not there")
        steps["stretch"] = np.where(unknown, -1, steps["stretch"])
    for place, text in enumerate(stretches["ranks"]):
        if not re.fullmatch(r"\d{1,6}(,\d{1,6})*", text):
            stretches["ranks"][place] = UNKNOWN["text"]
    stretches["precision"] = _objects([precision_name(text) for text in stretches["precision"]])
    _keep_first(tables["ranks"], ["world_rank"], "ranks", problems)
    _keep_first(steps, ["item", "world_rank", "step"], "steps", problems)


def _keep_first(columns: Columns, names: list[str], table: str, problems: list[str]) -> None:
    """Leaves out rows that repeat the values of an earlier row."""
    if len(columns[names[0]]) == 0:
        return
    key = np.zeros(len(columns[names[0]]), dtype=np.int64)
    for name in names:
        key = key * (int(columns[name].max()) + 1) + columns[name]  # below 2**63: items and steps are below 2**20 and 2**26
    distinct, first = np.unique(key, return_index=True)
    if len(distinct) < len(key):
        problems.append(f"/{table}: {_rows(len(key) - len(distinct))} that repeat another one, left out")
        first.sort()
        for name, values in columns.items():
            columns[name] = values[first]


def _keep(columns: Columns, table: str, problems: list[str], checks: dict[str, np.ndarray]) -> None:
    good = np.logical_and.reduce(list(checks.values()))
    if good.all():
        return
    first = next(name for name, is_good in checks.items() if not is_good.all())
    problems.append(f"/{table}: {_rows(int((~good).sum()))} with an impossible '{first}', left out")
    for name, values in columns.items():
        columns[name] = values[good]


def _within(values: np.ndarray, low: int, high: int) -> np.ndarray:
    return (values >= low) & (values <= high)


def _clean_names(values: np.ndarray) -> np.ndarray:
    if len(values) == 0:
        return values
    codes, distinct = pd.factorize(values)
    return _objects([clean_text(text) for text in distinct])[codes]


def _objects(texts: list[str]) -> np.ndarray:
    result = np.empty(len(texts), dtype=object)
    result[:] = texts
    return result


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
