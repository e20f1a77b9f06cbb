"""The two kinds of problems: one that ends the program, and one of a single row."""

from __future__ import annotations


class UsageProblem(Exception):  # noqa: N818  (a user's mistake, not a failure of the program)
    """The run cannot start or go on as it was asked for. The text names the problem, its place and the remedy."""


class RowProblem(Exception):  # noqa: N818
    """One row keeps its prompt. The text is the reason, for the column extend_status.

    `final`: the row would have the same problem again. A row that ran out of time or memory is tried again in the next start.
    """

    def __init__(self, reason: str, *, final: bool = True) -> None:
        super().__init__(reason)
        self.final = final


class TimeUp(RowProblem):
    """The seconds of a row are over."""


def one_line(text: object, most: int = 300) -> str:
    """The text on one line without control characters, cut to `most` characters."""
    words = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in words)
    return shown if len(shown) <= most else shown[:most - 3] + "..."
