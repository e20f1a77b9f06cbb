"""Charts of whole runs: where their GPU-seconds went, their items, and the memory of their GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wan_analysis import palette
from wan_analysis.blocks import Chart
from wan_analysis.chart_style import (
    MOST_BARS,
    MOST_PANELS,
    colours_of,
    narrow_bars,
    new_figure,
    set_bar_labels,
    stacked_bars,
    thinned,
)
from wan_analysis.efficiency import Throughput
from wan_analysis.measures import vram_peaks_bytes
from wan_analysis.plan import Plans, planned_bytes
from wan_analysis.run import Run
from wan_analysis.texts import chart_text

GIB = 2**30
#: Above this many GPUs a chart shows the smallest, the middle and the largest value of them.
MOST_GPUS = 16


def account_chart(tables: Sequence[tuple[str, dict[str, float]]], per: str, unit: str) -> Chart:
    """Stacked GPU-seconds by name, one bar for each (label, GPU-seconds by name). `per`: "finished item" or "run"."""
    names = list(dict.fromkeys(name for _, table in tables for name in table))
    figure, axes = new_figure(1, 1, 9.6, 4.4)
    axis: Axes = axes[0][0]
    heights = {name: [table.get(name, 0.0) for _, table in tables] for name in names}
    dark = {"idle": "#d9d9d9", "unnamed": palette.BLACK, "steps": palette.BLUE, "start_up": "#bbbbbb", "load": palette.GREY}
    others = [colour for colour in palette.SERIES if colour not in dark.values()] + ["#8c6d31", "#637939", "#ad494a"]
    free = [name for name in names if name not in dark]
    colours = {name: others[place % len(others)] for place, name in enumerate(free)} | dark
    stacked_bars(
        axis,
        [label for label, _ in tables],
        heights,
        colours=colours,
        hatches={"idle": "xx", "between_steps": "//", "between_phases": ".."},
    )
    axis.set(ylabel=f"{unit}-seconds for each {per} [s]", title=f"Where all {unit}-seconds went", xlabel=f"run (its {unit}s)")
    data: dict[str, dict[str, list[Any]]] = {"bar": {"label": [label for label, _ in tables]}, "gpu_seconds": dict(heights)}
    return Chart("account", figure, f"{unit}-seconds by name, stacked", data)


def items_chart(rows: Sequence[Throughput], unit: str) -> Chart:
    """Items per hour beside the phases of an item. At most MOST_BARS runs, those with the most items."""
    chosen = sorted(sorted(rows, key=lambda row: -row.figures.work.count)[:MOST_BARS], key=rows.index)
    figure, axes = new_figure(1, 2, 9.6, 4.2)
    left, right = axes[0]
    labels = [row.figures.label for row in chosen]
    places = np.arange(len(chosen))
    rates = [row.items_per_hour for row in chosen]
    missing = [row.all_groups_per_hour - row.items_per_hour for row in chosen]
    left.bar(places, rates, width=0.6, color=palette.BLUE, label="groups with a trace")
    if any(missing):
        left.bar(
            places,
            missing,
            bottom=rates,
            width=0.6,
            color="white",
            edgecolor=palette.BLUE,
            hatch="//",
            label="the other groups,\nif they do as well",
        )
        left.legend(loc="upper left")
        left.set_ylim(top=1.35 * max(row.all_groups_per_hour for row in chosen))
    left.set(ylabel="finished items [1/h]", title="Throughput", xlabel=f"run (its {unit}s)")
    set_bar_labels(left, labels)
    narrow_bars(left, len(labels))
    phases = [row.figures.phase_seconds for row in chosen]
    names = list(dict.fromkeys(name for of_run in phases for name in of_run))
    heights = {name: [of_run.get(name, 0.0) for of_run in phases] for name in names}
    stacked_bars(right, labels, heights, colours=colours_of(names))
    right.set(ylabel="time of an item [s]", title="Phases of an item in its group", xlabel=f"run (its {unit}s)")
    data: dict[str, dict[str, list[Any]]] = {
        "bar": {"label": labels, "items_per_hour": rates, "missing_groups_per_hour": missing},
        "phase_seconds": dict(heights),
    }
    return Chart("items", figure, "Items per hour, and phases of an item", data)


def has_vram(run: Run) -> bool:
    """Whether its trace records memory. A trace of CPU ranks does not."""
    return bool(vram_peaks_bytes(run).notna().to_numpy().any())


def vram_timeline_chart(runs: Sequence[Run]) -> Chart:
    """Memory of every GPU over time: samples of the device if there are any, otherwise the steps' allocations."""
    chosen = sorted(runs, key=lambda run: -len(run.samples))[:MOST_PANELS]
    drawn = [run for run in runs if run in chosen]
    figure, axes = new_figure(len(drawn), 1, 9.6, 0.8 + 2.0 * len(drawn))
    data: dict[str, dict[str, list[Any]]] = {}
    for axis, run in zip(axes[:, 0], drawn, strict=True):
        table, time, value, rank, what = _vram_source(run)
        table = table[[time, value, rank]].dropna()
        table = table[table[value] > 0]
        if table[rank].nunique() <= MOST_GPUS:
            _vram_lines(axis, run, table, (time, value, rank), data)
        else:
            _vram_band(axis, run, table, (time, value), data)
        axis.set(ylabel=f"{what} [GiB]", title=f"run {chart_text(run.label)}")
        axis.set_ylim(bottom=0)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=1 + table[rank].nunique() // 9 if len(table) else 1)
    axes[-1, 0].set_xlabel("time since the run began [s]")
    return Chart("vram_timeline", figure, "VRAM of every GPU over time", data)


