#!/usr/bin/env python3
"""Keeps checkpoints on a cluster: downloads them from the hub, continues after interruptions, checks them.

    model_cache.py [--task TASK [--diffusers] | --repository ORG/NAME [--files PATTERN]...] [--cache FOLDER]
                   download|status|quick|verify|clean

    download   downloads the missing files of the checkpoint and checks the SHA-256 of every file; keeps the revision
               of the first download until --update requests the newest one
    status     lists the files that are there, without network
    quick      sizes of all files, and whether they changed since they were checked, without network
    verify     SHA-256 of all files, without network (minutes: it reads everything)
    clean      deletes the checkpoint, after asking (--yes: without asking)

TASK is i2v-A14B (the default), t2v-A14B or ti2v-5B of Wan 2.2; t2v-1.3B, t2v-14B, i2v-14B-480P or i2v-14B-720P of Wan 2.1.
--diffusers takes the same checkpoint from its repository in Diffusers' layout. --repository names any other repository of
the hub, and --files (may be repeated) the files to take from one that holds many: --files '*t2v_1.3B_fp16.safetensors'.

Files that are already in the hub's own cache are linked or copied, not downloaded again.

The folder is --cache, or WAN_MODEL_CACHE, or ~/.cache/wan_batch. HF_ENDPOINT names another hub, HF_TOKEN a token.
Exit codes: 0 all well, 1 something is missing, damaged or failed, 2 usage.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import download_lock
from cache_record import (
    Record,
    WantedFile,
    is_checked,
    is_inside,
    problem_of,
    read_record,
    sha256_of,
    stamp,
    write_record,
)
from hub_library import (
    NO_ROOM,
    OFFLINE,
    CacheError,
    do_without_hub_locks,
    do_without_xet,
    hub_errors,
    is_on,
    prepare_library,
)

REPOSITORIES = {"i2v-A14B": "Wan-AI/Wan2.2-I2V-A14B", "t2v-A14B": "Wan-AI/Wan2.2-T2V-A14B", "ti2v-5B": "Wan-AI/Wan2.2-TI2V-5B",
                "t2v-1.3B": "Wan-AI/Wan2.1-T2V-1.3B", "t2v-14B": "Wan-AI/Wan2.1-T2V-14B",
                "i2v-14B-480P": "Wan-AI/Wan2.1-I2V-14B-480P", "i2v-14B-720P": "Wan-AI/Wan2.1-I2V-14B-720P"}
#: The files of a repository that wan_batch reads. The others are pictures and examples.
WANTED = ("*.json", "*.safetensors", "*.pth", "google/*")
#: Room that a download leaves free on the disk.
SPARE_BYTES = 1 << 30


def gib(count: int) -> str:
    """12.3 GiB."""
    return f"{count / 2**30:.1f} GiB"


def ask_hub(repository: str, patterns: tuple[str, ...] = WANTED) -> Record:
    """The record of the hub's current files that match. Throws CacheError."""
    from huggingface_hub import HfApi

    with hub_errors(repository):
        info = HfApi().model_info(repository, files_metadata=True)
    files = []
    for sibling in info.siblings or []:
        name = sibling.rfilename
        if not any(fnmatch(name, pattern) for pattern in patterns):
            continue
        if not is_inside(name) or sibling.size is None:
            raise CacheError(f"{repository}: the hub lists a file that cannot be kept: {name!r}")
        files.append(WantedFile(name, sibling.size, sibling.lfs.sha256 if sibling.lfs else None))
    if not files:
        raise CacheError(f"{repository}: the hub lists no file of a checkpoint there (none is called {' or '.join(patterns)})")
    return Record(repository, str(info.sha), tuple(files))


def take_from_hub_cache(folder: Path, record: Record, file: WantedFile) -> bool:
    """Links or copies a file that the hub's own cache has."""
    from huggingface_hub import constants

    if file.sha256 is None:
        return False
    store = Path(constants.HF_HUB_CACHE) / ("models--" + record.repository.replace("/", "--"))
    for place in (store / "blobs" / file.sha256, store / "snapshots" / record.revision / file.name):
        try:
            source = place.resolve()
            if not source.is_file() or source.stat().st_size != file.size or sha256_of(source) != file.sha256:
                continue
            target = folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                partial = target.with_name(f".{target.name}.{os.getpid()}")
                shutil.copyfile(source, partial)
                partial.replace(target)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            continue
        return True
    return False


def fetch(folder: Path, record: Record, file: WantedFile) -> WantedFile:
    """Downloads one file and checks it. Returns its updated record. Throws CacheError."""
    from huggingface_hub import hf_hub_download

    with hub_errors(file.name):
        if not take_from_hub_cache(folder, record, file):
            if is_on("HF_HUB_OFFLINE"):
                raise CacheError(f"{file.name}: {OFFLINE}")
            try:
                hf_hub_download(record.repository, file.name, revision=record.revision, local_dir=folder)
            except Exception as error:
                if not do_without_xet(error):
                    raise
                hf_hub_download(record.repository, file.name, revision=record.revision, local_dir=folder)
    path = folder / file.name
    wrong = problem_of(folder, file, by_content=True)
    if wrong:
        forget(folder, file)
        raise CacheError(f"{wrong}; it was removed, run download again")
    return checked_file(path, file)


