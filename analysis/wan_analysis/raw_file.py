"""Reads the bare columns of one HDF5 file that nobody vouches for.

Only what a trace may have is read: known columns of known tables, one-dimensional, of numbers or texts, that lie in the file
itself. Links to other objects and files are not followed, except those of an index, which are returned as names.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5s

from wan_analysis.trace_format import REQUIRED_COLUMNS, TABLES

#: A column longer than this is no column of a trace: 500,000 steps of 100 ranks have so many rows.
MOST_ROWS = 50_000_000
#: Columns that claim more bytes than this must fill a part of the file that fits.
MOST_UNCHECKED_BYTES = 1 << 24
#: Best compression that is believed: bytes of all columns over bytes of the file.
MOST_COMPRESSION = 50
#: Names of links and attributes beyond these numbers are not looked at.
MOST_LINKS, MOST_ATTRIBUTES = 100_000, 1000
#: A text is cut after so many characters.
LONGEST_TEXT = 2000


@dataclass
class RawFile:
    """The content of a file. `refusal` says why nothing was read; `links` are the files of an index."""

    attributes: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    links: list[str] | None = None
    refusal: str = ""


def not_a_file(path: Path) -> str:
    """Why `path` cannot be a trace ("is a FIFO"), or empty for a regular file. Opens nothing."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link to nothing" if path.is_symlink() else "does not exist"
    except (OSError, ValueError) as error:
        return f"cannot be looked at ({getattr(error, 'strerror', None) or error})"
    if stat.S_ISREG(mode):
        return ""
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
             stat.S_IFBLK: "a device"}
    return f"is {kinds.get(stat.S_IFMT(mode), 'no file')}, not a trace"


def read_raw(path: Path) -> RawFile:
    """The columns of a group's file, or the links of an index. A damaged file may crash HDF5: see reader_process.py."""
    result = RawFile()
    try:
        with h5py.File(path, "r", locking=False) as file:
            result.links = _links(file)
            if result.links is None:
                result.attributes = _attributes(file, result.problems)
                if "version" in result.attributes or "steps" in file:
                    _read_tables(file, path.stat().st_size, result)
    except MemoryError:
        return RawFile(refusal="asks for more memory than a trace of its size needs; left out")
    except Exception as error:  # h5py turns damage into errors of a dozen types
        reason = "is truncated" if "truncated" in str(error) else "cannot be read as an HDF5 file"
        return RawFile(refusal=f"{reason} ({brief(error)}); left out")
    return result


def brief(error: object) -> str:
    """An error's text in one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def _links(file: h5py.File) -> list[str] | None:
    """The files that an index links to. None for another file. An index holds links to files and nothing else."""
    names = [name for name, _ in zip(file, range(MOST_LINKS), strict=False)]
    links = [file.get(name, getlink=True) for name in names]
    if not links or not all(isinstance(link, h5py.ExternalLink) for link in links):
        return None
    return [link.filename for link in links]


def _attributes(file: h5py.File, problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, _ in zip(list(file.attrs), range(MOST_ATTRIBUTES), strict=False):
        try:
            kind = file.attrs.get_id(name)
            if kind.shape not in ((), (1,)) or kind.get_storage_size() > 1 << 20:
                problems.append(f"attribute '{name}' is not one value")
                continue
            value = file.attrs[name]
            if isinstance(value, np.ndarray):
                value = value.item()
            value = value.item() if isinstance(value, np.generic) else value
            value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        except MemoryError:
            raise
        except Exception as error:
            problems.append(f"attribute '{name}' is damaged ({brief(error)})")
            continue
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            found[name] = value[:LONGEST_TEXT] if isinstance(value, str) else value
        else:
            problems.append(f"attribute '{name}' is neither a text nor a number")
    return found


def _read_tables(file: h5py.File, file_bytes: int, result: RawFile) -> None:
    left_bytes = max(MOST_UNCHECKED_BYTES, MOST_COMPRESSION * file_bytes)
    for table in TABLES:
        if table.encode() not in file.id:
            continue
        is_there = file.id.links.get_info(table.encode()).type == h5l.TYPE_HARD
        group = h5o.open(file.id, table.encode()) if is_there else None
        if not isinstance(group, h5g.GroupID):
            result.problems.append(f"/{table} is not a table of columns")
            continue
        datasets = _datasets(group, table, result.problems)
        columns: dict[str, np.ndarray] = {}
        lengths = [length for _, length, _ in datasets.values()]
        rows = min(lengths, default=0)
        for column, (dataset, length, dtype) in datasets.items():
            needed_bytes = rows * max(dtype.itemsize, 1)
            if needed_bytes > left_bytes or rows > MOST_ROWS:
                result.problems.append(f"/{table}: column '{column}' says that it has {rows} rows, more than fit into the file")
                continue
            left_bytes -= needed_bytes
            try:
                columns[column] = _read_column(dataset, rows, length, dtype, TABLES[table][column][0])
            except MemoryError:
                raise
            except Exception as error:
                result.problems.append(f"/{table}: column '{column}' is damaged ({brief(error)})")
        result.tables[table] = columns
        _name_lengths(table, lengths, result.problems)


def _datasets(group: h5g.GroupID, table: str, problems: list[str]) -> dict[str, tuple[h5d.DatasetID, int, np.dtype]]:
    """The table's known columns that are what a trace writes, with their rows and types."""
    found: dict[str, tuple[h5d.DatasetID, int, np.dtype]] = {}
    links = group.links
    for column, (kind, _) in TABLES[table].items():
        name = column.encode()
        try:
            if not links.exists(name):
                continue
            dataset = h5o.open(group, name) if links.get_info(name).type == h5l.TYPE_HARD else None
            wrong = _wrong_with(dataset)
            if not wrong:
                assert isinstance(dataset, h5d.DatasetID)
                dtype = dataset.dtype
                wrong = "" if _fits(dtype, kind) else f"holds {brief(dtype)}, not {_described(kind)}"
            if wrong:
                problems.append(f"/{table}: column '{column}' {wrong}")
            else:
                found[column] = (dataset, int(dataset.shape[0]), dtype)
        except MemoryError:
            raise
        except Exception as error:
            problems.append(f"/{table}: column '{column}' is damaged ({brief(error)})")
    return found


