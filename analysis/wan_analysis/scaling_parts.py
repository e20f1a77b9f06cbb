"""The rows of a study made by jobs/scaling.sh: what was planned, what was made of it, and what is missing.

plan.jsonl has a line for each planned row: part, name, ranks, starts. parts.jsonl has one for each check, load and stop that was made; the
last line of a name counts. The starts of the benchmarks and of the manifest stand in studies of their own, in folders named as the parts.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wan_analysis.blocks import Block, Cell, Heading, Table, count, note, number
from wan_analysis.study_record import StudyCase, StudyError, StudyRecord, read_record
from wan_analysis.texts import plural, printable
from wan_analysis.trace_file import Problem

PLAN, PARTS_MADE = "plan.jsonl", "parts.jsonl"
PASSED = "passed"
_WORDS = {PASSED: PASSED, "failed": "FAILED"}
#: Errors of a line that is damaged or cannot be true.
_IMPOSSIBLE = (KeyError, TypeError, ValueError, OverflowError)


@dataclass(frozen=True)
class PartRow:
    """A planned row, and what was made of it. `name` of a study's case: ranks and options."""

    part: str
    name: str
    ranks: int
    wanted: int  #: starts
    made: int = 0  #: starts that ended well
    outcome: str = ""  #: "passed", "failed", or "" for nothing
    wall_s: float = math.nan  #: of all starts
    told: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is missing."""
        return self.outcome == PASSED and self.made >= self.wanted

    @property
    def missing(self) -> str:
        """A few words for the part that has not been made."""
        if self.outcome == "failed":
            return "failed" + (f" ({self.told})" if self.told else "")
        return f"{self.made} of {plural(self.wanted, 'start')}" if self.made else "not made"


def read_parts(folder: Path) -> list[PartRow]:
    """The rows of the plan in a folder. Throws ValueError if it holds no plan, or one that cannot be read."""
    if not (folder / PLAN).is_file():
        raise ValueError(f"{folder} holds no {PLAN}; jobs/scaling.sh writes it")
    made: dict[tuple[str, str, int], PartRow] = {}
    for _, text in _lines(folder / PARTS_MADE):
        with contextlib.suppress(*_IMPOSSIBLE):  # a kill may have cut off the line
            row = _made(json.loads(text))
            made[row.part, row.name, row.ranks] = row
    records: dict[str, StudyRecord | None] = {}
    rows = []
    for number_of, text in _lines(folder / PLAN):
        try:
            line = json.loads(text)
            row = PartRow(str(line["part"]), str(line["name"]), int(line["ranks"]), int(line["starts"]))
            if row.part not in records:
                records[row.part] = _record(folder / row.part)
            record = records[row.part]
            found = made.get((row.part, row.name, row.ranks), row)
            row = _of_study(row, record) if record is not None else replace(found, wanted=row.wanted)
        except _IMPOSSIBLE as error:
            raise ValueError(f"{folder / PLAN}, line {number_of} is no planned row ({error}); the next call writes it anew") from error
        rows.append(row)
    if not rows:
        raise ValueError(f"{folder / PLAN} holds no row")
    return rows


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a file with their numbers from 1. Empty: there is no such file."""
    return list(enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)) if path.is_file() else []


def _made(line: dict[str, Any]) -> PartRow:
    outcome = str(line["outcome"])
    return PartRow(str(line["part"]), str(line["name"]), int(line["ranks"]), 1, int(outcome == PASSED), outcome, float(line["wall_s"]),
                   str(line["told"]))


def _record(folder: Path) -> StudyRecord | None:
    try:
        return read_record(folder)
    except StudyError:
        return None


def _of_study(row: PartRow, record: StudyRecord) -> PartRow:
    ranks, *options = shlex.split(row.name)
    case = next((one for one in record.cases if (one.ranks, one.options) == (int(ranks), tuple(options))), StudyCase("", 0))
    starts = record.of_case(case.name)
    good = [start for start in starts if start.exit_code == 0]
    outcome, told = (PASSED if good else ""), ""
    if len(good) < row.wanted and len(starts) > len(good):
        outcome, told = "failed", f"{plural(len(starts) - len(good), 'start')} failed"
    return PartRow(row.part, row.name, row.ranks, row.wanted, len(good), outcome, sum(start.wall_s for start in good), told)


def missing_of(rows: list[PartRow]) -> list[Problem]:
    """A sentence for each row of which something is missing."""
    return [Problem(f"{row.part}, {row.name}", row.missing) for row in rows if not row.is_complete]


def parts_section(rows: list[PartRow], unit: str) -> list[Block]:
    """The table of all rows."""
    cells: list[list[Cell]] = []
    for row in rows:
        key = f"made/{row.part}/{row.name}"
        said = _WORDS.get(row.outcome, "–") if row.made >= row.wanted or row.outcome == "failed" else row.missing
        cells.append([row.part, printable(row.name), count(f"{key}/ranks", row.ranks), count(f"{key}/starts", row.made), said,
                      number(f"{key}/wall_s", row.wall_s if row.made else math.nan), printable(row.told) or "–"])
    header = [("part", ""), ("what", f"{unit}s and options"), (f"{unit}s", "at most"), ("starts", "that ended well"), ("outcome", ""),
              ("time", "s, of all starts"), ("told", "")]
    return [Heading("The parts of the study"), Table(header, cells),
            note("As jobs/scaling.sh planned and made them. Times are those of whole commands. The starts of the benchmarks and of the "
                 "manifest stand in the tables of this page, too.")]
