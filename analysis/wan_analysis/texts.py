"""Texts from files, made fit to be shown. Traces are untrusted: a name may hold markup, escapes or any character."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

#: Longer texts are cut.
MOST_LETTERS = 400
MOST_CHART_LETTERS = 60
#: Categories of characters that show nothing or change how others are shown: control, format, surrogate, private, line ends.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def printable(text: str, most: int = MOST_LETTERS) -> str:
    """The text in one line: characters that cannot be seen become the replacement character, and a long text is cut."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(REPLACEMENT if unicodedata.category(letter) in _HIDDEN else letter for letter in cut)


def chart_text(text: str, most: int = MOST_CHART_LETTERS) -> str:
    """The text as matplotlib shows it letter by letter: no formulas, and no names that a legend leaves out."""
    shown = printable(text, most).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def listed(names: Sequence[str], most: int = 4) -> str:
    """"a, b, c and 7 more"."""
    if len(names) <= most:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def plural(count: int, word: str) -> str:
    """"1 GPU", "2 GPUs"."""
    return f"{count} {word}{'' if count == 1 else 's'}"
