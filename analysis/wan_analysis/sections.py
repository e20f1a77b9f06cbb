"""The page's tables about scaling, throughput and steps. Each function returns blocks; an empty list is no section."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from wan_analysis.blocks import Block, Cell, Heading, Table, count, note, number, sentence
from wan_analysis.efficiency import ANY_FRAMES, Scaled, ScalingTable, Throughput
from wan_analysis.step_table import BETWEEN, SHARES, StepRow, StepTable, row_keys
from wan_analysis.texts import plural

GB = 1e9
PERCENT = 100.0
PFLOP = 1e15
#: A table with more rows than this shows one row for all that are alike, or the first ones and how many more there are.
MOST_ROWS = 24

Row = TypeVar("Row")


_is_unlimited: ContextVar[bool] = ContextVar("_is_unlimited", default=False)


@contextmanager
def all_rows() -> Iterator[None]:
    """Within it, tables are not cut: their rows will be put together by case."""
    token = _is_unlimited.set(True)
    try:
        yield
    finally:
        _is_unlimited.reset(token)


def most_rows() -> int:
    """How many rows a table may have."""
    return sys.maxsize if _is_unlimited.get() else MOST_ROWS


def limited(name: str, rows: Sequence[Row], most: int = MOST_ROWS) -> tuple[Sequence[Row], list[Block]]:
    """The first rows, and a sentence that counts the others."""
    if _is_unlimited.get():
        return rows, []
    if len(rows) <= most:
        return rows, []
    return rows[:most], [note(count(f"{name}/hidden", len(rows) - most), " more rows are not shown; export --csv has all of them.")]


def alike(rows: Sequence[Row], key: Callable[[Row], tuple]) -> list[list[Row]]:
    """Rows in groups of equal `key`, in the order of their first ones."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def scaling_section(table: ScalingTable, name: str, title: str, unit: str) -> list[Block]:
    """One table of runs against their base. `name` is the first part of its keys."""
    if not table.rows:
        return []
    if table.equal == ANY_FRAMES:
        amount, of_unit, scale = "work", "PFLOP", PFLOP
    else:
        amount, of_unit, scale = "items", "finished", 1.0
    base = table.base
    lead = sentence(
        "Base: run ",
        base.figures.label,
        " on ",
        count(f"base/{name}/gpus", base.figures.gpus),
        f" {unit}{'' if base.figures.gpus == 1 else 's'} (",
        base.figures.division,
        "), ",
        number(f"base/{name}/seconds", base.seconds, 4),
        " s for ",
        number(f"base/{name}/amount", base.amount / scale, 4) if scale != 1.0 else count(f"base/{name}/amount", int(base.amount)),
        f" {of_unit} of operations." if scale != 1.0 else f" item{'' if base.amount == 1 else 's'}.",
    )
    if len(table.rows) > MOST_ROWS:
        body = _scaling_summary(table, name, unit)
    else:
        header = [
            ("run", unit + "s"),
            (unit + "s", "all of the start"),
            ("groups", "count"),
            ("layout", ""),
            (amount, of_unit),
            ("time", "s"),
            ("speed-up", "× base"),
            ("efficiency", "%"),
            ("time", "s, with start and load"),
            ("efficiency", "%, with start and load"),
        ]
        rows = [_scaling_row(row, f"{name}/{row.figures.name}", scale) for row in table.rows]
        body = Table(header, rows)
    return [
        Heading(title),
        lead,
        body,
        note(
            "Time: from the first item's start to the last item's end (of wan_bench: of its measured steps). Speed-up: "
            "work over time, over that "
            f"of the base. Efficiency: speed-up over the ratio of {unit}s; idle ones count. Start and load: from the end of "
            "MPI_Init; what lies "
            "before it is not in a trace."
        ),
    ]


