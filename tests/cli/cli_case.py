"""Shared by the command line tests: a scratch folder, images, manifests, and runs of the program as a user starts it."""

import functools
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
import unittest
import zlib
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("WAN_BATCH", PROJECT / "build" / "bin" / "wan_batch"))
MPIEXEC = os.environ.get("WAN_MPIEXEC", "mpirun")
CHECKPOINT = PROJECT / "inputs" / "toy" / "checkpoint"

DONE, FAILURE, USAGE, SOME_FAILED = 0, 1, 2, 3
SMALL = ["--size", "64*64", "--frame-num", "5", "--sample-steps", "2", "--base-seed", "7"]


def project_version() -> str:
    """The one place of the version: project() in CMakeLists.txt."""
    text = (PROJECT / "CMakeLists.txt").read_text(encoding="utf-8")
    match = re.search(r"^project\(wan_batch VERSION (\d+\.\d+\.\d+)\b", text, re.MULTILINE)
    assert match, "CMakeLists.txt has no line 'project(wan_batch VERSION X.Y.Z'"
    return match.group(1)


@dataclass
class Result:
    code: int
    out: str
    err: str
    made: set[str] = field(default_factory=set)  # files and folders new or changed in the scratch folder

    def errors(self) -> list[str]:
        """The program's own messages; mpirun adds others, none of which has this word."""
        return [line for line in self.err.splitlines() if "error:" in line]

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def environment() -> dict[str, str]:
    """Works as root, on few cores, and without a GPU that happens to be there."""
    return os.environ | {
        "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "CUDA_VISIBLE_DEVICES": "",
    }


def png(width: int, height: int) -> bytes:
    """An RGB gradient as a PNG file."""
    rows = b"".join(b"\0" + b"".join(bytes((255 * x // width, 255 * y // height, 128)) for x in range(width)) for y in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def nightly(case):
    """Marks a case that takes long: run_cli_tests.py runs it with --nightly only."""
    case.is_nightly = True
    return case


def is_nightly(case) -> bool:
    """Whether a case has that mark."""
    return getattr(case, "is_nightly", False)


def each(*values):
    """Makes one case of each value: the method gets it as its argument."""

    def mark(case):
        case.values = values
        return case

    return mark


def with_value(case, value):
    """A method without an argument."""

    @functools.wraps(case)
    def run(self):
        case(self, value)

    del run.values
    return run


class CliCase(unittest.TestCase):
    maxDiff = None
    prefix: list[str] = []  # words before the program on every rank, such as env NAME=VALUE
    # What no run prints. MPI_ABORT is right only where one rank fails in the middle of an item and takes the others with it.
    crash_words: tuple[str, ...] = ("terminate called", "what():", "received signal", "Segmentation", "MPI_ABORT")

    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more)
        for name, case in list(vars(cls).items()):
            if hasattr(case, "values"):
                delattr(cls, name)
                for number, value in enumerate(case.values, start=1):
                    setattr(cls, f"{name}_{number}", with_value(case, value))

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="wan_cli_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.out = self.folder / "out"
        (self.folder / "good.png").write_bytes(png(96, 64))

    def manifest(self, *lines: str, name: str = "rows.csv") -> Path:
        path = self.folder / name
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    def good_manifest(self) -> Path:
        return self.manifest("id,image,prompt", "one,good.png,A white cat")

    def command(self, *arguments, ranks: int = 0) -> list[str]:
        """ranks 0: a bare start without mpirun."""
        launcher = [MPIEXEC, "-np", str(ranks), "--oversubscribe"] if ranks else []
        return [*launcher, *self.prefix, str(PROGRAM), *map(str, arguments)]

    def run_program(self, *arguments, ranks: int = 0, timeout_s: int = 600) -> Result:
        """In the scratch folder, so that a path taken as relative by mistake shows. Ranks that share busy cores take turns very slowly."""
        before = self.snapshot()
        done = subprocess.run(self.command(*arguments, ranks=ranks), cwd=self.folder, env=environment(), timeout=timeout_s,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        made = {path for path, _ in self.snapshot() - before}
        # hwloc, inside MPI, complains by itself where /sys is not mounted, as in a chroot.
        err = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("[hwloc/"))
        result = Result(done.returncode, done.stdout, err, made)
        for word in self.crash_words:
            self.assertNotIn(word, result.err)
        return result

    def step_at_work(self, name: str) -> int | None:
        """Steps done of the item that a run makes now, as its owner's claim tells; None while nobody says that it is at work."""
        for owner in (self.out / ".claims").glob(".owner-*"):
            try:
                progress = json.loads(owner.read_text(encoding="utf-8").splitlines()[2])
            except (FileNotFoundError, IndexError, ValueError):  # it came, went or was written to a moment ago
                continue
            if progress.get("id") == name:
                return progress["step"]
        return None

    def wait_for_step(self, process: subprocess.Popen, name: str, steps: int, log: Path | None = None) -> None:
        """Waits until an item has made that many steps since it was first seen at work. A resumed item is first seen at a later step."""
        deadline, first = time.monotonic() + 120, None
        while (step := self.step_at_work(name)) is None or step < (first := step if first is None else first) + steps:
            self.assertIsNone(process.poll(), log and log.read_text())
            self.assertLess(time.monotonic(), deadline, f"{name} made no {steps} steps")
            time.sleep(0.01)

    def snapshot(self) -> set[tuple[str, int]]:
        """All that is in the scratch folder, with times of change."""
        return {(str(path.relative_to(self.folder)), path.lstat().st_mtime_ns) for path in self.folder.rglob("*")}

    def run_batch(self, manifest: Path, *arguments, ranks: int = 0, checkpoint: Path = CHECKPOINT) -> Result:
        """A run with the toy checkpoint and small videos; `arguments` come last and win."""
        return self.run_program("--device", "cpu", "--ckpt-dir", checkpoint, "--output-dir", self.out, *SMALL, manifest, *arguments,
                                ranks=ranks)

    def records(self) -> dict[str, dict]:
        """The records of finished items by id."""
        records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in self.out.glob("*.json")}
        return {name: record for name, record in records.items() if record.get("status") == "done"}

    def assert_usage_error(self, result: Result, *fragments: str):
        """Exit 2, one message that says all of it, and nothing made."""
        self.assertEqual(result.code, USAGE, result)
        self.assertEqual(len(result.errors()), 1, result)
        message = result.err.partition("error:")[2]  # may list findings on lines of their own
        for fragment in fragments:
            self.assertIn(fragment, message)
        self.assertEqual(result.made, set(), result)
