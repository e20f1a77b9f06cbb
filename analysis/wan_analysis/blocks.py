"""The pieces of a page: sentences, lists, tables and charts. html_page.py shows them, json_page.py stores their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from wan_analysis.texts import printable

#: Keys hold names of runs, which files choose.
MOST_KEY_LETTERS = 300
#: A value nearer to 0 is shown as 0; one with more places behind the point is shown with an exponent.
_SMALLEST, _MOST_PLACES = 5e-10, 7


@dataclass(frozen=True)
class Number:
    """A number on the page: `key` names it, `value` is exact, `text` is shown."""

    key: str
    value: float
    text: str

    @property
    def is_known(self) -> bool:
        """An unknown value is shown as a dash, and has no key on the page."""
        return math.isfinite(self.value)


def number(key: str, value: float, digits: int = 3) -> Number:
    """Shows `digits` significant digits, but never cuts digits before the decimal point."""
    key, value = printable(key, MOST_KEY_LETTERS), float(value)
    if not math.isfinite(value):
        return Number(key, value, "–")
    if abs(value) < _SMALLEST:
        return Number(key, value, f"{0:.{digits - 1}f}")
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return Number(key, value, f"{value:.{places}f}" if places < _MOST_PLACES else f"{value:.{digits - 1}e}")


def count(key: str, value: int) -> Number:
    """A whole number."""
    return Number(printable(key, MOST_KEY_LETTERS), float(value), str(int(value)))


#: The content of one cell; a tuple stands for its parts one behind the other.
Cell = Number | str | tuple["Number | str", ...]


@dataclass(frozen=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True)
class Sentence:
    """Text with numbers in it. `kind`: "" or "note" or "lead"."""

    parts: tuple[Number | str, ...]
    kind: str = ""


def sentence(*parts: Number | str, kind: str = "") -> Sentence:
    """A paragraph."""
    return Sentence(parts, kind)


def note(*parts: Number | str) -> Sentence:
    """A paragraph that explains a table or a chart."""
    return Sentence(parts, "note")


@dataclass(frozen=True)
class Listing:
    """Paragraphs one below the other. `kind`: "problems" or "answers"."""

    entries: tuple[Sentence, ...]
    kind: str


@dataclass(frozen=True)
class Table:
    """`header` contains (title, unit)."""

    header: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Chart:
    """A figure with the data that it draws: name of a series -> name of a column -> values."""

    name: str
    figure: Figure
    description: str
    data: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of the chart on the page and in the JSON file."""
        return f"chart/{self.name}"


Block = Heading | Sentence | Listing | Table | Chart


def numbers_of(blocks: Sequence[Block]) -> Iterator[Number]:
    """Every number of a page, in the order in which they stand there. Unknown ones are left out."""
    for block in blocks:
        if isinstance(block, Listing):
            yield from numbers_of(block.entries)
            continue
        cells: list[Number | str] = []
        if isinstance(block, Sentence):
            cells = list(block.parts)
        elif isinstance(block, Table):
            cells = [part for row in block.rows for cell in row for part in (cell if isinstance(cell, tuple) else (cell,))]
        yield from (cell for cell in cells if isinstance(cell, Number) and cell.is_known)


def charts_of(blocks: Sequence[Block]) -> list[Chart]:
    """Every chart of a page."""
    return [block for block in blocks if isinstance(block, Chart)]