def _scaling_row(row: Scaled, key: str, scale: float) -> list[Cell]:
    figures = row.figures
    amount = number(f"{key}/work_pflop", row.amount / scale, 4) if scale != 1.0 else count(f"{key}/items", int(row.amount))
    return [
        figures.label,
        count(f"{key}/gpus", figures.gpus),
        count(f"{key}/groups", figures.groups),
        _layouts(figures.division, figures.groups),
        amount,
        number(f"{key}/seconds", row.seconds, 4),
        number(f"{key}/speedup", row.speedup),
        number(f"{key}/efficiency_percent", PERCENT * row.efficiency),
        number(f"{key}/seconds_with_load", row.seconds_with_load, 4),
        number(f"{key}/efficiency_with_load_percent", PERCENT * row.efficiency_with_load),
    ]


def _layouts(division: str, groups: int) -> str:
    return division.split(" groups of ", 1)[-1] if groups > 1 else division


def _scaling_summary(table: ScalingTable, name: str, unit: str) -> Table:
    rows: list[list[Cell]] = []
    for place, group in enumerate(alike(table.rows, lambda row: (row.figures.gpus, row.series))):
        key = f"{name}/summary/{place}"
        values = [PERCENT * row.efficiency for row in group]
        rows.append(
            [
                group[0].series,
                count(f"{key}/gpus", group[0].figures.gpus),
                count(f"{key}/runs", len(group)),
                number(f"{key}/seconds", _median([row.seconds for row in group]), 4),
                number(f"{key}/speedup", _median([row.speedup for row in group])),
                number(f"{key}/efficiency_percent", _median(values)),
                number(f"{key}/lowest_percent", min(values)),
                number(f"{key}/highest_percent", max(values)),
            ]
        )
    return Table(
        [
            ("series", ""),
            (unit + "s", "count"),
            ("runs", "count"),
            ("time", "s, median"),
            ("speed-up", "× base, median"),
            ("efficiency", "%, median"),
            ("lowest", "%"),
            ("highest", "%"),
        ],
        rows,
    )


def throughput_section(rows: Sequence[Throughput], unit: str) -> list[Block]:
    """Items per hour of runs with one or several groups."""
    if not rows:
        return []
    shown, more = limited("throughput", sorted(rows, key=lambda row: -row.figures.work.count) if len(rows) > most_rows() else rows)
    cells: list[list[Cell]] = []
    for row in shown:
        key, figures = f"throughput/{row.figures.name}", row.figures
        cells.append(
            [
                figures.label,
                count(f"{key}/groups", figures.groups),
                number(f"{key}/traced_percent", PERCENT * figures.traced_share),
                _layouts(figures.division, figures.groups),
                count(f"{key}/items", figures.work.count),
                number(f"{key}/interval_s", figures.item_interval_s),
                number(f"{key}/denoise_s", figures.phase_seconds.get("denoise", float("nan"))),
                number(f"{key}/items_per_hour", row.items_per_hour),
                number(f"{key}/all_groups_per_hour", row.all_groups_per_hour),
                number(f"{key}/gpu_s_per_item", row.gpu_s_per_item),
            ]
        )
    header = [
        ("run", unit + "s"),
        ("groups", "count"),
        ("groups with a trace", "%"),
        ("layout", ""),
        ("items", "finished"),
        ("an item every", "s, in a group"),
        ("of it denoising", "s"),
        ("rate", "items/h, groups with a trace"),
        ("rate", "items/h, if all groups do as well"),
        (f"{unit}-seconds", "per item"),
    ]
    return [
        Heading("Throughput"),
        Table(header, cells),
        *more,
        note(
            "An item every: mean time from one item's end to the next one's in a group. Denoising: mean without a group's "
            "first item. The rate "
            "counts from the first item's start to the last item's end; loading the weights is left out."
        ),
    ]


