"""Reading trace files: one HDF5 file per group of ranks, and indices of them.

All faults of a file become one `Problem` that names it, and the rest is still read. A trace is needed most after a run
that failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wan_analysis.clean import clean_attributes, clean_columns, clean_text, wrong_attributes
from wan_analysis.raw_file import RawFile, missing_columns, not_a_file
from wan_analysis.reader_process import FileReader
from wan_analysis.study_record import record_gaps, start_folders
from wan_analysis.trace_format import REQUIRED_TABLES, TABLES
from wan_analysis.upgrade import complete, to_frame, upgrade

#: So many of the things that are wrong with a file are said.
MOST_SAID = 4
#: A path is cut after so many characters.
LONGEST_PATH = 500


@dataclass(frozen=True)
class Problem:
    """A fact that a reader of the figures must know."""

    where: str
    what: str

    def __str__(self) -> str:
        return clean_text(f"{clean_text(self.where, LONGEST_PATH)}: {self.what}", 2000)


@dataclass
class GroupTrace:
    """One group's file in the shape of format 2, whatever its own format was. `expert` holds names.

    Times are those of each rank's own clock, as the file has them; run.py corrects them. /phases has a column `assumed` more: its
    row was not written by the program, but follows from others.
    """

    path: Path
    attributes: dict[str, Any]
    items: pd.DataFrame
    steps: pd.DataFrame
    phases: pd.DataFrame
    samples: pd.DataFrame
    stretches: pd.DataFrame
    item_ends: pd.DataFrame
    rank_table: pd.DataFrame  #: /ranks
    clocks: pd.DataFrame
    drops: pd.DataFrame
    account: pd.DataFrame  #: empty before format 2, and in the file of a killed run
    notes: pd.DataFrame  #: the same; of all groups in the file of group 0

    @property
    def run(self) -> str:
        """Id of the start that wrote it."""
        return str(self.attributes["run"])

    @property
    def ranks(self) -> int:
        """Ranks of the group, one per GPU."""
        return int(self.attributes["ranks"])

    @property
    def world_ranks(self) -> int:
        """Ranks of all groups of the start."""
        return self.ranks * int(self.attributes["groups"])

    @property
    def leader(self) -> int:
        """World rank of the group's first rank, whose clock /items, /stretches and /item_ends go by."""
        first = self.rank_table.loc[self.rank_table["group_rank"] == 0, "world_rank"]
        return int(first.iloc[0]) if len(first) else int(self.attributes["group"]) * self.ranks


@dataclass
class Traces:
    """Everything that could be read, and the problems with the rest."""

    groups: list[GroupTrace] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_traces(paths: Iterable[Path]) -> Traces:
    """Reads traces from output folders, indices (``trace.h5``) and group files, each file once. Never throws."""
    with FileReader() as reader:
        reading = _Reading(reader)
        for path in paths:
            reading.named(Path(path))
    return reading.result


class _Reading:
    """Goes through folders, indices and files."""

    def __init__(self, reader: FileReader) -> None:
        self._reader = reader
        self._seen: set[Path] = set()
        self.result = Traces()

    def named(self, path: Path, *, is_start: bool = False) -> None:
        """A path that the user named: an output folder, a folder of output folders, or a file. Or one of those output folders."""
        try:
            if not path.is_dir():
                self._file(path)
                return
            below, gaps = ([], []) if is_start else (start_folders(path), record_gaps(path))
            for where, what in gaps:
                self._problem(where, what)
            for folder in below:
                self.named(folder, is_start=True)
            if below or gaps:
                return
            index = path / "trace.h5"
            files = [index] if index.is_file() else sorted(path.glob("trace/*.h5")) or sorted(path.glob("*.h5"))
        except (OSError, ValueError) as error:
            self._problem(path, f"cannot be looked at ({getattr(error, 'strerror', None) or error})")
            return
        if not files:
            self._problem(path, "contains neither trace.h5 nor trace/*.h5; did --trace name another place?")
        for file in files:
            self._file(file)

    def _problem(self, path: Path, what: str) -> None:
        self.result.problems.append(Problem(str(path), what))

    def _file(self, path: Path, index: Path | None = None) -> None:
        """A file that the user named, or one that an index links to."""
        wrong = not_a_file(path)
        if wrong:
            self._problem(path, wrong)
            return
        real = path.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        raw = self._reader.read(path)
        if raw.links is not None:
            if index is None:
                self._index(path, raw.links)
            else:
                self._problem(path, f"is an index, and so is {index.name}, which links to it; not followed")
            return
        group, problems = make_group(path, raw)
        if problems:
            self._problem(path, _in_short(problems))
        if group is not None:
            self.result.groups.append(group)

    def _index(self, path: Path, links: Iterable[str]) -> None:
        """Reads the files that an index links to, if they lie in its folder."""
        away, missing = [], []
        for link in dict.fromkeys(links):
            if Path(link).is_absolute() or ".." in Path(link).parts or "\0" in link:
                away.append(link)
            elif not_a_file(path.parent / link) in ("does not exist", "is a link to nothing"):
                missing.append(link)
            else:
                self._file(path.parent / link, index=path)
        said = [f"links to {_names(away)} outside its folder; not followed"] if away else []
        said += [f"links to {_names(missing)}, which does not exist"] if missing else []
        if said:
            self._problem(path, "; ".join(said))


def _in_short(problems: list[str]) -> str:
    """The faults of a file in one line."""
    more = len(problems) - MOST_SAID
    return "; ".join(problems[:MOST_SAID]) + (f"; and {more} more" if more > 0 else "")


def _names(links: list[str]) -> str:
    return ", ".join(f"'{clean_text(link, 100)}'" for link in links[:3]) + (f" and {len(links) - 3} more" if len(links) > 3 else "")


def make_group(path: Path, raw: RawFile) -> tuple[GroupTrace | None, list[str]]:
    """The trace that a file holds, None if it holds none, and what is wrong with it."""
    refusal = raw.refusal or wrong_attributes(raw.attributes)
    if refusal:
        return None, [refusal]
    attributes = clean_attributes(raw.attributes)
    problems = list(raw.problems)
    columns: dict[str, dict[str, np.ndarray]] = {}
    for table in TABLES:
        found = raw.tables.get(table)
        if found is None:
            if table in REQUIRED_TABLES[attributes["format"]]:
                problems.append(f"/{table} is missing; {_written_by(attributes)}")
            continue
        missing = missing_columns(table, found)
        if missing:
            lacks = ", ".join(f"'{column}'" for column in missing)
            problems.append(f"/{table} lacks the columns {lacks}; {_written_by(attributes)}; left out")
            continue
        columns[table] = found
    columns = complete(columns)
    problems += clean_columns(columns, attributes)
    tables = {table: to_frame(found) for table, found in columns.items()}
    upgrade(tables, attributes)
    tables["rank_table"] = tables.pop("ranks")
    return GroupTrace(path=path, attributes=attributes, **tables), problems


def _written_by(attributes: dict[str, Any]) -> str:
    return f"the trace was written by version {attributes['version']} of wan_batch, which this package does not know"
