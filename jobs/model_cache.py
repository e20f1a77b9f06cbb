#!/usr/bin/env python3
"""Keeps the official checkpoints on a cluster: fetches them from the hub, goes on after interruptions, checks them.

    model_cache.py [--task i2v-A14B|t2v-A14B] [--cache FOLDER] download|status|quick|verify|clean

    download   fetches what is missing of the checkpoint and checks the SHA-256 of every file that it fetched
    status     what is there, without network
    quick      sizes of all files, without network
    verify     SHA-256 of all files, without network (minutes: it reads everything)
    clean      deletes the checkpoint, after asking (--yes: without asking)

The folder is --cache, or WAN_MODEL_CACHE, or ~/.cache/wan_batch. HF_ENDPOINT names another hub, HF_TOKEN a token.
Exit codes: 0 all well, 1 something is missing, damaged or failed, 2 usage.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

REPOSITORIES = {"i2v-A14B": "Wan-AI/Wan2.2-I2V-A14B", "t2v-A14B": "Wan-AI/Wan2.2-T2V-A14B"}
#: What wan_batch reads of a repository; the rest is pictures and examples.
WANTED = ("*.json", "*.safetensors", "*.pth", "google/*")
RECORD = ".wan_files.json"
READ_BYTES = 1 << 22
#: Room that a download leaves on the disk.
SPARE_BYTES = 1 << 30


class CacheError(Exception):
    """What went wrong and what to do about it; complete."""


@dataclass(frozen=True)
class WantedFile:
    """One file of a checkpoint as the hub describes it; small files have no SHA-256 there."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Record:
    """What a checkpoint consists of: written beside it, so that checking needs no network."""

    repository: str
    revision: str
    files: tuple[WantedFile, ...]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)


def read_record(folder: Path) -> Record:
    """Throws CacheError when there is none or it is damaged."""
    path = folder / RECORD
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(WantedFile(str(f["name"]), int(f["size"]), f["sha256"]) for f in stored["files"])
        return Record(str(stored["repository"]), str(stored["revision"]), files)
    except FileNotFoundError:
        raise CacheError(f"{folder}: nothing was downloaded here; run: model_cache.py download") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{path}: is damaged ({error}); run: model_cache.py download") from error


def write_record(folder: Path, record: Record) -> None:
    """Under a temporary name first: a record is whole or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"repository": record.repository, "revision": record.revision,
              "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in record.files]}
    temporary = folder / f"{RECORD}.{os.getpid()}"
    temporary.write_text(json.dumps(stored, indent=1), encoding="utf-8")
    temporary.replace(folder / RECORD)


def has_size(folder: Path, file: WantedFile) -> bool:
    """Whether the file is there in its size."""
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def problems(folder: Path, record: Record, *, by_content: bool) -> Iterator[str]:
    """A line for every file that is missing or not what it should be."""
    for file in record.files:
        path = folder / file.name
        if not path.is_file():
            yield f"{file.name}: missing"
        elif path.stat().st_size != file.size:
            yield f"{file.name}: has {path.stat().st_size} bytes, should have {file.size}"
        elif by_content and file.sha256 is not None and sha256_of(path) != file.sha256:
            yield f"{file.name}: its SHA-256 is not the hub's: damaged"


def gib(count: int) -> str:
    """12.3 GiB."""
    return f"{count / 2**30:.1f} GiB"


def ask_hub(repository: str) -> Record:
    """What the hub has now. Throws CacheError."""
    from huggingface_hub import HfApi

    with hub_errors(repository):
        info = HfApi().model_info(repository, files_metadata=True)
    files = []
    for sibling in info.siblings or []:
        name = sibling.rfilename
        if not any(fnmatch(name, pattern) for pattern in WANTED):
            continue
        if name.startswith("/") or ".." in Path(name).parts or sibling.size is None:
            raise CacheError(f"{repository}: the hub lists a file that cannot be kept: {name!r}")
        files.append(WantedFile(name, sibling.size, sibling.lfs.sha256 if sibling.lfs else None))
    if not files:
        raise CacheError(f"{repository}: the hub lists no file of a checkpoint there")
    return Record(repository, str(info.sha), tuple(files))


class hub_errors:  # noqa: N801  (reads as a phrase: with hub_errors(...))
    """Turns what the hub's library throws into messages with a remedy."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

        if error is None or isinstance(error, (CacheError, KeyboardInterrupt)):
            return
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise CacheError(f"{self.what}: the disk is full; make room, or choose another --cache, and run download again: "
                             "it goes on") from error
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, (GatedRepoError, RepositoryNotFoundError)) or status in (401, 403):
            raise CacheError(f"{self.what}: the hub refuses access (HTTP {status}); set HF_TOKEN to a valid token, or unset a "
                             "wrong one") from error
        if isinstance(error, HfHubHTTPError) and status is not None:
            raise CacheError(f"{self.what}: the hub answered HTTP {status}; try again later: what is there is kept") from error
        of_network = type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3"))
        if of_network or isinstance(error, (LocalEntryNotFoundError, OSError)):
            raise CacheError(f"{self.what}: the hub cannot be reached or the transfer broke off ({type(error).__name__}); "
                             "check the network, a proxy or HF_ENDPOINT, and run download again: it goes on") from error


