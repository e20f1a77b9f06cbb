"""A small HTML writer. Every number in its tables has its full value and a name attached."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from wan_analysis.charts import STYLE

CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
       max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; background: #fff; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
p.lead { color: #555; margin-top: 0; } p.note { color: #555; font-size: .88rem; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .9rem; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: bottom; }
th { font-weight: 600; border-bottom: 2px solid #888; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
th small { font-weight: 400; color: #555; display: block; }
ul.problems { border-left: 4px solid #D55E00; background: #fdf3ea; padding: .7rem 1rem .7rem 2rem; }
figure { margin: .8rem 0; } figure img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; } code { font-size: .85rem; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Number:
    """A number on the page: `key` names it, `value` is exact, `text` is shown."""

    key: str
    value: float
    text: str

    def html(self) -> str:
        """``<data>`` contains both; an unknown value is shown as a dash."""
        if math.isnan(self.value):
            return "–"
        return f'<data value="{self.value!r}" data-key="{escape(self.key)}">{escape(self.text)}</data>'


def number(key: str, value: float, digits: int = 3) -> Number:
    """Shows `digits` significant digits, but never cuts digits before the decimal point."""
    value = float(value)
    if math.isnan(value):
        return Number(key, value, "–")
    places = digits - 1 - math.floor(math.log10(abs(value))) if value else digits - 1
    return Number(key, value, f"{value:.{min(max(places, 0), 9)}f}")


def count(key: str, value: int) -> Number:
    """A whole number."""
    return Number(key, float(value), str(int(value)))


Cell = Number | str


def table(header: Sequence[tuple[str, str]], rows: Sequence[Sequence[Cell]]) -> str:
    """`header` contains (title, unit). A column is set as numbers if its first cell is a number."""
    kinds = [' class="n"' if rows and isinstance(cell, Number) else "" for cell in (rows[0] if rows else header)]
    head = "".join(
        f"<th{kind}>{escape(title)}{f' <small>{escape(unit)}</small>' if unit else ''}</th>"
        for (title, unit), kind in zip(header, kinds, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def _cell(cell: Cell) -> str:
    return cell.html() if isinstance(cell, Number) else escape(cell)


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as "svg" or "png"; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": "wan_analysis"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=130, metadata=metadata)
    return buffer.getvalue()


def figure_html(figure: Figure, description: str) -> str:
    """The figure, embedded in the page, so that the page loads nothing."""
    svg = base64.b64encode(figure_bytes(figure, "svg")).decode("ascii")
    return f'<figure><img alt="{escape(description)}" src="data:image/svg+xml;base64,{svg}"></figure>\n'


def page(title: str, body: str) -> str:
    """A whole page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}</body></html>\n"
    )
