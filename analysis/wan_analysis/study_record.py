"""The record of a study in its folder: what is to be run, and every start that was made. jobs/study.sh writes it.

study.json holds the settings. starts.jsonl has a line for each start, written when it has ended: case, number, folder, exit code, seconds.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wan_analysis.texts import listed, plural

SETTINGS, STARTS = "study.json", "starts.jsonl"
#: Raised when a field changes its meaning.
RECORD_FORMAT = 1


class StudyError(Exception):
    """A study that cannot be read, or goes on with other settings."""


@dataclass(frozen=True)
class StudyCase:
    """Ranks, and the program's options that belong to this case. `name` is its folder's name."""

    name: str
    ranks: int
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class StartRecord:
    """One start that ended. `wall_s` is that of the whole command, NaN if the study itself was killed meanwhile."""

    case: str
    number: int  #: from 1
    folder: str  #: in the study's folder
    exit_code: int
    wall_s: float
    began: str = ""  #: UTC


@dataclass
class StudyRecord:
    """Settings and starts of a study."""

    program: str  #: wan_bench or wan_batch
    cases: list[StudyCase]
    arguments: list[str]
    seed: int
    least_starts: int
    most_starts: int
    precision: float  #: a fraction
    starts: list[StartRecord] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  #: at the end of the last session

    def of_case(self, name: str) -> list[StartRecord]:
        """The starts of a case, those that failed too."""
        return [start for start in self.starts if start.case == name]

    def write_settings(self, folder: Path) -> None:
        """Replaces study.json at once."""
        values = {"format": RECORD_FORMAT, **{name: value for name, value in asdict(self).items() if name != "starts"}}
        draft = folder / f".{SETTINGS}.new"
        draft.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / SETTINGS)

    def add(self, folder: Path, start: StartRecord) -> None:
        """Adds a start's line to starts.jsonl and waits until it is on the disk."""
        self.starts.append(start)
        values = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(start).items()}
        path = folder / STARTS
        is_cut = path.is_file() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
        with path.open("a", encoding="utf-8") as lines:
            lines.write(("\n" if is_cut else "") + json.dumps(values) + "\n")
            lines.flush()
            os.fsync(lines.fileno())


def read_record(folder: Path) -> StudyRecord | None:
    """The record in a folder. None: it holds no study. Throws StudyError if it cannot be read."""
    path = folder / SETTINGS
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != RECORD_FORMAT:
            raise StudyError(f"{path} has format {values['format']}; this version reads {RECORD_FORMAT}")
        cases = [StudyCase(str(case["name"]), int(case["ranks"]), tuple(map(str, case["options"]))) for case in values["cases"]]
        record = StudyRecord(str(values["program"]), cases, [str(word) for word in values["arguments"]], int(values["seed"]),
                             int(values["least_starts"]), int(values["most_starts"]), float(values["precision"]),
                             left_out=[str(text) for text in values["left_out"]])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise StudyError(f"{path} cannot be read as a study: {error}") from error
    for case in cases:
        if case.name in ("", ".", "..") or "/" in case.name or "\0" in case.name:
            raise StudyError(f"{path} cannot be read as a study: {case.name[:80]!r} is no name of a case")
    record.starts = _read_starts(folder / STARTS)
    return record


def _read_starts(path: Path) -> list[StartRecord]:
    """The lines of starts.jsonl, the last one of each folder. A line that a kill cut off or that cannot be true is left out."""
    starts: dict[str, StartRecord] = {}
    if not path.is_file():
        return []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
            wall_s = math.nan if values["wall_s"] is None else float(values["wall_s"])
            start = StartRecord(str(values["case"]), int(values["number"]), str(values["folder"]), int(values["exit_code"]), wall_s,
                                str(values["began"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if not (Path(start.folder).is_absolute() or ".." in Path(start.folder).parts or "\0" in start.folder):
            starts[start.folder] = start
    return list(starts.values())


def record_of(folders: Iterable[Path]) -> StudyRecord | None:
    """The record of the only study among these folders. None: there is none, or there are several."""
    found = []
    for folder in folders:
        try:
            record = read_record(folder) if folder.is_dir() else None
        except (StudyError, OSError):
            record = None
        if record is not None:
            found.append(record)
    return found[0] if len(found) == 1 else None


def folders_of(folder: Path, case: StudyCase) -> dict[int, Path]:
    """The folders of a case's starts that are there, by their numbers, whatever the record says."""
    found = ((path.name.removeprefix("start_"), path) for path in sorted((folder / case.name).glob("start_*")) if path.is_dir())
    return {int(number): path for number, path in found if re.fullmatch(r"[1-9][0-9]{0,5}", number)}


def record_gaps(folder: Path) -> list[tuple[Path, str]]:
    """(path, what is wrong) where a study's record does not tell of the traces that lie there. Empty also for a folder without a study."""
    try:
        record = read_record(folder)
    except StudyError:
        return []
    if record is None:
        return []
    known = {start.folder for start in record.starts}
    there = [path.relative_to(folder).as_posix() for case in record.cases for path in folders_of(folder, case).values() if has_trace(path)]
    lost = [name for name in there if name not in known]
    found = []
    if lost:
        found.append((folder / STARTS, f"has no line of {plural(len(lost), 'start')} whose trace is there: {listed(lost)}; left out. "
                      "The study's own command takes up those that ended"))
    if not found and not any(start.exit_code == 0 for start in record.starts):
        found.append((folder, "holds a study none of whose starts ended well"))
    return found


def has_trace(folder: Path) -> bool:
    """Whether a start of wan_batch or wan_bench wrote into this folder."""
    return (folder / "trace.h5").is_file() or (folder / "trace").is_dir()


def start_folders(folder: Path) -> list[Path]:
    """Output folders below a folder that itself holds no trace: FOLDER/* and FOLDER/*/* with a trace.h5 or trace/. Sorted.

    In a study's folder they are the starts that ended well.
    """
    try:
        record = read_record(folder)
    except StudyError:
        record = None
    if record is not None:
        return [folder / start.folder for start in record.starts if start.exit_code == 0 and (folder / start.folder).is_dir()]
    if any((folder / name).exists() for name in ("trace.h5", "trace")) or any(folder.glob("*.h5")):
        return []
    below = [path for pattern in ("*", "*/*") for path in sorted(folder.glob(pattern)) if path.is_dir() and path.name != "trace"]
    return [path for path in below if has_trace(path)]
