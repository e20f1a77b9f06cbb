"""The cases of a study as values for other programs: the list `measured` of a page's JSON. wan_batch --plan --measured reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wan_analysis.compare_tables import phase_seconds
from wan_analysis.intervals import Interval, median_interval
from wan_analysis.item_phases import PHASES, item_phases_s
from wan_analysis.layouts import hosts_of
from wan_analysis.measures import vram_peaks_bytes
from wan_analysis.repetitions import Case, items_per_hour
from wan_analysis.run import Run
from wan_analysis.step_table import BETWEEN, StepRow, StepTable


def measured_values(cases: Sequence[Case], tables: Sequence[StepTable]) -> list[dict[str, Any]]:
    """An entry for each case and each layout and size of its steps. A figure is median, low, high (null: none) and n starts."""
    entries = []
    for case in cases:
        rows = [row for table in tables for row in table.rows if row.run in case.runs]
        alike: dict[tuple, list[StepRow]] = {}
        for row in rows:
            alike.setdefault((row.work, row.layout), []).append(row)
        entries += [_entry(case, found) for found in alike.values()]
    return entries


def _entry(case: Case, rows: Sequence[StepRow]) -> dict[str, Any]:
    first = rows[0]
    work, layout, figures = first.work, first.layout, case.first
    of_items = [item_phases_s(row) for row in rows]
    shares = {part: _figure([row.parts_s[part] for row in rows]) for part in first.parts_s}
    return {
        "case": case.name, "program": figures.run.attribute("program") or ("wan_bench" if figures.is_benchmark else "wan_batch"),
        "task": work.task, "device": work.device, "precision": work.precision, "passes": work.passes, "solver": work.solver,
        "width": work.width, "height": work.height, "frames": work.frames, "steps": _steps_of_items(case, work.size),
        "nodes": max(len(hosts_of(row)) for row in rows) or 1, "gpus": case.gpus,
        "groups": figures.groups, "group_gpus": layout.ranks, "cfg": layout.cfg, "ulysses": layout.ulysses,
        "placement": layout.placement, "attention": layout.attention, "head_chunks": layout.head_chunks, "starts": len(case.starts),
        "step_s": _figure([row.median_s for row in rows]), "step_parts_s": shares,
        "between_steps_s": _figure([row.shares_gpu_s[BETWEEN] / row.gpus for row in rows]),
        "item_phases_s": {name: _figure(of_name) for name in PHASES if (of_name := [of[name] for of in of_items if name in of])},
        "phases_s": _phases(case), "item_interval_s": _shown(case.interval(lambda one: one.item_interval_s)),
        "items_per_hour": _shown(case.interval(items_per_hour)),
        "peak_vram_bytes": _figure([_peak(run) for run in case.runs])}


def _figure(values: Sequence[float]) -> dict[str, float | int | None]:
    return _shown(median_interval(values))


def _shown(interval: Interval) -> dict[str, float | int | None]:
    values = {name: getattr(interval, name) for name in ("median", "low", "high")}
    return {**{name: float(value) if value == value else None for name, value in values.items()}, "n": interval.n}


def _steps_of_items(case: Case, size: tuple[int, int, int]) -> int | None:
    """Steps of the items of this size, if all have as many. None: a benchmark, or they differ."""
    steps = {kind[3] for one in case.starts for kind in one.work.kinds if kind[:3] == size}
    return steps.pop() if len(steps) == 1 and not case.first.is_benchmark else None


def _phases(case: Case) -> dict[str, dict]:
    """Seconds of each phase: of a rank for start_up and load, of an item for the others."""
    found = [phase_seconds(run) for run in case.runs]
    names = dict.fromkeys(name for of_run in found for name in of_run)
    return {name.removeprefix("phase ").replace(" ", "_"): _figure([of_run[name] for of_run in found if name in of_run]) for name in names}


def _peak(run: Run) -> float:
    peaks = vram_peaks_bytes(run)
    return float(peaks.max(axis=None)) if len(peaks) else float("nan")
