"""The report's charts. Each function draws numbers that measures.py and study.py computed, and returns the figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wan_analysis import palette
from wan_analysis.measures import outliers, phase_means_s, vram_peaks_bytes
from wan_analysis.plan import Plans, planned_bytes
from wan_analysis.run import Run
from wan_analysis.study import ScalingRow
from wan_analysis.trace_format import PARTS, REMAINDER

GIB = 2**30
GB = 1e9
PERCENT = 100.0

#: Above this many points a chart keeps them as pixels, so that the page stays small.
MOST_VECTOR_POINTS = 4000

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
    "figure.constrained_layout.use": True,
}


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def unit_of(rows: Sequence[ScalingRow] | Sequence[Run]) -> str:
    """"GPUs" or "CPU ranks": the unit of the horizontal axis."""
    first = rows[0]
    run = first.run if isinstance(first, ScalingRow) else first
    return f"{run.unit}s"


def speedup_chart(rows: Sequence[ScalingRow]) -> Figure:
    """Speed-up beside efficiency, each against the GPU count."""
    figure, axes = _figure(1, 2, 9.5, 3.6)
    gpus = [row.run.gpus for row in rows]
    span = np.array([min(gpus), max(gpus)], dtype=float)
    left, right = axes[0]
    left.plot(span, span / gpus[0], "--", color=palette.GREY, label="ideal")
    left.plot(gpus, [row.speedup for row in rows], "o-", color=palette.BLUE, label="measured")
    left.set(ylabel=f"speed-up [× {gpus[0]} {_singular(rows, gpus[0])}]", title="Speed-up of a step")
    left.set_ylim(bottom=0)
    left.legend(loc="upper left")
    right.axhline(PERCENT, linestyle="--", color=palette.GREY)
    right.plot(gpus, [PERCENT * row.efficiency for row in rows], "o-", color=palette.VERMILION)
    right.set(ylabel="parallel efficiency [%]", title="Efficiency")
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.set_xlabel(f"{unit_of(rows)} [count]")
        axis.set_xticks(sorted(set(gpus)))
    return figure


def _singular(rows: Sequence[ScalingRow], count: int) -> str:
    return rows[0].run.unit if count == 1 else unit_of(rows)


def parts_chart(rows: Sequence[ScalingRow]) -> Figure:
    """The typical step by part, stacked, with one bar for each run."""
    figure, axes = _figure(1, 1, 9.5, 4.0)
    axis: Axes = axes[0][0]
    labels = [row.run.label for row in rows]
    bottom = np.zeros(len(rows))
    for part in (*PARTS, REMAINDER):
        heights = np.array([row.step.parts_s[part] for row in rows])
        axis.bar(labels, heights, bottom=bottom, width=0.6, color=palette.PART_COLOURS[part],
                 hatch=palette.PART_HATCHES[part], edgecolor="white", linewidth=0.6, label=part.replace("_", " "))
        bottom += heights
    axis.set(xlabel=f"{unit_of(rows)} [count]", ylabel="time of a step [s]", title="Where a step's time goes")
    axis.grid(visible=False, axis="x")
    handles, names = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def steps_chart(runs: Sequence[Run]) -> Figure:
    """Every step's time, with one panel for each run. Colours show experts; marks show their switch; rings show outliers."""
    figure, axes = _figure(len(runs), 1, 9.5, 0.7 + 2.1 * len(runs))
    for axis, run in zip(axes[:, 0], runs, strict=True):
        steps = run.steps.reset_index(drop=True)
        for expert, colour in palette.EXPERT_COLOURS.items():
            of_expert = steps[steps["expert"] == expert]
            axis.plot(of_expert["start_s"], of_expert["wall_s"], ".", markersize=4, color=colour,
                      label=expert.replace("_", " "), rasterized=len(steps) > MOST_VECTOR_POINTS)
        switches = _switch_times_s(run)
        for number, time_s in enumerate(switches):
            axis.axvline(time_s, color=palette.BLACK, linewidth=0.8, linestyle=":",
                         label="expert switch" if number == 0 else None)
        slow = steps[_is_outlier(run)]
        axis.plot(slow["start_s"], slow["wall_s"], "o", markersize=9, markerfacecolor="none",
                  color=palette.VERMILION, label="outlier" if len(slow) else None)
        axis.set_ylim(0, 1.12 * steps["wall_s"].max())
        axis.set(ylabel="time of a step [s]", title=f"{run.label} {run.unit}{'s' if run.gpus > 1 else ''}: {run.layout}")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1, 0].set_xlabel("time since the run began [s]")
    return figure


def _switch_times_s(run: Run) -> list[float]:
    """Start times of each item's first step of the low-noise expert, if the other expert made the step before."""
    times = []
    for _, steps in run.steps.groupby(["group", "item"]):
        ordered = steps.sort_values("step")
        changed = ordered["expert"] != ordered["expert"].shift(fill_value=ordered["expert"].iloc[0])
        times += [float(time_s) for time_s in ordered.loc[changed, "start_s"]]
    return times