def download(folder: Path, repository: str) -> int:
    """Fetches what is missing."""
    from huggingface_hub import hf_hub_download

    record = ask_hub(repository)
    missing = [file for file in record.files if not has_size(folder, file)]
    needed = sum(file.size for file in missing)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise CacheError(f"{folder}: {gib(needed)} are to be fetched and {gib(free)} are free; make room, or choose another --cache")
    write_record(folder, record)
    for number, file in enumerate(missing, 1):
        print(f"{number}/{len(missing)} {file.name} ({gib(file.size)})", flush=True)
        with hub_errors(file.name):
            hf_hub_download(repository, file.name, revision=record.revision, local_dir=folder)
        wrong = next(problems(folder, Record(repository, record.revision, (file,)), by_content=True), None)
        if wrong:
            (folder / file.name).unlink(missing_ok=True)
            raise CacheError(f"{wrong}; it was removed, run download again")
    print(f"complete: {len(record.files)} files, {gib(record.bytes)}\nuse it with: --ckpt-dir {folder}")
    return 0


def check(folder: Path, *, by_content: bool) -> int:
    """Prints what is wrong."""
    record = read_record(folder)
    found = list(problems(folder, record, by_content=by_content))
    for line in found:
        print(line)
    if found:
        print(f"{len(found)} of {len(record.files)} files are not as they should be: delete the damaged ones and run download")
        return 1
    what = "sizes and SHA-256" if by_content else "sizes"
    print(f"{folder}: {len(record.files)} files, {gib(record.bytes)}: {what} are right")
    return 0


def status(folder: Path) -> int:
    """Prints what is there."""
    record = read_record(folder)
    there = [file for file in record.files if has_size(folder, file)]
    print(f"{folder}\n{record.repository} at {record.revision[:12]}\n"
          f"{len(there)} of {len(record.files)} files, {gib(sum(f.size for f in there))} of {gib(record.bytes)}")
    return 0 if len(there) == len(record.files) else 1


def clean(folder: Path, *, yes: bool) -> int:
    """Deletes the folder, which must be one that download made."""
    record = read_record(folder)
    if not yes:
        try:
            answer = input(f"delete {folder} ({gib(record.bytes)})? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return 1
    shutil.rmtree(folder)
    print(f"deleted {folder}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("download", "status", "quick", "verify", "clean"))
    parser.add_argument("--task", choices=tuple(REPOSITORIES), default="i2v-A14B")
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("WAN_MODEL_CACHE") or Path.home() / ".cache" / "wan_batch"))
    parser.add_argument("--yes", action="store_true", help="clean: do not ask")
    options = parser.parse_args(arguments)
    repository = REPOSITORIES[options.task]
    folder = options.cache.expanduser().absolute() / repository.split("/")[1]
    run = {"download": lambda: download(folder, repository), "status": lambda: status(folder),
           "quick": lambda: check(folder, by_content=False), "verify": lambda: check(folder, by_content=True),
           "clean": lambda: clean(folder, yes=options.yes)}
    try:
        return run[options.command]()
    except CacheError as error:
        print(f"model_cache.py: error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"model_cache.py: error: {error.filename or folder}: {error.strerror}", file=sys.stderr)
    except ImportError:
        print("model_cache.py: error: huggingface_hub is missing; run jobs/setup.sh and use .venv/bin/python", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
