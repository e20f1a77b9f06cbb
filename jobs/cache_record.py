"""Records the files of a downloaded checkpoint in a file beside it, and checks them against that record."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from hub_library import CacheError

RECORD = ".wan_files.json"
READ_BYTES = 1 << 22


@dataclass(frozen=True)
class WantedFile:
    """One file of a checkpoint as the hub describes it. The hub has no SHA-256 of small files; it is computed after the download."""

    name: str
    size: int
    sha256: str | None
    #: The file's stamp() at the last successful check of its content.
    checked: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Record:
    """The files of a checkpoint. The record lies beside it, so checking needs no network."""

    repository: str
    revision: str
    files: tuple[WantedFile, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def read_record(folder: Path) -> Record:
    """Reads the record. Throws CacheError if there is none or it is damaged."""
    path = folder / RECORD
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(_file_of(fields) for fields in stored["files"])
        return Record(str(stored["repository"]), str(stored["revision"]), files)
    except FileNotFoundError:
        raise CacheError(f"{folder}: nothing was downloaded here; run: model_cache.py download") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CacheError(f"{path}: is damaged ({error}); run: model_cache.py download") from error


def is_inside(name: str) -> bool:
    """Whether a file's name leads to a place below its folder."""
    return bool(Path(name).parts) and not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name


def _file_of(fields: dict) -> WantedFile:
    """A file of a record. The record may have come with a folder from anywhere. Throws ValueError, among others."""
    name, size, sha256 = str(fields["name"]), int(fields["size"]), fields["sha256"]
    if not is_inside(name) or size < 0 or not (sha256 is None or re.fullmatch("[0-9a-f]{64}", sha256)):
        raise ValueError(f"it lists a file that cannot be kept: {name[:200]!r}")
    return WantedFile(name, size, sha256, tuple(map(int, fields.get("checked") or ())) or None)


def write_record(folder: Path, record: Record) -> None:
    """Writes a temporary file first and renames it, so a record is complete or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"repository": record.repository, "revision": record.revision,
              "files": [{"name": f.name, "size": f.size, "sha256": f.sha256, "checked": f.checked} for f in record.files]}
    temporary = folder / f"{RECORD}.{os.getpid()}"
    temporary.write_text(json.dumps(stored, indent=1), encoding="utf-8")
    temporary.replace(folder / RECORD)


def stamp(path: Path) -> tuple[int, ...]:
    """Changes whenever the file is written or replaced."""
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def is_checked(folder: Path, file: WantedFile) -> bool:
    """Whether the file exists and has not changed since the last successful check of its content."""
    path = folder / file.name
    return path.is_file() and file.checked is not None and stamp(path) == file.checked and file.checked[0] == file.size


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def problem_of(folder: Path, file: WantedFile, *, by_content: bool) -> str | None:
    """The problem with a file, or None."""
    path = folder / file.name
    if not path.is_file():
        return f"{file.name}: missing"
    if path.stat().st_size != file.size:
        return f"{file.name}: has {path.stat().st_size} bytes, should have {file.size}"
    if by_content:
        if file.sha256 is not None and sha256_of(path) != file.sha256:
            return f"{file.name}: its SHA-256 is not the hub's: damaged"
    elif not is_checked(folder, file):
        return f"{file.name}: has the right size, and has changed since it was checked; run verify"
    return None
