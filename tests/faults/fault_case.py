"""Shared by the fault tests: a scratch batch, runs of it that are disturbed, and checks that hold at any moment."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cli_case import MPIEXEC, PROJECT, environment, png

TEST_PROGRAMS = PROJECT / "build" / "tests" / "bin"
STUB = Path(os.environ.get("WAN_STUB_BATCH", TEST_PROGRAMS / "stub_batch"))
SHIM = Path(os.environ.get("WAN_FAULT_SHIM", TEST_PROGRAMS / "libfault_shim.so"))
NIGHTLY = os.environ.get("WAN_NIGHTLY") == "1"
# Runs at a time: most of a run is starting and ending, which waits more than it computes.
WORKERS = int(os.environ.get("WAN_FAULT_WORKERS", "4"))

DONE, FAILURE, SOME_FAILED = 0, 1, 3
# Seconds of silence after which an owner is dead. A beat may come late, on a busy machine or disk: nobody is given up for that.
PATIENCE = ["--stale-after", "60"]


@dataclass(frozen=True)
class Layout:
    """Ranks and ranks per group; ranks 0 is a bare start."""

    ranks: int = 0
    group_size: int = 1


@dataclass(frozen=True)
class Fault:
    """The fault to cause: see fault_shim.cpp."""

    call: str
    pattern: str
    action: str
    at: int = 1
    rank: int | None = None

    def environment(self, log: Path) -> dict[str, str]:
        rank = {} if self.rank is None else {"WAN_FAULT_RANK": str(self.rank)}
        return {"WAN_FAULT": f"{self.call}|{self.pattern}|{self.at}|{self.action}", "WAN_FAULT_LOG": str(log), **rank}


@dataclass
class Ended:
    code: int
    text: str  # stdout and stderr

    def __str__(self) -> str:
        return f"exit {self.code}\n{self.text}"


class WrongError(AssertionError):
    """A check that failed, with what is needed to look into it."""


def check(condition: object, message: str) -> None:
    if not condition:
        raise WrongError(message)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def descendants(pid: int) -> list[int]:
    """Processes that a process started, itself not included."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        check(time.monotonic() < deadline, f"{what} did not come within {timeout_s} s")
        time.sleep(0.005)


def until_in_time(case: Callable[[int], bool], limits_s: tuple[int, ...] = (5, 20, 80)) -> None:
    """Runs a case with a time limit, of which the start of a busy machine may leave nothing: it says so by False, and gets a longer one."""
    check(any(case(limit_s) for limit_s in limits_s), f"the run did not come far enough within {limits_s[-1]} s")