def checked_file(path: Path, file: WantedFile) -> WantedFile:
    """The record of a file whose content was just checked. The file is flushed to the disk before the record says so."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return dataclasses.replace(file, sha256=file.sha256 or sha256_of(path), checked=stamp(path))


def forget(folder: Path, file: WantedFile) -> None:
    """Removes a file and the hub library's notes about it, so that it is downloaded again. Throws CacheError if it lies elsewhere."""
    if not (folder / file.name).parent.resolve().is_relative_to(folder.resolve()):
        raise CacheError(f"{folder / file.name}: lies outside of {folder}, because a folder on the way is a link; remove the file or the "
                         "link, and run download again")
    (folder / file.name).unlink(missing_ok=True)
    (folder / ".cache" / "huggingface" / "download" / f"{file.name}.metadata").unlink(missing_ok=True)


def wanted_record(folder: Path, repository: str, *, update: bool, patterns: tuple[str, ...] = ()) -> Record:
    """The files that the checkpoint must have: from its record, or else from the hub. `patterns`: only these, and those of the record."""
    known = None
    with contextlib.suppress(CacheError):
        known = read_record(folder)
    if known is not None and not update and known.repository == repository and holds_all(known, patterns):
        return known
    if is_on("HF_HUB_OFFLINE"):
        raise CacheError(f"{repository}: {OFFLINE}")
    kept = tuple(file.name for file in known.files) if known is not None and patterns else ()
    newest = ask_hub(repository, (*patterns, *kept) or WANTED)
    if not holds_all(newest, patterns):
        raise CacheError(f"{repository}: the hub lists no file that is called as one of --files says: {' '.join(patterns)}")
    if known is None:
        return newest
    if patterns and not update and known.revision != newest.revision:
        raise CacheError(f"{folder} holds revision {known.revision[:12]}, and the hub has {newest.revision[:12]}: add --update")
    if known.revision != newest.revision:
        print(f"from revision {known.revision[:12]} to {newest.revision[:12]}")
    # A checked file keeps its mark if the hub's sum is the same. The sum of a small file is known only for its revision.
    before = {file.name: file for file in known.files}
    files = []
    for file in newest.files:
        old = before.get(file.name)
        same = old is not None and old.size == file.size and (
            old.sha256 == file.sha256 if file.sha256 else known.revision == newest.revision)
        files.append(old if same else file)
    return Record(newest.repository, newest.revision, tuple(files))


def holds_all(record: Record, patterns: tuple[str, ...]) -> bool:
    """Whether each pattern has a file in the record."""
    return all(any(fnmatch(file.name, pattern) for file in record.files) for pattern in patterns)


def missing_of(folder: Path, record: Record) -> tuple[list[WantedFile], Record]:
    """Checks the content of the files that are there. Returns the files to download and the updated record."""
    files, missing = [], []
    for file in record.files:
        if not is_checked(folder, file):
            path = folder / file.name
            if file.sha256 is not None and problem_of(folder, file, by_content=True) is None:
                file = checked_file(path, file)
            else:
                if path.exists():
                    print(f"{file.name}: does not match its record; it is downloaded again")
                    forget(folder, file)
                missing.append(file)
        files.append(file)
    return missing, dataclasses.replace(record, files=tuple(files))


def require_room(folder: Path, record: Record, missing: list[WantedFile]) -> None:
    """Throws CacheError if the missing files do not fit on the disk."""
    needed = sum(file.size for file in missing)
    free = shutil.disk_usage(folder).free
    if missing and needed + SPARE_BYTES > free:
        raise CacheError(f"{folder}: {gib(needed)} of {gib(record.bytes)} are to be fetched and {gib(free)} are free; make room, or "
                         "choose another --cache")


def download(folder: Path, repository: str, *, update: bool, patterns: tuple[str, ...] = ()) -> int:
    """Downloads the missing files."""
    prepare_library(folder.parent)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with download_lock.hold(folder) as said:
            if said:
                print(said, file=sys.stderr)
            if not download_lock.has_flock(folder):
                do_without_hub_locks()
            return download_locked(folder, repository, update=update, patterns=patterns)
    except download_lock.LockedError as error:
        raise CacheError(str(error)) from None


def download_locked(folder: Path, repository: str, *, update: bool, patterns: tuple[str, ...] = ()) -> int:
    """The same, for the holder of the folder's lock."""
    record = wanted_record(folder, repository, update=update, patterns=patterns)
    missing, record = missing_of(folder, record)
    require_room(folder, record, missing)
    write_record(folder, record)
    for number, file in enumerate(missing, 1):
        print(f"{number}/{len(missing)} {file.name} ({gib(file.size)})", flush=True)
        fetched = fetch(folder, record, file)
        record = dataclasses.replace(record, files=tuple(fetched if f.name == file.name else f for f in record.files))
        write_record(folder, record)
    use = f"use them with: --model, --vae, ..., with files of {folder}" if patterns else f"use it with: --ckpt-dir {folder}"
    print(f"complete: {len(record.files)} files, {gib(record.bytes)}, revision {record.revision[:12]}\n{use}")
    return 0


