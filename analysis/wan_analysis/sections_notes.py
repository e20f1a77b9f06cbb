"""The page's tables of what the program itself said at the end of a run: its figures, and its notes. docs/trace.md explains them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wan_analysis.blocks import Block, Cell, Heading, Table, note, number
from wan_analysis.run import Run
from wan_analysis.sections import PERCENT, limited
from wan_analysis.texts import printable

#: A note's text is cut after so many letters.
_MOST_LETTERS = 300


def notes_section(runs: Sequence[Run], unit: str) -> list[Block]:
    """The notes of every run: one change each, with its estimated gain."""
    found = [(run, row) for run in runs for row in run.notes.itertuples()]
    if not found:
        return []
    shown, more = limited("notes", found)
    places: dict[str, int] = {}
    rows: list[list[Cell]] = []
    for run, row in shown:
        place = places[run.name] = places.get(run.name, -1) + 1
        key = f"notes/{run.name}/{place}"
        rows.append([run.label, printable(row.text, _MOST_LETTERS), number(f"{key}/share_percent", PERCENT * row.share),
                     number(f"{key}/gain_percent", PERCENT * row.gain)])
    percent = f"% of its {unit}-seconds"
    return [
        Heading("What would make it faster"),
        Table([("run", unit + "s"), ("note", ""), ("about", percent), ("saves about", percent)], rows),
        *more,
        note("As the program found them at the end of each run. A note is silent below its threshold (docs/trace.md). The savings are "
             "estimates, and do not add up."),
    ]


def gain_section(runs: Sequence[Run], unit: str) -> list[Block]:
    """The yield of an hour of a rank in each run, as the program counted it. Runs of earlier formats have no row."""
    told = [run for run in runs if math.isfinite(run.figure("idle_share"))]
    if not told:
        return []
    shown, more = limited("hour", told)
    rows: list[list[Cell]] = []
    for run in shown:
        key = f"hour/{run.name}"
        rows.append([run.label, number(f"{key}/items_made", run.figure("items_made")),
                     number(f"{key}/idle_percent", PERCENT * run.figure("idle_share")),
                     number(f"{key}/items_per_rank_hour", run.figure("items_per_rank_hour")),
                     number(f"{key}/video_s_per_rank_hour", run.figure("video_s_per_rank_hour")),
                     number(f"{key}/wh_per_item", run.figure("wh_per_item"))])
    header = [("run", unit + "s"), ("items", "finished or drafted"), ("idle", f"% of its {unit}-seconds"),
              ("items", f"per {unit}-hour"), ("video", f"s per {unit}-hour"), ("energy", "Wh per item")]
    return [
        Heading(f"What a {unit}-hour brought"),
        Table(header, rows),
        *more,
        note("Idle: in none of text, image, encode, steps and decode, as the account of a Slurm job counts it; the factors above count "
             "only the phase idle. Energy: of GPUs whose power is known."),
    ]
