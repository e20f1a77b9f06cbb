"""Every number and chart of a page as JSON, under the key that the page carries."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from wan_analysis.blocks import Block, Heading, Listing, Number, Sentence, charts_of, numbers_of
from wan_analysis.texts import printable

#: Raised when a key changes its meaning.
PAGE_FORMAT = 1


def json_page(title: str, blocks: Sequence[Block], measured: Sequence[dict[str, Any]] = ()) -> str:
    """The JSON text. Numbers have all their digits. `measured`: the cases of the study, as measured.py gives them."""
    values = {entry.key: entry.value for entry in numbers_of(blocks)}
    document = {
        "format": PAGE_FORMAT,
        "title": printable(title),
        "sections": [block.text for block in blocks if isinstance(block, Heading)],
        "advice": _listed(blocks, "advice"),
        "answers": _listed(blocks, "answers"),
        "problems": _listed(blocks, "problems"),
        "values": values,
        "charts": {chart.key: {"description": chart.description, "series": _plain(chart.data)} for chart in charts_of(blocks)},
        "measured": _plain(list(measured)),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _listed(blocks: Sequence[Block], kind: str) -> list[str]:
    found = [block for block in blocks if isinstance(block, Listing) and block.kind == kind]
    return [_text(entry) for block in found for entry in block.entries]


def _text(entry: Sentence) -> str:
    return "".join(part.text if isinstance(part, Number) else printable(part, 4000) for part in entry.parts)


def _plain(value: Any) -> Any:  # noqa: ANN401  (data of a chart: mappings, lists, texts and numbers)
    """The same as plain Python values. Numbers that are not finite become null."""
    if isinstance(value, dict):
        return {printable(str(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return printable(value) if isinstance(value, str) else value
