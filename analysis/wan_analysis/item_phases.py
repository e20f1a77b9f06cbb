"""Seconds that the phases of an item take once a run is warm: figures for the planner of wan_batch."""

from __future__ import annotations

from wan_analysis.step_table import StepRow

#: The phases that the planner has a figure for. Videos are written by a thread beside the next item.
PHASES = ("text", "encode", "decode", "write")


def item_phases_s(row: StepRow) -> dict[str, float]:
    """Seconds of each phase of the items of the row's size: those of the slowest rank, the median over the items.

    A group's first item is left out if it made others: it reads weights and warms up. Empty for a team of several groups.
    """
    run = row.run
    if row.layout.ranks != run.group_size:
        return {}
    phases = run.phases
    chosen = phases[(phases["item"] >= 0) & ~phases["assumed"] & phases["phase"].isin(PHASES)
                    & (phases[["width", "height", "frames"]] == list(row.work.size)).all(axis=1)]
    if chosen.empty:
        return {}
    first = chosen.groupby("group")["item"].transform("min")
    several = chosen.groupby("group")["item"].transform("nunique") > 1
    chosen = chosen[~(several & (chosen["item"] == first))]
    of_rank = chosen.groupby(["phase", "group", "item", "world_rank"])["wall_s"].sum()
    of_item = of_rank.groupby(["phase", "group", "item"]).max()
    seconds = {str(phase): float(value) for phase, value in of_item.groupby("phase").median().items()}
    if "write" not in seconds and not row.figures.is_benchmark:
        seconds.pop("decode", None)  # version 0.1.0 wrote the video within this phase
    return seconds