class Running:
    """A run under way; its output goes to a file, so that it never waits for a reader."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path, log: Path):
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True)

    def wait(self, timeout_s: float = 90) -> Ended:
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill_all()
            self.process.kill()
            self.process.wait()
            raise WrongError(f"a run did not end within {timeout_s} s:\n{self.log.read_text(errors='replace')}") from None
        return Ended(code, self.log.read_text(errors="replace"))

    def ranks(self, program: Path) -> list[int]:
        """Process ids of those that run `program`, under mpirun or bare."""
        found = []
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            try:
                if Path(f"/proc/{pid}/exe").resolve() == program.resolve():
                    found.append(pid)
            except OSError:
                continue
        return found

    def kill_all(self, program: Path = STUB) -> None:
        self.signal_all(signal.SIGKILL, program)

    def signal_all(self, number: signal.Signals, program: Path = STUB) -> None:
        for pid in self.ranks(program):
            with contextlib.suppress(ProcessLookupError):  # it ended a moment ago
                os.kill(pid, number)


class Batch:
    """A manifest and its output folder in a scratch folder of their own; a context manager."""

    def __init__(self, items: int, program: Path = STUB):
        self.program = program
        self.patience = PATIENCE if program == STUB else []
        self.ids = [f"item{number}" for number in range(items)]
        self.runs = 0

    def __enter__(self) -> "Batch":
        self.folder = Path(tempfile.mkdtemp(prefix="wan_fault_"))
        self.out = self.folder / "out"
        self.journal = self.folder / "journal"
        self.fault_log = self.folder / "fault"
        (self.folder / "good.png").write_bytes(png(16, 16))
        self.manifest = self.folder / "rows.csv"
        self.manifest.write_text("id,image,prompt\n" + "".join(f"{name},good.png,prompt of {name}\n" for name in self.ids))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def arguments(self, layout: Layout) -> list[str]:
        return ["--manifest", "rows.csv", "--output-dir", str(self.out), "--journal", str(self.journal), "--group-size",
                str(layout.group_size), "--save-latents"]

    def start(self, layout: Layout, *more: str, fault: Fault | None = None) -> Running:
        environ = environment()
        launcher = [MPIEXEC, "-np", str(layout.ranks), "--oversubscribe"] if layout.ranks else []
        if fault is not None:
            environ |= fault.environment(self.fault_log)
            if layout.ranks:
                launcher += ["-x", f"LD_PRELOAD={SHIM}"]
            else:
                environ["LD_PRELOAD"] = str(SHIM)
        self.runs += 1
        patience = [] if "--stale-after" in more else self.patience
        command = [*launcher, str(self.program), *self.arguments(layout), *patience, *more]
        return Running(command, environ, self.folder, self.folder / f"run{self.runs}.log")

    def run(self, layout: Layout, *more: str, fault: Fault | None = None, timeout_s: float = 90) -> Ended:
        return self.start(layout, *more, fault=fault).wait(timeout_s)

    def engine_runs(self) -> list[str]:
        """Ids in the order in which engines began them, over all runs."""
        return [line.split()[0] for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    def outputs_of(self, name: str) -> list[Path]:
        files = [self.out / f"{name}{suffix}" for suffix in (".mp4", ".latent.safetensors", ".json")]
        return [path for path in files if path.exists()]

    def contents(self) -> dict[str, str]:
        """Checksums of all videos and latents under final names."""
        files = [*self.out.glob("[!.]*.mp4"), *self.out.glob("[!.]*.safetensors")]
        return {path.name: sha256(path) for path in files}

    def finished(self) -> dict[str, list[tuple]]:
        """Items with a sidecar, and what tells whether their files are touched later on."""
        return {name: [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in self.outputs_of(name)]
                for name in self.ids if (self.out / f"{name}.json").exists()}

    def saved_states(self) -> dict[str, int]:
        """Steps done of the items in mid-work, by id."""
        states = {}
        for path in (self.out / ".state").glob("[!.]*.json"):
            with contextlib.suppress(FileNotFoundError):  # the item was finished a moment ago
                record = json.loads(path.read_text())
                states[record["id"]] = record["steps_done"]
        return states

    def let_files_age(self) -> None:
        """Makes what unfinished work left older than an owner may be silent: nothing says whose it is, and it goes when it is old."""
        for folder in (self.out, self.out / ".claims", self.out / ".state"):
            for path in folder.glob(".*"):
                if path.is_file() and not path.is_symlink():
                    os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))

    def check_resumed(self, states: dict[str, int], finished_before: dict[str, list[tuple]]) -> None:
        """After the last run: it went on from the states that were there and whose items were not finished."""
        for name in states.keys() - finished_before.keys():
            resumed_at = json.loads((self.out / f"{name}.json").read_text())["resumed_at_steps"]
            check(resumed_at[-1:] == [states[name]], f"{name} had a state of step {states[name]}, its sidecar says {resumed_at}")

    def hidden(self) -> list[str]:
        """Unfinished files and claims that are still there."""
        left = [path.name for path in self.out.glob(".*") if path.name not in (".claims", ".state")]
        for folder in (self.out / ".claims", self.out / ".state"):
            # .batch-* tells `wan_batch status` what the folder is for; it is meant to stay.
            left += [f"{folder.name}/{path.name}" for path in folder.glob("*") if not path.name.startswith(".batch-")]
        return sorted(left)

    def check_nothing_partial(self, reference: dict[str, str]) -> None:
        """Holds at any moment: what has a final name is complete, and what a sidecar says of it is true."""
        for name, checksum in self.contents().items():
            check(checksum == reference[name], f"{name} is not what an uninterrupted run makes")
        for name in self.finished():
            record = json.loads((self.out / f"{name}.json").read_text())
            check(set(record["outputs"]) == {"video", "latents"}, f"{name}.json names other outputs: {record['outputs']}")
            for output in record["outputs"].values():
                check(sha256(self.out / output["file"]) == output["sha256"], f"{output['file']} is not what {name}.json says")

    def check_complete(self, reference: dict[str, str], finished_before: dict[str, list[tuple]], made_before: list[str]) -> None:
        """After the last run: everything is there, nothing that was finished was touched, nothing is left over."""
        self.check_nothing_partial(reference)
        check(self.contents().keys() == reference.keys(), f"lost: {reference.keys() - self.contents().keys()}")
        after = self.finished()
        check(set(after) == set(self.ids), f"lost: {set(self.ids) - set(after)}")
        for name, files in finished_before.items():
            check(after[name] == files, f"{name} was finished and was made again: {files} became {after[name]}")
        made_again = Counter(self.engine_runs()[len(made_before):])
        check(made_again == Counter(set(self.ids) - set(finished_before)),
              f"finished before: {sorted(finished_before)}; made afterwards: {dict(made_again)}")
        check(not list(self.out.glob("*.failed.json")), "an item has a failure record")
        check(not self.hidden(), f"left behind: {self.hidden()}")
        record = json.loads((self.out / "run.json").read_text())
        check(record["exit_code"] == DONE and record["counts"]["rows"] == len(self.ids), f"run.json says {record}")


class FaultCase(unittest.TestCase):
    items = 4

    @classmethod
    def setUpClass(cls):
        """The results of an uninterrupted run, which do not depend on its layout."""
        with Batch(cls.items) as batch:
            ended = batch.run(Layout(ranks=2))
            check(ended.code == DONE, str(ended))
            cls.reference = batch.contents()
            check(len(cls.reference) == 2 * cls.items, f"the reference run made {sorted(cls.reference)}")

    def all_of(self, cases: Iterable[tuple[str, Callable[[], None]]]) -> None:
        """Runs named cases, several at a time, and reports each that fails."""
        def attempt(case: tuple[str, Callable[[], None]]) -> str:
            try:
                case[1]()
            except Exception as error:  # a case that breaks is a case that fails
                return f"--- {case[0]}: {type(error).__name__}: {error}"
            return ""

        cases = list(cases)
        with ThreadPoolExecutor(WORKERS) as pool:
            problems = [problem for problem in pool.map(attempt, cases) if problem]
        if problems:
            self.fail(f"{len(problems)} of {len(cases)} cases failed\n" + "\n".join(problems))