def _is_outlier(run: Run) -> list[bool]:
    found = outliers(run)
    keys = set(zip(found["item"], found["step"], strict=True))
    ids = run.items.set_index(["group", "item"])["id"]
    return [(ids.get((row.group, row.item)), row.step) in keys for row in run.steps.itertuples()]


def vram_timeline_chart(runs: Sequence[Run]) -> Figure:
    """Memory of every GPU over time: samples of the device if there are any, otherwise the steps' allocations."""
    figure, axes = _figure(len(runs), 1, 9.5, 0.7 + 2.1 * len(runs))
    for axis, run in zip(axes[:, 0], runs, strict=True):
        table, time, value, rank, what = _vram_source(run)
        for number, (world_rank, rows) in enumerate(table.groupby(rank)):
            ordered = rows.sort_values(time)
            axis.plot(ordered[time], ordered[value] / GIB, color=palette.SERIES[number % len(palette.SERIES)],
                      linestyle=("-", "--")[number // len(palette.SERIES) % 2], label=f"rank {world_rank}",
                      linewidth=1.2, rasterized=len(table) > MOST_VECTOR_POINTS)
        axis.set(ylabel=f"{what} [GiB]", title=f"{run.label} {run.unit}{'s' if run.gpus > 1 else ''}")
        axis.set_ylim(bottom=0)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1, 0].set_xlabel("time since the run began [s]")
    return figure


def _vram_source(run: Run) -> tuple[Any, str, str, str, str]:
    if not run.samples.empty:
        return run.samples, "time_s", "vram_used_bytes", "rank", "VRAM used"
    return run.rank_steps, "start_s", "vram_allocated_bytes", "world_rank", "VRAM allocated"


def has_vram(run: Run) -> bool:
    """Whether its trace records memory. A trace of CPU ranks does not."""
    return bool(vram_peaks_bytes(run).notna().to_numpy().any())


def vram_peak_chart(runs: Sequence[Run], plans: Plans) -> Figure:
    """Peak memory of every GPU beside the plan's."""
    figure, axes = _figure(1, 1, 9.5, 3.6)
    axis: Axes = axes[0][0]
    ticks, names, position = [], [], 0
    for number, run in enumerate(runs):
        peaks = vram_peaks_bytes(run).max(axis=1)
        places = np.arange(position, position + len(peaks))
        axis.bar(places, peaks / GIB, width=0.7, color=palette.SKY_BLUE, label="peak" if number == 0 else None)
        planned = planned_bytes(run, plans)
        if np.isfinite(planned):
            axis.hlines(planned / GIB, places[0] - 0.45, places[-1] + 0.45, color=palette.VERMILION, linewidth=2,
                        label="plan" if number == 0 else None)
        ticks += list(places)
        names += [f"{rank}\n({run.label})" for rank in peaks.index]
        position += len(peaks) + 1
    axis.set_xticks(ticks, names)
    axis.set(xlabel=f"rank (of the run on ... {unit_of(runs)})", ylabel="peak VRAM [GiB]", title="Peak memory")
    axis.grid(visible=False, axis="x")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def communication_chart(rows: Sequence[ScalingRow]) -> Figure:
    """A step's share of communication, and the rate during communication."""
    figure, axes = _figure(1, 2, 9.5, 3.3)
    left, right = axes[0]
    labels = [row.run.label for row in rows]
    left.bar(labels, [PERCENT * row.step.communication_share for row in rows], width=0.6, color=palette.ORANGE)
    left.set(ylabel="share of a step [%]", title="Communication")
    rates = [row.step.achieved_bytes_per_s / GB for row in rows]
    right.bar(labels, np.nan_to_num(rates), width=0.6, color=palette.GREEN)
    right.set(ylabel="sent by a rank [GB/s]", title="Rate while communicating")
    for axis in (left, right):
        axis.set_xlabel(f"{unit_of(rows)} [count]")
        axis.grid(visible=False, axis="x")
    return figure


def items_chart(rows: Sequence[ScalingRow]) -> Figure:
    """Items per hour beside the phases of a mean item."""
    figure, axes = _figure(1, 2, 9.5, 3.6)
    left, right = axes[0]
    labels = [row.run.label for row in rows]
    left.bar(labels, np.nan_to_num([row.items_per_hour for row in rows]), width=0.6, color=palette.BLUE)
    left.set(ylabel="finished items [1/h]", title="Throughput")
    phases = [phase_means_s(row.run) for row in rows]
    names = list(dict.fromkeys(name for of_run in phases for name in of_run))
    bottom = np.zeros(len(rows))
    for number, name in enumerate(names):
        heights = np.array([of_run.get(name, 0.0) for of_run in phases])
        right.bar(labels, heights, bottom=bottom, width=0.6, label=name, edgecolor="white", linewidth=0.6,
                  color=palette.SERIES[number % len(palette.SERIES)])
        bottom += heights
    right.set(ylabel="time of an item [s]", title="Phases of a mean item")
    handles, texts = right.get_legend_handles_labels()
    right.legend(handles[::-1], texts[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in (left, right):
        axis.set_xlabel(f"{unit_of(rows)} [count]")
        axis.grid(visible=False, axis="x")
    left.yaxis.set_major_locator(MaxNLocator(6))
    return figure
