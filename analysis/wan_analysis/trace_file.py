"""Reading trace files: one HDF5 file per group of ranks, and indices of them.

Each error in a file or table becomes a `Problem` that names it, and the rest is still read. A trace is needed most
after a run that failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from wan_analysis.trace_format import OPTIONAL_TABLES, REQUIRED_ATTRIBUTES, REQUIRED_COLUMNS


@dataclass(frozen=True)
class Problem:
    """A fact that a reader of the figures must know."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class GroupTrace:
    """One group's file. Tables are data frames with the trace's column names; `expert` holds names."""

    path: Path
    attributes: dict[str, Any]
    items: pd.DataFrame
    steps: pd.DataFrame
    phases: pd.DataFrame
    samples: pd.DataFrame

    @property
    def run(self) -> str:
        """Name of the run that wrote it."""
        return str(self.attributes["run"])

    @property
    def ranks(self) -> int:
        """Ranks of the group, one per GPU."""
        return int(self.attributes["ranks"])


@dataclass
class Traces:
    """Everything that could be read, and the problems with the rest."""

    groups: list[GroupTrace] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_traces(paths: Iterable[Path]) -> Traces:
    """Reads traces from output folders, indices (``trace.h5``) and group files, each file once. Never throws."""
    result = Traces()
    seen: set[Path] = set()
    for path in paths:
        for file in _group_files(Path(path), result.problems):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            group = _read_group(file, result.problems)
            if group is not None:
                result.groups.append(group)
    return result


def _group_files(path: Path, problems: list[Problem]) -> list[Path]:
    if path.is_dir():
        index = path / "trace.h5"
        if index.is_file():
            return _group_files(index, problems)
        files = sorted(path.glob("trace/*.h5")) or sorted(path.glob("*.h5"))
        if not files:
            problems.append(Problem(str(path), "contains neither trace.h5 nor trace/*.h5; did --trace name another place?"))
        return files
    if not path.exists():
        problems.append(Problem(str(path), "does not exist"))
        return []
    targets = _index_targets(path)
    if targets is None:
        return [path]
    for target in targets:
        if not target.exists():
            problems.append(Problem(str(path), f"links to {target}, which does not exist"))
    return [target for target in targets if target.exists()]


def _index_targets(path: Path) -> list[Path] | None:
    """The files that an index links to. None if `path` is not an index (a group's file, or an unreadable file)."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            links = [file.get(name, getlink=True) for name in file]
            if not links or not all(isinstance(link, h5py.ExternalLink) for link in links):
                return None
            return [path.parent / link.filename for link in links]
    except OSError:
        return None


def _read_group(path: Path, problems: list[Problem]) -> GroupTrace | None:
    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = {name: _plain(value) for name, value in file.attrs.items()}
            missing = [name for name in REQUIRED_ATTRIBUTES if name not in attributes]
            if missing:
                problems.append(Problem(str(path), f"is not a trace of wan_batch: it lacks the attributes {_list(missing)}"))
                return None
            tables = {name: _read_table(file, name, path, attributes, problems) for name in REQUIRED_COLUMNS}
    except OSError as error:
        reason = "is truncated" if "truncated" in str(error) else "cannot be read as an HDF5 file"
        problems.append(Problem(str(path), f"{reason} ({error}); left out"))
        return None
    return GroupTrace(path=path, attributes=attributes, **tables)


def _read_table(
    file: h5py.File, name: str, path: Path, attributes: dict[str, Any], problems: list[Problem]
) -> pd.DataFrame:
    """One group of columns, cut to the shortest one, because a killed run may have written a part of a row."""
    where = f"{path}:/{name}"
    empty = pd.DataFrame({column: [] for column in REQUIRED_COLUMNS[name]})
    if name not in file:
        if name not in OPTIONAL_TABLES:
            problems.append(Problem(where, f"is missing; {_written_by(attributes)}"))
        return empty
    columns: dict[str, np.ndarray] = {}
    for column, dataset in file[name].items():
        try:
            columns[column] = _read_column(dataset)
        except (OSError, RuntimeError) as error:
            problems.append(Problem(where, f"column '{column}' is damaged ({error})"))
    missing = [column for column in REQUIRED_COLUMNS[name] if column not in columns]
    if missing:
        problems.append(Problem(where, f"lacks the columns {_list(missing)}; {_written_by(attributes)}; left out"))
        return empty
    lengths = {len(values) for values in columns.values()}
    rows = min(lengths)
    if len(lengths) > 1:
        problems.append(
            Problem(where, f"columns end after {rows} to {max(lengths)} rows: the run was killed while writing; "
                    f"the first {rows} are read")
        )
    return pd.DataFrame({column: values[:rows] for column, values in columns.items()})


def _read_column(dataset: h5py.Dataset) -> np.ndarray:
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.array(dataset.asstr(errors="replace")[:], dtype=object)
    names = h5py.check_enum_dtype(dataset.dtype)
    if names is None:
        return dataset[:]
    by_value = {value: name for name, value in names.items()}
    return np.array([by_value.get(int(value), f"unknown {value}") for value in dataset[:]], dtype=object)


def _plain(value: Any) -> Any:  # noqa: ANN401  (an attribute is text, an integer or a float)
    return value.item() if isinstance(value, np.generic) else value


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _written_by(attributes: dict[str, Any]) -> str:
    return f"the trace was written by version {attributes['version']} of wan_batch, which this package does not know"
