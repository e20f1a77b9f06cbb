"""Charts of a study with repetitions: every start as a point, medians with their intervals, and scaling with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wan_analysis import palette
from wan_analysis.blocks import Chart
from wan_analysis.chart_style import colours_of, new_figure
from wan_analysis.intervals import Interval
from wan_analysis.repetitions import Case, items_per_hour, speed_of, step_s
from wan_analysis.texts import chart_text

#: (series, label, GPUs, speed-up, efficiency from 0 to 1)
IntervalPoint = tuple[str, str, int, Interval, Interval]
#: Panels of the chart of distributions: one for each case, at most so many.
_MOST_CASES = 24


def distribution_chart(cases: Sequence[Case]) -> Chart:
    """The value of every start relative to its case's median, in the order of time from left to right, and the median's interval."""
    shown = list(cases)[:_MOST_CASES]
    figure, axes = new_figure(1, 1, 9.6, max(2.2, 0.42 * len(shown) + 1.2))
    axis = axes[0][0]
    drawn: dict[str, dict[str, list]] = {}
    for place, case in enumerate(shown):
        values = case.values(step_s if case.first.is_benchmark else items_per_hour)
        found = speed_of(case)
        drawn[case.name] = {"value": values, "median": [found.median], "low": [found.low], "high": [found.high]}
        if not found.n or not found.median:
            continue
        percent = 100.0 * (np.array(values) / found.median - 1.0)
        axis.plot(percent, place + np.linspace(-0.22, 0.22, len(percent)), "o", markersize=3.5, color=palette.BLUE, alpha=0.7)
        if found.low == found.low:
            ends = [100.0 * (end / found.median - 1.0) for end in (found.low, found.high)]
            axis.plot(ends, [place, place], "-", color=palette.VERMILION, linewidth=2)
        axis.plot([0.0], [place], "|", markersize=14, color=palette.VERMILION)
    axis.axvspan(-1.0, 1.0, color="#eeeeee", zorder=0)
    axis.set_yticks(range(len(shown)), [chart_text(f"{case.name} ({len(case.starts)})", 60) for case in shown])
    axis.set_ylim(len(shown) - 0.5, -0.5)
    title = "Every start: median step (wan_bench) or items per hour (wan_batch)"
    axis.set(xlabel="start against the case's median [%]", title=title)
    what = "Values of all starts by case; a bar is the 95 % interval of the median, the grey band ±1 %"
    return Chart("distributions", figure, what, drawn)


def interval_scaling_chart(name: str, points: Sequence[IntervalPoint], unit: str, what: str) -> Chart:
    """Speed-up beside efficiency against the GPU count. Lines join the medians of one series; bars are 95 % intervals."""
    figure, axes = new_figure(1, 2, 9.6, 4.2)
    left, right = axes[0]
    counts = sorted({point[2] for point in points})
    base = counts[0]
    span = np.geomspace(counts[0], counts[-1], 50)
    left.plot(span, span / base, "--", color=palette.GREY, linewidth=1, label="ideal")
    right.axhline(100.0, linestyle="--", color=palette.GREY, linewidth=1)
    series = list(dict.fromkeys(point[0] for point in points))
    colours = colours_of(series)
    drawn: dict[str, dict[str, list]] = {}
    for number, one in enumerate(series):
        rows = sorted((point for point in points if point[0] == one), key=lambda point: point[2])
        gpus = [row[2] for row in rows]
        drawn[one] = {"label": [row[1] for row in rows], "gpus": gpus}
        for axis, place, factor, column in ((left, 3, 1.0, "speedup"), (right, 4, 100.0, "efficiency")):
            middle, low, high = (np.array([getattr(row[place], side) for row in rows]) for side in ("median", "low", "high"))
            drawn[one] |= {column: middle.tolist(), f"{column}_low": low.tolist(), f"{column}_high": high.tolist()}
            bars = np.nan_to_num(np.array([middle - low, high - middle])) * factor
            # A line between two points on equally many GPUs would join no trend.
            joins = "-" if len(set(gpus)) == len(gpus) else ""
            axis.errorbar(gpus, middle * factor, yerr=bars, fmt="os^Dvp*"[number % 7] + joins, color=colours[one], markersize=5,
                          linewidth=1.3, capsize=2, label=chart_text(one, 40))
    for axis in (left, right):
        if counts[-1] > counts[0]:
            axis.set_xscale("log", base=2)
        axis.set_xticks(counts, [str(value) for value in counts])
        axis.minorticks_off()
        axis.set_xlabel(f"{unit}s [count]")
        axis.set_ylim(bottom=0)
    left.set(ylabel=f"speed-up [× {base} {unit}{'' if base == 1 else 's'}]", title=f"Speed-up of {what}")
    right.set(ylabel="efficiency [%]", title="Efficiency, all ranks counted")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)), fontsize=9)
    return Chart(name, figure, f"Speed-up and efficiency of {what}: medians of starts with 95 % intervals", drawn)