def _vram_lines(axis: Axes, run: Run, table: pd.DataFrame, columns: tuple[str, str, str], data: dict) -> None:
    time, value, rank = columns
    for number, (world_rank, rows) in enumerate(table.groupby(rank)):
        times, values = thinned(rows[time].to_numpy(float), rows[value].to_numpy(float) / GIB)
        axis.plot(
            times,
            values,
            color=palette.SERIES[number % len(palette.SERIES)],
            linewidth=1.2,
            linestyle=("-", "--", ":")[number // len(palette.SERIES) % 3],
            label=f"rank {world_rank}",
        )
        data[f"{run.name}/rank {world_rank}"] = {"time_s": times.tolist(), "gib": values.tolist()}


def _vram_band(axis: Axes, run: Run, table: pd.DataFrame, columns: tuple[str, str], data: dict) -> None:
    time, value = columns
    edges = np.linspace(float(table[time].min()), float(table[time].max()) + 1e-9, 301)
    piece = np.clip(np.searchsorted(edges, table[time].to_numpy(float), side="right") - 1, 0, 299)
    found = (table[value] / GIB).groupby(piece).agg(["min", "median", "max"])
    times = edges[found.index.to_numpy(int)]
    axis.fill_between(times, found["min"], found["max"], color=palette.SKY_BLUE, alpha=0.5, label="smallest to largest")
    axis.plot(times, found["median"], color=palette.BLUE, linewidth=1.2, label="median of the GPUs")
    data[run.name] = {"time_s": times.tolist(), **{f"{name}_gib": found[name].tolist() for name in found}}


def _vram_source(run: Run) -> tuple[pd.DataFrame, str, str, str, str]:
    if not run.samples.empty:
        return run.samples, "time_s", "vram_used_bytes", "rank", "VRAM used"
    return run.rank_steps, "start_s", "vram_allocated_bytes", "world_rank", "VRAM allocated"


def vram_peak_chart(runs: Sequence[Run], plans: Plans) -> Chart:
    """Peak memory of every GPU beside the plan's; of each run's smallest, middle and largest GPU if there are many."""
    figure, axes = new_figure(1, 1, 9.6, 3.8)
    axis: Axes = axes[0][0]
    peaks_of = {run.name: vram_peaks_bytes(run).max(axis=1).dropna() / GIB for run in runs}
    is_many = sum(len(peaks) for peaks in peaks_of.values()) > 2 * MOST_GPUS
    drawn = runs[:MOST_BARS] if is_many else runs
    ticks, names, position = [], [], 0
    data: dict[str, dict[str, list[Any]]] = {}
    for number, run in enumerate(drawn):
        peaks, planned = peaks_of[run.name], planned_bytes(run, plans) / GIB
        heights, labels = peaks.to_numpy(float), [str(rank) for rank in peaks.index]
        if is_many:
            heights, labels = np.quantile(heights, [0.0, 0.5, 1.0]), ["", f"run {run.label}", ""]
        places = np.arange(position, position + len(heights))
        axis.bar(places, heights, width=0.7, color=palette.SKY_BLUE, label="peak" if number == 0 else None)
        if np.isfinite(planned):
            axis.hlines(
                planned, places[0] - 0.45, places[-1] + 0.45, color=palette.VERMILION, linewidth=2, label="plan" if number == 0 else None
            )
        ticks += list(places)
        names += labels if is_many or len(runs) == 1 else [f"{label}\n({run.label})" for label in labels]
        data[run.name] = {"rank": labels, "gib": heights.tolist(), "plan_gib": [planned] * len(heights)}
        position += len(heights) + 1
    axis.set_xticks(
        ticks,
        [chart_text(name) if "\n" not in name else name for name in names],
        fontsize=8,
        rotation=35 if is_many and len(drawn) > 8 else 0,
    )
    said = "smallest, middle and largest GPU of each run" if is_many else f"rank (run){'' if len(runs) > 1 else ' of the only run'}"
    axis.set(xlabel=said, ylabel="peak VRAM [GiB]", title="Peak memory")
    axis.grid(visible=False, axis="x")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Chart("vram_peaks", figure, "Peak VRAM of every GPU", data)
