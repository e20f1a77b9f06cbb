"""Charts of scaling and of steps. Each function draws figures that other modules computed, and returns what it drew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from wan_analysis import palette
from wan_analysis.blocks import Chart
from wan_analysis.chart_style import (
    MOST_BARS,
    MOST_PANELS,
    MOST_POINTS,
    colours_of,
    narrow_bars,
    new_figure,
    set_bar_labels,
    spread,
    stacked_bars,
    thinned,
)
from wan_analysis.run import Run
from wan_analysis.step_table import SHARES, StepRow, row_keys, step_times
from wan_analysis.texts import chart_text
from wan_analysis.trace_format import COMMUNICATION_PARTS

GB = 1e9
PERCENT = 100.0

_MOST_SERIES = 10
_MOST_SWITCHES = 20
PART_COLOURS = palette.PART_COLOURS | {"between_steps": palette.BLACK}
PART_HATCHES = {part: "////" if part in COMMUNICATION_PARTS else "" for part in SHARES}

#: (series, label, GPUs, speed-up, efficiency from 0 to 1)
Point = tuple[str, str, int, float, float]


def scaling_chart(name: str, points: Sequence[Point], unit: str, what: str) -> Chart:
    """Speed-up beside efficiency against the GPU count. Lines join the points of one series; every point has a label.

    Points of one series on equally many GPUs are drawn as their median, with a bar from the lowest to the highest.
    """
    figure, axes = new_figure(1, 2, 9.6, 4.2)
    base = min(point[2] for point in points)
    merged = _merged(points)
    counts = sorted({point[2] for point in points})
    left, right = axes[0]
    span = np.array([counts[0], counts[-1]], dtype=float)
    left.plot(span, span / base, "--", color=palette.GREY, linewidth=1, label="ideal")
    right.axhline(PERCENT, linestyle="--", color=palette.GREY, linewidth=1)
    colours = colours_of([series for series, _ in merged])
    for axis, place, factor in ((left, 0, 1.0), (right, 1, PERCENT)):
        labels: list[tuple[float, float, str]] = []
        for number, (series, rows) in enumerate(merged):
            middle = np.array([row[2][place] for row in rows]) * factor
            low, high = (np.array([row[2 + side][place] for row in rows]) * factor for side in (1, 2))
            gpus = [row[1] for row in rows]
            axis.errorbar(
                gpus,
                middle,
                yerr=[middle - low, high - middle],
                fmt="os^Dvp*"[number % 7] + "-",
                color=colours[series],
                markersize=5,
                linewidth=1.3,
                capsize=2,
                label=chart_text(series, 40) if number < _MOST_SERIES else None,
            )
            labels += [(float(count), float(value), row[0]) for count, value, row in zip(gpus, middle, rows, strict=True)]
        _set_scale(axis, counts, is_log=place == 0)
        _label_points(axis, labels)
        axis.set_xlabel(f"{unit}s [count]")
    left.set(ylabel=f"speed-up [× {base} {unit}{'' if base == 1 else 's'}]", title=f"Speed-up of {what}")
    right.set(ylabel="efficiency [%]", title="Efficiency, all ranks counted")
    handles, names = left.get_legend_handles_labels()
    if len(merged) > _MOST_SERIES:
        names[-1] += f" and {len(merged) - _MOST_SERIES} more"
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)), fontsize=9)
    columns = ("label", "gpus", "speedup", "efficiency")
    drawn = {
        series: {column: [point[1 + place] for point in points if point[0] == series] for place, column in enumerate(columns)}
        for series in dict.fromkeys(point[0] for point in points)
    }
    return Chart(name, figure, f"Speed-up and efficiency of {what}", drawn)


def _merged(points: Sequence[Point]) -> list[tuple[str, list[tuple]]]:
    """Series with a row for each GPU count: label, count, median, lowest and highest (speed-up, efficiency)."""
    result = []
    for series in dict.fromkeys(point[0] for point in points):
        rows = []
        for gpus in sorted({point[2] for point in points if point[0] == series}):
            alike = [point for point in points if point[0] == series and point[2] == gpus]
            values = np.array([point[3:] for point in alike], dtype=float)
            label = alike[0][1] if len(alike) == 1 else f"{gpus} ({len(alike)} runs)"
            rows.append((label, gpus, np.median(values, axis=0), values.min(axis=0), values.max(axis=0)))
        result.append((series, rows))
    return result


def _set_scale(axis: Axes, counts: Sequence[int], *, is_log: bool) -> None:
    if counts[-1] > counts[0]:
        axis.set_xscale("log", base=2)
        axis.set_xlim(counts[0] / 1.25, counts[-1] * 1.6)
        if is_log:
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xlim(counts[0] * 0.6, counts[0] * 1.6)
    if not is_log or counts[-1] == counts[0]:
        axis.set_ylim(0, max(axis.get_ylim()[1], 1.0) * 1.08)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.xaxis.set_minor_locator(NullLocator())


def _label_points(axis: Axes, labels: Sequence[tuple[float, float, str]]) -> None:
    """Writes each label beside its point. Labels of one GPU count stand below each other."""
    to_axis = axis.transScale + axis.transLimits
    for gpus in sorted({label[0] for label in labels}):
        alike = [label for label in labels if label[0] == gpus]
        heights = [float(to_axis.transform((gpus, label[1]))[1]) for label in alike]
        for (_, value, text), height, own in zip(alike, spread(heights, 0.045), heights, strict=True):
            axis.annotate(
                chart_text(text, 24),
                (gpus, value),
                xytext=(8, (height - own) * 230),
                textcoords="offset points",
                fontsize=8,
                va="center",
                color="#333333",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75},
            )


def layout_series(row: StepRow, rows: Sequence[StepRow]) -> str:
    """The series of layouts of a step row. One rank alone begins the series that splits the passes, if there is one of its kind."""
    kind = f", {row.kind}" if row.kind else ""
    if row.gpus > 1:
        return f"cfg{row.layout.cfg} x ulysses{kind}" if row.layout.cfg else f"layout not recorded{kind}"
    alike = [other for other in rows if other.gpus > 1 and other.kind == row.kind]
    return layout_series(max(alike, key=lambda other: other.layout.cfg or 0), ()) if alike else f"one alone{kind}"


def parts_chart(rows: Sequence[StepRow], unit: str) -> Chart:
    """The GPU-seconds of a step by part, stacked: one bar for each row, MOST_BARS at most."""
    bars = [(f"{row.label}\n{row.name}", row.shares_gpu_s) for row in list(rows)[:MOST_BARS]]
    figure, axes = new_figure(1, 1, 9.6, 4.4)
    axis: Axes = axes[0][0]
    heights = {part: [values[part] for _, values in bars] for part in SHARES}
    stacked_bars(axis, [label for label, _ in bars], heights, colours=PART_COLOURS, hatches=PART_HATCHES)
    axis.set(ylabel=f"{unit}-seconds of a step [s]", title=f"Where the {unit}-seconds of a step go")
    axis.set_xlabel(f"run (its {unit}s) and layout")
    data = {"bar": {"label": [label for label, _ in bars]}, "gpu_seconds": dict(heights)}
    return Chart("parts", figure, f"{unit}-seconds of a step by part, stacked", data)


def communication_chart(rows: Sequence[StepRow], unit: str) -> Chart:
    """A step's share of communication and waiting, and the rate of sending during it. At most MOST_BARS rows."""
    figure, axes = new_figure(1, 2, 9.6, 3.9)
    left, right = axes[0]
    drawn = list(rows)[:MOST_BARS]
    labels = [row.label for row in drawn]
    shares = [PERCENT * row.communication_s / row.step_s for row in drawn]
    rates = [row.sent_bytes_per_s / GB for row in drawn]
    places = np.arange(len(drawn))
    left.bar(places, shares, width=0.6, color=palette.ORANGE)
    left.set(ylabel="share of a step [%]", title="Communication and waiting")
    right.bar(places, np.nan_to_num(rates), width=0.6, color=palette.GREEN)
    right.set(ylabel="sent by a rank [GB/s]", title="Rate while communicating")
    for axis in (left, right):
        set_bar_labels(axis, labels)
        narrow_bars(axis, len(labels))
        axis.set_xlabel(f"run (its {unit}s)")
    data = {"bar": {"label": [row.label for row in drawn], "share_percent": shares, "gb_per_s": rates}}
    return Chart("communication", figure, "Communication share and rate", data)


