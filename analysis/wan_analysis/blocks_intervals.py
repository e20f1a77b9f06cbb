"""Figures with intervals on a page: "25.4 [25.1, 25.9]", and tables whose rows are starts made into tables whose rows are cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wan_analysis.blocks import Block, Cell, Number, Table, count, note, number
from wan_analysis.intervals import Interval, median_interval
from wan_analysis.repetitions import Case
from wan_analysis.texts import listed

#: Differing names and whole numbers of the starts of one row: so many are listed.
_MOST_LISTED = 3

BRACKETS = "Medians over the starts; brackets hold the 95 % interval of the median (with fewer than 6 starts: the least and the greatest)."


def figure(key: str, interval: Interval, digits: int = 4) -> tuple[Number | str, ...]:
    """The median, and its interval in brackets unless there is none or all values are equal. Keys: `key`, `key`/low, `key`/high."""
    middle = number(key, interval.median, digits)
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)) or interval.low == interval.high:
        return (middle,)
    return middle, " [", number(f"{key}/low", interval.low, digits), ", ", number(f"{key}/high", interval.high, digits), "]"


def starts_cell(key: str, case: Case) -> tuple[Number | str, ...]:
    """"4 (6 starts)"; the number of starts has the key `key`/starts."""
    made = len(case.starts)
    return f"{case.gpus} (", count(f"{key}/starts", made), f" start{'' if made == 1 else 's'})"


def by_case(blocks: Sequence[Block], cases: Sequence[Case]) -> list[Block]:
    """The same blocks; in tables whose first column is a run, all starts of a case are one row with medians and intervals.

    The key of a figure holds the case's name in the place of the run's.
    """
    homes = {one.label: (case, one.name) for case in cases for one in case.starts}
    return [_merged(block, homes) if isinstance(block, Table) and block.header[0][0] == "run" else block for block in blocks]


def _merged(table: Table, homes: Mapping[str, tuple[Case, str]]) -> Table:
    groups: dict[tuple, list[tuple[str, Sequence[Cell]]]] = {}
    for row in table.rows:
        case, name = homes.get(str(row[0]), (None, ""))
        texts = tuple(cell for cell in row[1:] if isinstance(cell, str))
        groups.setdefault((case.name if case else row[0], texts), []).append((name, row))
    rows: list[list[Cell]] = []
    for found in groups.values():
        case = homes[str(found[0][1][0])][0] if str(found[0][1][0]) in homes else None
        if case is None:
            rows += [list(row) for _, row in found]
        else:
            rows.append(_row(case, found))
    return Table(table.header, rows)


def _row(case: Case, found: Sequence[tuple[str, Sequence[Cell]]]) -> list[Cell]:
    columns = [[_renamed(cell, name, case.name) for cell in cells]
               for cells, name in ((row, name) for name, row in found)]
    key = next((_key(cell) for cell in columns[0][1:] if _key(cell)), f"case/{case.name}")
    first = starts_cell(key.rsplit("/", 1)[0], case)
    return [first, *(_together(list(cells)) for cells in list(zip(*columns, strict=True))[1:])]


def _key(cell: Cell) -> str:
    parts = cell if isinstance(cell, tuple) else (cell,)
    return next((part.key for part in parts if isinstance(part, Number)), "")


def _renamed(cell: Cell, old: str, new: str) -> Cell:
    if isinstance(cell, tuple):
        return tuple(part if isinstance(part, str) else _with_key(part, old, new) for part in cell)
    return cell if isinstance(cell, str) else _with_key(cell, old, new)


def _with_key(part: Number, old: str, new: str) -> Number:
    return Number(part.key.replace(f"/{old}/", f"/{new}/", 1), part.value, part.text)


def _together(cells: Sequence[Cell]) -> Cell:
    """One cell for those of all starts."""
    first = cells[0]
    if isinstance(first, str):
        return first
    if isinstance(first, tuple):
        parts = zip(*(cell if isinstance(cell, tuple) else (cell,) for cell in cells), strict=True)
        made: list[Number | str] = []
        for part in parts:
            one = part[0] if isinstance(part[0], str) else _numbers([entry for entry in part if isinstance(entry, Number)])
            made += list(one) if isinstance(one, tuple) else [one]
        return tuple(made)
    return _numbers([cell for cell in cells if isinstance(cell, Number)])


def _numbers(entries: Sequence[Number]) -> Cell:
    if all(entry.text == str(int(entry.value)) if entry.is_known else True for entry in entries) and _are_whole(entries):
        values = sorted({int(entry.value) for entry in entries if entry.is_known})
        return entries[0] if len(values) < 2 else listed([str(value) for value in values], _MOST_LISTED)
    found = median_interval([entry.value for entry in entries])
    digits = max(3, max(sum(letter.isdigit() for letter in entry.text.lstrip("-0.")) for entry in entries))
    return figure(entries[0].key, found, min(digits, 4)) if found.n else entries[0]


def _are_whole(entries: Sequence[Number]) -> bool:
    return all(entry.value.is_integer() for entry in entries if entry.is_known)


def brackets_note() -> Block:
    """The meaning of the brackets on a page."""
    return note(BRACKETS)
