"""The chart of what each group did when, and where it was idle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from wan_analysis import palette
from wan_analysis.blocks import Chart
from wan_analysis.chart_style import MOST_PANELS, new_figure
from wan_analysis.run import Run
from wan_analysis.texts import chart_text

#: The kinds of work of a group, with the phases of its first rank and a colour. Time in none of them is idle.
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "start and load": (("start_up", "load"), palette.GREY),
    "text and image": (("text", "image", "encode"), palette.SKY_BLUE),
    "denoise": (("denoise",), palette.BLUE),
    "decode": (("decode",), palette.GREEN),
    "write and publish": (("write", "publish"), palette.ORANGE),
    "idle": ((), "#e6e6e6"),
}
IDLE = len(KINDS) - 1
#: A run has so many moments, and so many of its groups are shown.
MOMENTS, MOST_GROUPS = 600, 16


def timeline_chart(runs: Sequence[Run], unit: str) -> Chart:
    """For the runs with the most ranks: a row for each group, and below it a thin one for the threads that write its videos."""
    largest = sorted(runs, key=lambda run: -run.gpus)[:MOST_PANELS]
    drawn = [run for run in runs if run in largest]
    rows = [min(len(run.groups), MOST_GROUPS) for run in drawn]
    figure, axes = new_figure(len(drawn), 1, 9.6, 1.0 + sum(0.7 + 0.3 * count for count in rows))
    data: dict[str, dict[str, list[Any]]] = {}
    for axis, run in zip(axes[:, 0], drawn, strict=True):
        _draw(axis, run, data)
    handles = [Patch(facecolor=colour, label=name) for name, (_, colour) in KINDS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    axes[-1, 0].set_xlabel("time since the run began [s]")
    return Chart("timeline", figure, f"What each group of {unit}s did when, and where it was idle", data)


def _draw(axis: Axes, run: Run, data: dict[str, dict[str, list[Any]]]) -> None:
    groups = run.groups[:MOST_GROUPS]
    end_s = float(run.rank_spans["end_s"].max())
    edges = np.linspace(0.0, max(end_s, 1e-9), MOMENTS + 1)
    picture, labels = [], []
    for group in groups:
        of_rank = run.phases[run.phases["world_rank"] == group.leader]
        kinds = kinds_over_time(of_rank[~of_rank["background"]], edges)
        writing = kinds_over_time(of_rank[of_rank["background"]], edges)
        picture += [kinds] * 3 + [writing]
        labels.append(f"group {int(group.attributes['group'])}")
        data[f"{run.name}/{labels[-1]}"] = _segments(kinds, edges)
    axis.imshow(np.array(picture), aspect="auto", interpolation="nearest", extent=(0.0, float(edges[-1]), len(picture) / 4, 0.0),
                cmap=ListedColormap([colour for _, colour in KINDS.values()]), vmin=0, vmax=IDLE)
    axis.set_yticks(np.arange(len(groups)) + 0.5, labels)
    more = f", groups 0 to {MOST_GROUPS - 1} of {len(run.groups)}" if len(run.groups) > MOST_GROUPS else ""
    axis.set(title=f"run {chart_text(run.label)}{more}", ylabel="group [1]")
    axis.grid(visible=False)


def kinds_over_time(phases: pd.DataFrame, edges: np.ndarray) -> np.ndarray:
    """The kind (its place in KINDS) that fills most of each piece of time between two edges. `phases` are of one rank."""
    lengths = np.diff(edges)
    filled = np.zeros((len(KINDS), len(lengths)))
    for place, (names, _) in enumerate(KINDS.values()):
        rows = phases[phases["phase"].isin(names)]
        filled[place] = _overlap(rows["start_s"].to_numpy(float), rows["wall_s"].to_numpy(float), edges)
    filled[IDLE] = np.clip(lengths - filled[:IDLE].sum(axis=0), 0.0, None)
    return filled.argmax(axis=0)


def _overlap(starts_s: np.ndarray, walls_s: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Seconds of the intervals in each piece of time. Intervals that overlap count once each."""
    there = np.isfinite(starts_s) & (walls_s > 0)
    if not there.any():
        return np.zeros(len(edges) - 1)
    begins, ends = np.sort(starts_s[there]), np.sort((starts_s + walls_s)[there])
    # Before a moment t lie the sum of (t - begin) over all begins before it, less the same of the ends.
    before = np.concatenate([[0.0], np.cumsum(begins)]), np.concatenate([[0.0], np.cumsum(ends)])
    count_begun, count_ended = np.searchsorted(begins, edges), np.searchsorted(ends, edges)
    covered = (count_begun * edges - before[0][count_begun]) - (count_ended * edges - before[1][count_ended])
    return np.diff(covered)


def _segments(kinds: np.ndarray, edges: np.ndarray) -> dict[str, list[Any]]:
    """Pieces of time of one kind in a row, put together."""
    begins = np.flatnonzero(np.diff(kinds, prepend=-1))
    ends = np.append(begins[1:], len(kinds))
    names = list(KINDS)
    return {"start_s": edges[begins].tolist(), "end_s": edges[ends].tolist(), "what": [names[kind] for kind in kinds[begins]]}