def check(folder: Path, *, by_content: bool) -> int:
    """Prints the problems."""
    record = read_record(folder)
    found, files = [], []
    for file in record.files:
        wrong = problem_of(folder, file, by_content=by_content)
        if wrong:
            found.append(wrong)
        elif by_content:
            file = dataclasses.replace(file, checked=stamp(folder / file.name))
        files.append(file)
    if by_content:
        with contextlib.suppress(OSError):  # this user may only read the cache
            write_record(folder, dataclasses.replace(record, files=tuple(files)))
    for line in found:
        print(line)
    if found:
        print(f"{len(found)} of {len(record.files)} files are damaged or missing: run download, which downloads them again")
        return 1
    what = "sizes and SHA-256" if by_content else "sizes"
    print(f"{folder}: {len(record.files)} files, {gib(record.bytes)}: {what} are right")
    return 0


def status(folder: Path) -> int:
    """Prints which files are there."""
    record = read_record(folder)
    there = [file for file in record.files if is_checked(folder, file)]
    unchecked = [file for file in record.files if file not in there and problem_of(folder, file, by_content=False)
                 and (folder / file.name).is_file() and (folder / file.name).stat().st_size == file.size]
    print(f"{folder}\n{record.repository} at {record.revision[:12]}\n"
          f"{len(there)} of {len(record.files)} files, {gib(sum(f.size for f in there))} of {gib(record.bytes)}")
    if unchecked:
        print(f"{len(unchecked)} more have the right size, but their content was not checked since they changed: run verify")
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
    shutil.rmtree(folder.resolve())
    if folder.is_symlink():
        folder.unlink()
    print(f"deleted {folder}")
    return 0


def cache_folder(given: Path | None) -> Path:
    """The folder of all checkpoints. Throws CacheError."""
    folder = given or (Path(os.environ["WAN_MODEL_CACHE"]) if os.environ.get("WAN_MODEL_CACHE") else None)
    try:
        return (folder or Path.home() / ".cache" / "wan_batch").expanduser().absolute()
    except RuntimeError:
        raise CacheError("there is no home folder (HOME is not set); name the cache with --cache or WAN_MODEL_CACHE") from None


def is_repository(name: str) -> bool:
    """Whether a name is ORG/NAME, and NAME can be a folder's name."""
    return re.fullmatch(r"[\w.-]+/[\w-][\w.-]*", name, re.ASCII) is not None


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("download", "status", "quick", "verify", "clean"), help="see above")
    parser.add_argument("--task", choices=tuple(REPOSITORIES), help="the checkpoint (default: i2v-A14B)")
    parser.add_argument("--cache", type=Path, metavar="FOLDER",
                        help="folder of all checkpoints (default: WAN_MODEL_CACHE, then ~/.cache/wan_batch)")
    parser.add_argument("--update", action="store_true", help="download: the newest revision instead of the recorded one")
    parser.add_argument("--yes", action="store_true", help="clean: do not ask")
    parser.add_argument("--diffusers", action="store_true", help="the task's repository in Diffusers' layout")
    parser.add_argument("--repository", metavar="ORG/NAME", help="a repository of the hub, in place of --task")
    parser.add_argument("--files", metavar="PATTERN", action="append", default=[], help="with --repository: only these files")
    options = parser.parse_args(arguments)
    if options.repository and (options.task or options.diffusers):
        parser.error("--repository takes the place of --task and --diffusers")
    if options.repository and not is_repository(options.repository):
        parser.error(f"--repository: {options.repository!r} is not of the form ORG/NAME")
    if options.files and not options.repository:
        parser.error("--files goes with --repository")
    repository = options.repository or REPOSITORIES[options.task or "i2v-A14B"] + ("-Diffusers" if options.diffusers else "")
    folder = None
    try:
        folder = cache_folder(options.cache) / repository.split("/")[1]
        run = {"download": lambda: download(folder, repository, update=options.update, patterns=tuple(options.files)),
               "status": lambda: status(folder),
               "quick": lambda: check(folder, by_content=False), "verify": lambda: check(folder, by_content=True),
               "clean": lambda: clean(folder, yes=options.yes)}
        return run[options.command]()
    except CacheError as error:
        print(f"model_cache.py: error: {error}", file=sys.stderr)
    except OSError as error:
        reason = f"{NO_ROOM[error.errno]}; make room, or choose another --cache" if error.errno in NO_ROOM else error.strerror
        print(f"model_cache.py: error: {error.filename or folder}: {reason}", file=sys.stderr)
    except KeyboardInterrupt:
        print("model_cache.py: error: stopped; run download again: it continues", file=sys.stderr)
    except ImportError:
        print("model_cache.py: error: huggingface_hub is missing; run jobs/setup.sh and use .venv/bin/python", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