def _wrong_with(dataset: object | None) -> str:
    """The reason why a column cannot be read; empty if there is none."""
    if dataset is None:
        return "is a link, which no trace has"
    if not isinstance(dataset, h5d.DatasetID):
        return "is not a column"
    space, properties = dataset.get_space(), dataset.get_create_plist()
    if properties.get_layout() == h5d.VIRTUAL or (properties.get_layout() == h5d.CONTIGUOUS and properties.get_external_count()):
        return "lies in another file, which no trace has"
    dimensions = space.get_simple_extent_ndims() if space.get_simple_extent_type() == h5s.SIMPLE else 0
    return "" if dimensions == 1 else f"has {dimensions} dimensions, not one"


def _fits(dtype: np.dtype, kind: str) -> bool:
    if kind == "text":
        return h5py.check_string_dtype(dtype) is not None or h5py.check_enum_dtype(dtype) is not None
    return dtype.kind in ("iu" if kind == "int" else "fiu") and h5py.check_enum_dtype(dtype) is None and dtype.itemsize <= 8


def _described(kind: str) -> str:
    return {"text": "texts", "int": "whole numbers", "float": "numbers"}[kind]


def _read_column(dataset: h5d.DatasetID, rows: int, length: int, dtype: np.dtype, kind: str) -> np.ndarray:
    if h5py.check_string_dtype(dtype) is not None:
        texts = h5py.Dataset(dataset).asstr(errors="replace")[:rows] if rows else []
        return _objects([text[:LONGEST_TEXT] for text in texts])
    values = np.empty(rows, dtype=dtype)
    if rows == length and rows:
        dataset.read(h5s.ALL, h5s.ALL, values)
    elif rows:
        chosen = dataset.get_space()
        chosen.select_hyperslab((0,), (rows,))
        dataset.read(h5s.create_simple((rows,)), chosen, values)
    names = h5py.check_enum_dtype(dtype)
    if names is not None:
        by_value = {value: name for name, value in names.items()}
        distinct, place = np.unique(values, return_inverse=True)
        return _objects([by_value.get(int(value), f"unknown {value}") for value in distinct])[place]
    if kind == "float":
        return values.astype(np.float64, copy=False)
    if values.dtype == np.uint64:
        values = np.minimum(values, np.uint64(np.iinfo(np.int64).max))
    return values.astype(np.int64, copy=False)


def _objects(texts: list[str]) -> np.ndarray:
    result = np.empty(len(texts), dtype=object)
    result[:] = texts
    return result


def _name_lengths(table: str, lengths: list[int], problems: list[str]) -> None:
    rows, longest = min(lengths, default=0), max(lengths, default=0)
    if longest > rows:
        problems.append(f"/{table}: columns end after {rows} to {longest} rows: the run was killed while writing; "
                        f"the first {rows} are read")


def missing_columns(table: str, columns: Iterable[str]) -> list[str]:
    """The columns without which a table cannot be used."""
    there = set(columns)
    return [column for column in REQUIRED_COLUMNS[table] if column not in there]