def step_sections(tables: Sequence[StepTable], unit: str) -> list[Block]:
    """How steps of equal work scale over layouts: one table for each work."""
    blocks: list[Block] = []
    every = [row for table in tables for row in table.rows]
    keys = dict(zip(map(id, every), row_keys(every), strict=True))
    for table in tables[:MOST_ROWS]:
        header = [
            ("run", unit + "s"),
            ("layout", ""),
            (unit + "s", "of a team"),
            ("teams", "count"),
            ("steps", "count"),
            ("step", "s, mean"),
            ("median", "s"),
            ("fastest", "s"),
            ("slowest", "s"),
            (f"{unit}-seconds", "per step"),
            ("speed-up", "× base"),
            ("efficiency", "%"),
        ]
        base = table.base
        name = f"base/steps/{tables.index(table)}"
        lead = sentence(
            str(table.work),
            ". Base: ",
            base.name,
            " of run ",
            base.run.label,
            ", ",
            number(f"{name}/step_s", base.step_s, 4),
            " s a step on ",
            count(f"{name}/gpus", base.gpus),
            f" {plural(base.gpus, unit).split(' ', 1)[1]}.",
        )
        shown, more = limited(f"steps/{tables.index(table)}", table.rows)
        rows = [_step_row(f"steps/{keys[id(row)]}", row) for row in shown]
        blocks += [lead, Table(header, rows), *more]
    if not blocks:
        return []
    return [
        Heading("Strong scaling of a step"),
        *blocks,
        note(
            "Steps without warm-up. A step lasts from the first rank's start to the last one's end. Steps of groups that "
            "joined count for the "
            f"layout of their team. Efficiency: {unit}-seconds of a step on the base, over those here."
        ),
    ]


def _step_row(key: str, row: StepRow) -> list[Cell]:
    return [
        row.label,
        row.name,
        count(f"{key}/gpus", row.gpus),
        count(f"{key}/teams", row.teams),
        count(f"{key}/count", row.steps),
        number(f"{key}/step_s", row.step_s, 4),
        number(f"{key}/median_s", row.median_s, 4),
        number(f"{key}/fastest_s", row.fastest_s, 4),
        number(f"{key}/slowest_s", row.slowest_s, 4),
        number(f"{key}/gpu_s", row.gpu_s, 4),
        number(f"{key}/speedup", row.speedup),
        number(f"{key}/efficiency_percent", PERCENT * row.efficiency),
    ]


def parts_section(rows: Sequence[StepRow], unit: str) -> list[Block]:
    """The GPU-seconds of a step by part, and what its communication reached."""
    if not rows:
        return []
    shown, more = limited("parts", rows)
    parts: list[list[Cell]] = []
    links: list[list[Cell]] = []
    for key, row in zip(row_keys(rows), shown, strict=False):
        shares = row.shares_gpu_s
        parts.append(
            [
                row.label,
                row.name,
                *(number(f"parts/{key}/{part}", shares[part]) for part in SHARES),
                number(f"parts/{key}/sum", sum(shares.values()), 4),
            ]
        )
        links.append(
            [
                row.label,
                row.name,
                number(f"communication/{key}/seconds", row.communication_s),
                number(f"communication/{key}/share_percent", PERCENT * row.communication_s / row.step_s),
                number(f"communication/{key}/sent_gb", row.sent_bytes / GB),
                number(f"communication/{key}/achieved_gb_per_s", row.sent_bytes_per_s / GB),
            ]
        )
    header = [
        ("run", unit + "s"),
        ("layout", ""),
        *((part.replace("_", " "), f"{unit}-s") for part in SHARES),
        ("step", f"{unit}-s, in all"),
    ]
    measured = "on the GPU" if rows[0].run.has_gpu_times else "by the host"
    blocks: list[Block] = [
        Heading("A step by part"),
        Table(header, parts),
        *more,
        note(
            f'{unit}-seconds of one step, measured {measured}: seconds times {unit}s, so what more {unit}s cost is visible. '
            '"Wait" is the exchange '
            f'of the two guidance passes; "other" is the rest of the step; "{BETWEEN.replace("_", " ")}" is the time to the '
            'item\'s next step.'
        ),
    ]
    if any(row.gpus > 1 for row in shown):
        header = [
            ("run", unit + "s"),
            ("layout", ""),
            ("communication", "s per step"),
            ("share", "% of a step"),
            ("sent by a rank", "GB per step"),
            ("rate", "GB/s"),
        ]
        blocks += [
            Heading("Communication"),
            Table(header, links),
            note(
                "All to all, weight gather and wait, as far as computing does not hide them, mean over the ranks. It holds the "
                "waiting for slower "
                "ranks, too, which the factors show. The rate is bytes sent over this time: hidden transfers raise it above the link's."
            ),
        ]
    return blocks
