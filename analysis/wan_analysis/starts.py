"""Finds the group files that belong to one start of the program.

Each start has its own id, which all its groups share. Up to version 0.1.0 every start of wan_bench had the id "bench".
Such files belong together only if they lie in one folder, agree in the number of groups and ranks, and began within a
minute. A file that is a copy of another one counts once. It may be a copy of the whole file, or of its beginning, as a run
in progress leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from wan_analysis.trace_file import GroupTrace, Problem

#: Ids that several starts share.
SHARED_IDS = ("bench",)
#: The groups of one start of an old wan_bench recorded their own times, which may be seconds apart.
LONGEST_SPREAD_S = 60.0


@dataclass
class Start:
    """The groups of one start. `name` is unique among the starts of a report."""

    name: str
    groups: list[GroupTrace]
    problems: list[Problem] = field(default_factory=list)
    folders: set[Path] = field(default_factory=set)  #: output folders in which its files were met, those of copies included


def find_starts(traces: Sequence[GroupTrace]) -> list[Start]:
    """Collects the group files of each start, in the order in which they were named."""
    kept, copies = _without_copies(traces)
    starts: list[Start] = []
    by_id: dict[str, list[Start]] = {}
    for trace in kept:
        of_id = by_id.setdefault(trace.run, [])
        start = next((start for start in of_id if _belongs(trace, start)), None)
        if start is None:
            start = Start(trace.run, [])
            of_id.append(start)
            starts.append(start)
        start.groups.append(trace)
        start.problems += [copy.problem for copy in copies.get(trace.path, [])]
        start.folders |= {folder_of(trace), *(copy.folder for copy in copies.get(trace.path, []))}
    for of_id in by_id.values():
        if len(of_id) > 1:
            _name_apart(of_id)
    for start in starts:
        start.groups.sort(key=_group_number)
    return starts


def folder_of(trace: GroupTrace) -> Path:
    """The output folder of a group file: OUT for OUT/trace/ID-g00.h5, else the folder it lies in."""
    folder = trace.path.resolve().parent
    return folder.parent if folder.name == "trace" else folder


def _group_number(trace: GroupTrace) -> int:
    return int(trace.attributes["group"])


def _belongs(trace: GroupTrace, start: Start) -> bool:
    other = start.groups[0]
    if (trace.ranks, trace.attributes["groups"]) != (other.ranks, other.attributes["groups"]):
        return False
    if any(_group_number(trace) == _group_number(group) for group in start.groups):
        return False
    if trace.run not in SHARED_IDS:
        return True
    begun, others = started_s(trace), started_s(other)
    is_together = begun is None or others is None or abs(begun - others) <= LONGEST_SPREAD_S
    return is_together and folder_of(trace) == folder_of(other)


def started_s(trace: GroupTrace) -> float | None:
    """When the start began, in seconds since 1970; None if its trace does not tell. Format 0 tells whole seconds."""
    for form in ("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%SZ"):
        try:
            moment = datetime.strptime(str(trace.attributes.get("started")), form)
            return moment.replace(tzinfo=timezone.utc).timestamp()
        except (ValueError, OverflowError):
            continue
    return None


@dataclass(frozen=True)
class _Copy:
    folder: Path
    problem: Problem


def _without_copies(traces: Sequence[GroupTrace]) -> tuple[list[GroupTrace], dict[Path, list[_Copy]]]:
    """The traces without copies, and the copies of each file."""
    kept: list[GroupTrace] = []
    copies: dict[Path, list[_Copy]] = {}
    places: dict[tuple[str, ...], list[int]] = {}  # indices of traces in `kept` that may be the same one
    for trace in traces:
        names = ("run", "group", "groups", "ranks", "started", "host")
        alike = places.setdefault(tuple(str(trace.attributes.get(name, "")) for name in names), [])
        place = next((place for place in alike if _is_same(kept[place], trace)), None)
        if place is None:
            alike.append(len(kept))
            kept.append(trace)
            continue
        longer, shorter = sorted((kept[place], trace), key=lambda t: (len(t.steps), len(t.phases)), reverse=True)
        said = copies.pop(kept[place].path, [])
        problem = Problem(str(shorter.path), f"is a copy of {longer.path}; its steps and items count once")
        said.append(_Copy(folder_of(shorter), problem))
        kept[place] = longer
        copies[longer.path] = said
    return kept, copies


def _is_same(one: GroupTrace, other: GroupTrace) -> bool:
    """Whether the steps of one trace are the steps, or the first steps, of the other."""
    rows = min(len(one.steps), len(other.steps))
    if rows == 0 and one.run in SHARED_IDS:
        return False
    columns = ["item", "world_rank", "step", "start_s", "wall_s"]
    return bool(np.array_equal(one.steps[columns].to_numpy(float)[:rows], other.steps[columns].to_numpy(float)[:rows]))


def _name_apart(starts: Sequence[Start]) -> None:
    """Distinguishes starts with the same id by their folders, and by a number if the folders have the same name."""
    taken: set[str] = set()
    for start in starts:
        name = f"{start.name} ({folder_of(start.groups[0]).name})"
        number, unique = 2, name
        while unique in taken:
            unique = f"{name} {number}"
            number += 1
        taken.add(unique)
        start.name = unique