def steps_chart(rows: Sequence[StepRow]) -> Chart:
    """Every step's time, with a panel for each run, for the runs with the most steps. Colours show experts; warm-up is left out."""
    runs = _most_steps(rows)
    figure, axes = new_figure(len(runs), 1, 9.6, 0.8 + 2.0 * len(runs))
    data: dict[str, dict[str, list]] = {}
    for axis, (run, of_run) in zip(axes[:, 0], runs, strict=True):
        highest = 0.0
        for key, row in zip(row_keys(of_run), of_run, strict=True):
            times = step_times(row.rank_steps)
            highest = max(highest, float(times["wall_s"].max()))
            for expert, colour in palette.EXPERT_COLOURS.items():
                of_expert = times[times["expert"] == expert]
                if of_expert.empty:
                    continue
                start_s, wall_s = thinned(of_expert["start_s"].to_numpy(float), of_expert["wall_s"].to_numpy(float))
                axis.plot(
                    start_s,
                    wall_s,
                    ".",
                    markersize=4,
                    color=colour,
                    rasterized=len(start_s) > MOST_POINTS // 2,
                    label=expert.replace("_", " "),
                )
                data[f"{key}/{expert}"] = {"start_s": start_s.tolist(), "wall_s": wall_s.tolist()}
        axis.set_ylim(0, 1.12 * highest)
        axis.set(ylabel="time of a step [s]")
        for place, time_s in enumerate(_switch_times_s(of_run)):
            axis.axvline(time_s, color=palette.BLACK, linewidth=0.8, linestyle=":", label="" if place else "expert switch")
        axis.set_title(f"run {chart_text(run.label)}: " + chart_text("; ".join(dict.fromkeys(row.name for row in of_run)), 90))
        unique = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        axis.legend(unique.values(), unique.keys(), loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1, 0].set_xlabel("time since the run began [s]")
    return Chart("steps", figure, "Time of every step, by expert", data)


def _switch_times_s(rows: Sequence[StepRow]) -> list[float]:
    """Start times of the first steps of another expert than before, if an item has both. Empty if there are too many to be drawn."""
    times = pd.concat([step_times(row.rank_steps) for row in rows]).sort_values(["group", "item", "step"])
    alike = (times[["group", "item"]] == times[["group", "item"]].shift()).all(axis=1)
    found = times.loc[alike & (times["expert"] != times["expert"].shift()), "start_s"]
    return found.tolist() if len(found) <= _MOST_SWITCHES else []


def _most_steps(rows: Sequence[StepRow]) -> list[tuple[Run, list[StepRow]]]:
    runs = list(dict.fromkeys(row.run for row in rows))
    of_run = [(run, [row for row in rows if row.run is run]) for run in runs]
    chosen = sorted(of_run, key=lambda entry: -sum(row.steps for row in entry[1]))[:MOST_PANELS]
    return [entry for entry in of_run if entry in chosen]
