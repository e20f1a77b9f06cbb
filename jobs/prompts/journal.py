"""Rows that are done, kept beside the output: a start that was killed loses the row in hand and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from .problems import UsageProblem

PUBLISHED = "published.txt"


@dataclass(frozen=True)
class Done:
    """The result of one row. `key` stands for everything that decides its text."""

    key: str
    prompt: str
    status: str  #: for the column extend_status
    settings: str
    extended: bool
    final: bool  #: False: the next start tries again
    line: int  #: of the row in its manifest, for people who read the journal
    seconds: float
    refused: tuple[str, ...] = ()  #: answers that were not taken


def parse(line: bytes) -> Done | None:
    """A line of a journal; None for one that was cut off or does not come from here."""
    try:
        fields = json.loads(line)
        fields["refused"] = tuple(fields.get("refused", ()))
        done = Done(**fields)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    texts = (done.key, done.prompt, done.status, done.settings)
    return done if all(isinstance(text, str) for text in texts) and isinstance(done.extended, bool) else None


class Journal:
    """The folder OUT.rows. Each start writes a file of its own, so that tasks on several nodes never share one."""

    def __init__(self, output: Path) -> None:
        """Makes the folder. Throws UsageProblem if that is not possible."""
        self.output = output
        self.folder = output.with_name(f"{output.name}.rows")
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageProblem(f"{self.folder}: cannot be made: {error.strerror}; rows that are done are kept there") from error
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._path = self.folder / f"rows-{stamp}-{socket.gethostname()}-{os.getpid()}-{time.time_ns() % 10**9:09d}.jsonl"
        self._stream = None

    def read(self) -> dict[str, Done]:
        """The rows that are done, by key. A result counts before one that is to be tried again."""
        found: dict[str, Done] = {}
        for path in sorted(self.folder.glob("rows-*.jsonl")):
            # A line without its line break was cut off.
            for line in path.read_bytes().split(b"\n")[:-1]:
                done = parse(line)
                if done is not None and not (done.key in found and found[done.key].final):
                    found[done.key] = done
        return found

    def add(self, done: Done) -> None:
        """Keeps a row. When it returns, the row survives a kill and a crash of the machine."""
        if self._stream is None:
            self._stream = self._path.open("xb", buffering=0)
            sync_folder(self.folder)
        line = json.dumps(asdict(done)).encode() + b"\n"
        while line:
            line = line[self._stream.write(line):]
        os.fsync(self._stream.fileno())

    def require_ours(self) -> str | None:
        """Throws UsageProblem if the output exists and was not written from this folder, or was edited since. Returns its SHA-256."""
        if not os.path.lexists(self.output):
            return None
        if self.output.is_symlink() or not self.output.is_file():
            raise UsageProblem(f"{self.output} exists and is no plain file; choose another -o")
        digest = sha256_of(self.output)
        if digest not in self._published():
            raise UsageProblem(f"{self.output} exists, and extend_prompts.py did not write it, or it was edited since; move it away or "
                               "choose another -o")
        return digest

    def _published(self) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return set((self.folder / PUBLISHED).read_text(encoding="ascii", errors="replace").split())
        return set()

    def publish(self, content: bytes, check: Callable[[Path], None]) -> bool:
        """Gives the output its content in one step. `check` looks at the file before. False: it has this content already."""
        digest = hashlib.sha256(content).hexdigest()
        existing = self.require_ours()
        if existing == digest:
            return False
        temporary = self.output.with_name(f".{self.output.stem}.{socket.gethostname()}.{os.getpid()}{self.output.suffix}")
        try:
            with temporary.open("wb") as stream:
                stream.write(content)
                os.fsync(stream.fileno())
            check(temporary)
            self._note(digest)
            if existing is not None:
                temporary.replace(self.output)
            else:
                self._link(temporary, digest)
            sync_folder(self.output.parent)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _note(self, digest: str) -> None:
        """Comes before the output: an output of ours is always known as such."""
        with (self.folder / PUBLISHED).open("a", encoding="ascii") as stream:
            stream.write(digest + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(self.folder)

    def _link(self, temporary: Path, digest: str) -> None:
        """Gives the file its name unless somebody else has taken the name meanwhile."""
        try:
            os.link(temporary, self.output)
        except FileExistsError:
            if self.require_ours() != digest:
                raise UsageProblem(f"{self.output} appeared meanwhile with other content; run again") from None
        except OSError:  # a file system without hard links
            self.require_ours()
            temporary.replace(self.output)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Makes new names in the folder survive a crash of the machine, where the file system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
