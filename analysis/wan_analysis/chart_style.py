"""Settings of all charts: their look, their size, and how many points they draw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wan_analysis import palette
from wan_analysis.texts import chart_text

#: A chart draws this many bars at most, panels at most, and points of a line at most.
MOST_BARS = 16
MOST_PANELS = 4
MOST_POINTS = 600

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
}


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of inches, and its axes [rows, columns]."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def stacked_bars(
    axis: Axes, labels: Sequence[str], heights: dict[str, list[float]], *, colours: dict[str, str], hatches: dict[str, str] | None = None
) -> None:
    """One bar for each label, stacked from `heights`, with a legend beside it in the order of the stack."""
    bottom, places = np.zeros(len(labels)), np.arange(len(labels))
    for name, values in heights.items():
        drawn = np.nan_to_num(np.array(values, dtype=float))
        if not drawn.any():
            continue
        axis.bar(
            places,
            drawn,
            bottom=bottom,
            width=0.62,
            color=colours[name],
            hatch=(hatches or {}).get(name, ""),
            edgecolor="white",
            linewidth=0.5,
            label=chart_text(name.replace("_", " ")),
        )
        bottom += drawn
    set_bar_labels(axis, labels)
    narrow_bars(axis, len(labels))
    handles, names = axis.get_legend_handles_labels()
    if handles:
        axis.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))


def narrow_bars(axis: Axes, count: int) -> None:
    """Leaves room beside few bars, so that one bar does not fill the chart."""
    room = max(4 - count, 0) * 0.6
    axis.set_xlim(-0.6 - room, count - 0.4 + room)


def set_bar_labels(axis: Axes, labels: Sequence[str]) -> None:
    """Labels below the bars, turned if they would lie over each other."""
    longest = max((len(line) for label in labels for line in label.split("\n")), default=0)
    is_crowded = longest * len(labels) > 75
    shown = ["\n".join(chart_text(line, 34) for line in label.split("\n")) for label in labels]
    axis.set_xticks(
        np.arange(len(labels)),
        shown,
        rotation=35 if is_crowded else 0,
        ha="right" if is_crowded else "center",
        fontsize=8 if is_crowded else 9,
    )
    axis.grid(visible=False, axis="x")


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name; they repeat after the palette's end."""
    return {name: palette.SERIES[place % len(palette.SERIES)] for place, name in enumerate(names)}


def thinned(times: np.ndarray, values: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Points in order of time; of more than `most`, the smallest and the largest value of each of many equal pieces of time."""
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    if len(times) <= most:
        return times, values
    pieces = np.array_split(np.arange(len(times)), most // 2)
    chosen = np.unique([place for piece in pieces for place in (piece[np.argmin(values[piece])], piece[np.argmax(values[piece])])])
    return times[chosen], values[chosen]


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights of labels near the given ones, at least `gap` apart."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    result = [float(height) for height in heights]
    for before, place in pairwise(order):
        result[place] = max(result[place], result[before] + gap)
    shift = sum(height - here for height, here in zip(heights, result, strict=True)) / len(result) if result else 0.0
    return [height + shift for height in result]
