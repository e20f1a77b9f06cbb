"""A small HTML writer. Every number has its full value and a name attached, and every text from a file is escaped."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Sequence
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from wan_analysis.blocks import Block, Cell, Heading, Listing, Sentence, Table
from wan_analysis.chart_style import STYLE
from wan_analysis.texts import MOST_LETTERS, printable

#: An SVG that is larger is replaced by a PNG, if that is smaller. Letters are drawn as paths, which PNGs need not hold.
MOST_SVG_BYTES = 90_000
#: Texts of a column are not broken if all of them are this short.
_UNBROKEN = 44
_LONGEST_SENTENCE = 4000

CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
       max-width: 74rem; margin: 2rem auto; padding: 0 1.2rem; background: #fff; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
p.lead { color: #555; margin-top: 0; } p.note { color: #555; font-size: .88rem; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .9rem; }
th, td { padding: .22rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: bottom; }
th { font-weight: 600; border-bottom: 2px solid #888; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td { white-space: nowrap; } td.w { white-space: normal; min-width: 14rem; }
th small { font-weight: 400; color: #555; display: block; }
ul.problems { border-left: 4px solid #D55E00; background: #fdf3ea; padding: .7rem 1rem .7rem 2rem; }
ul.answers, ul.advice { border-left: 4px solid #0072B2; background: #eef5fa; padding: .7rem 1rem .7rem 2rem; font-size: 1.02rem; }
ul.answers li, ul.advice li { margin: .3rem 0; }
figure { margin: .8rem 0; } figure img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; } code { font-size: .85rem; overflow-wrap: anywhere; }
"""


def blocks_html(blocks: Sequence[Block]) -> str:
    """The body of a page."""
    return "".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h2>{_shown(block.text)}</h2>\n"
    if isinstance(block, Sentence):
        kind = f' class="{block.kind}"' if block.kind else ""
        return f"<p{kind}>{_parts(block)}</p>\n"
    if isinstance(block, Listing):
        lines = "".join(f"<li>{_parts(entry)}</li>\n" for entry in block.entries)
        return f'<ul class="{block.kind}">\n{lines}</ul>\n'
    if isinstance(block, Table):
        return table(block.header, block.rows)
    return figure_html(block.figure, block.description, block.key)


def _parts(entry: Sentence) -> str:
    return "".join(_cell(part, _LONGEST_SENTENCE) for part in entry.parts)


def table(header: Sequence[tuple[str, str]], rows: Sequence[Sequence[Cell]]) -> str:
    """`header` contains (title, unit). A column is set as numbers if its first cell is a number."""
    kinds = [_kind(row) for row in zip(*rows, strict=True)] if rows else [""] * len(header)
    head = "".join(
        f"<th{kind}>{_shown(title)}{f' <small>{_shown(unit)}</small>' if unit else ''}</th>"
        for (title, unit), kind in zip(header, kinds, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def _kind(column: Sequence[Cell]) -> str:
    """The class of a column: numbers, or long texts that may be broken."""
    if not isinstance(column[0], str):
        return ' class="n"'
    return ' class="w"' if any(len(str(cell)) > _UNBROKEN for cell in column) else ""


def _cell(cell: Cell, most: int = MOST_LETTERS) -> str:
    """``<data>`` contains a number's name, exact value and shown text."""
    if isinstance(cell, tuple):
        return "".join(_cell(part) for part in cell)
    if isinstance(cell, str):
        return _shown(cell, most)
    if not cell.is_known:
        return "–"
    return f'<data value="{cell.value!r}" data-key="{escape(cell.key)}">{escape(cell.text)}</data>'


def _shown(text: str, most: int = MOST_LETTERS) -> str:
    return escape(printable(text, most))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as "svg" or "png"; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": "wan_analysis"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a file's text may hold any letter
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=130, metadata=metadata)
    return _compact(buffer.getvalue().decode()).encode() if kind == "svg" else buffer.getvalue()


def _compact(svg: str) -> str:
    """The same drawing in two thirds of the bytes: hundredths of a point, and nothing that a browser leaves unread.

    Letters are whole numbers, which a scale makes small; no scale is rounded.
    """
    svg = re.sub(r"<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    for pattern in (r'(?<= d=")[^"]*', r'(?<= [xy]=")[^"]*', r"(?<=translate\()[^)]*"):
        svg = re.sub(pattern, lambda found: _hundredths(found.group()), svg)
    return re.sub(r">\s+<", "><", svg)


def _hundredths(numbers: str) -> str:
    """Coordinates with at most two places behind the point, without blanks that nothing needs."""
    short = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found.group()):.2f}".rstrip("0").rstrip("."), numbers)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", re.sub(r"\s+", " ", short)).strip()


def figure_html(figure: Figure, description: str, key: str = "") -> str:
    """The figure, embedded in the page, so that the page loads nothing: as SVG, or as PNG where that is much smaller."""
    kind, content = "svg+xml", figure_bytes(figure, "svg")
    if len(content) > MOST_SVG_BYTES:
        kind, content = min((("png", figure_bytes(figure, "png")), (kind, content)), key=lambda entry: len(entry[1]))
    data = base64.b64encode(content).decode("ascii")
    width = round(figure.get_figwidth() * 96)
    named = f' data-key="{_shown(key)}"' if key else ""
    return f'<figure{named}><img width="{width}" alt="{_shown(description)}" src="data:image/{kind};base64,{data}"></figure>\n'


def page(title: str, body: str) -> str:
    """A whole page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_shown(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>\n'
        f"<body>\n<h1>{_shown(title)}</h1>\n{body}</body></html>\n"
    )
