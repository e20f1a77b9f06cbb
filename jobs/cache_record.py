"""Records the files of a downloaded checkpoint in a file beside it, and checks them against that record."""

from __future__ import annotations

import hashlib
import json
import os
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
        files = tuple(WantedFile(str(f["name"]), int(f["size"]), f["sha256"], tuple(map(int, f.get("checked") or ())) or None)
                      for f in stored["files"])
        return Record(str(stored["repository"]), str(stored["revision"]), files)
    except FileNotFoundError:
        raise CacheError(f"{folder}: nothing was downloaded here; run: model_cache.py download") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{path}: is damaged ({error}); run: model_cache.py download") from error


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
