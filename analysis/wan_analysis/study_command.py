"""The subcommand ``study``: starts a program again and again on several numbers of ranks and layouts, then writes the page.

jobs/study.sh and slurm/scaling_study.sh call it with the words that launch ranks. It goes on with a study that was interrupted.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from wan_analysis.advice import Wishes
from wan_analysis.advise_command import DEFAULT_VIDEOS, advice_of
from wan_analysis.figures import RunFigures
from wan_analysis.repetitions import items_per_hour, step_s
from wan_analysis.report import Report
from wan_analysis.run import Run, gather_runs
from wan_analysis.study import make_study
from wan_analysis.study_record import StartRecord, StudyCase, StudyError, StudyRecord, folders_of, read_record
from wan_analysis.study_schedule import SECONDS_PER_HOUR, Schedule
from wan_analysis.texts import listed, printable
from wan_analysis.times import time_text
from wan_analysis.trace_file import read_traces

DONE, FAILURE, USAGE = 0, 1, 2
#: The last lines of a failed start's output that are shown.
_SHOWN_LINES = 12
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def add_study(commands: argparse._SubParsersAction) -> None:
    """Adds ``study`` to the commands of a parser."""
    study = commands.add_parser("study", help="start a program again and again on several numbers of ranks; see jobs/study.sh")
    study.set_defaults(run=run_study)
    study.add_argument("-o", "--output", type=Path, default=Path("study"), metavar="DIR", help="the study (default: %(default)s)")
    study.add_argument("--case", type=_case, action="append", required=True, metavar="'RANKS OPTION...'",
                       help="ranks, and options of the program for this case; several times")
    study.add_argument("--launch", type=_launch, action="append", default=[], metavar="'RANKS WORD...'",
                       help="the words before the program's that start so many ranks")
    study.add_argument("--starts", type=_positive, default=6, metavar="N", help="starts of each case at least (default: %(default)s)")
    study.add_argument("--most-starts", type=_positive, default=40, metavar="N", help="at most (default: %(default)s)")
    study.add_argument("--precision", type=float, default=1.0, metavar="PERCENT", help="the 95 %% interval of the median step "
                       "(wan_bench) or of items per hour (wan_batch) ends so near the median (default: %(default)s)")
    study.add_argument("--budget", type=float, default=math.inf, metavar="HOURS", help="all starts together (default: no bound)")
    study.add_argument("--session-hours", type=float, default=math.inf, metavar="HOURS", help="the starts of this call (default: no bound)")
    study.add_argument("--seed", type=int, metavar="N", help="of the random order (default: another one for each study)")
    study.add_argument("command", nargs="+", help="-- the program, wan_bench or wan_batch, and its arguments")


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of starts")
    return int(text)


def _ranks_and_words(text: str) -> tuple[int, tuple[str, ...]]:
    words = shlex.split(text)
    if not words or not re.fullmatch(r"[1-9]\d{0,5}", words[0]):
        raise argparse.ArgumentTypeError(f"'{text}' does not begin with a number of ranks")
    return int(words[0]), tuple(words[1:])


def _case(text: str) -> StudyCase:
    ranks, options = _ranks_and_words(text)
    name = "_".join([f"gpus_{ranks}", *(re.sub(r"[^A-Za-z0-9.-]+", "-", word.lstrip("-")).strip("-.") for word in options)])
    return StudyCase(name[:100], ranks, options)


def _launch(text: str) -> tuple[int, tuple[str, ...]]:
    return _ranks_and_words(text)


def run_study(options: argparse.Namespace) -> int:
    """Runs the study or what is missing of it, and writes its page; returns the exit code."""
    runner = None
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # Slurm ends jobs with it
    try:
        runner = _Runner(options)
        runner.begin()
        runner.make_starts()
        return runner.finish()
    except (StudyError, ValueError) as error:
        print(f"wan_analysis: error: {error}", file=sys.stderr)
        return USAGE
    except OSError as error:
        print(f"wan_analysis: error: {error.filename or options.output}: {error.strerror}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        made = len(runner.record.starts) if runner else 0
        print(f"wan_analysis: stopped after {made} starts; the same command goes on with the study", file=sys.stderr)
        return FAILURE
    finally:
        signal.signal(signal.SIGTERM, usual)
        if runner:
            runner.unlock()


class _Runner:
    """One session of a study."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder: Path = options.output
        self.launch = dict(options.launch)
        self.budget_s, self.session_s = options.budget * SECONDS_PER_HOUR, options.session_hours * SECONDS_PER_HOUR
        program, *arguments = options.command
        self.program = program
        kind = Path(program).name
        if kind not in ("wan_bench", "wan_batch"):
            raise ValueError(f"a study starts wan_bench or wan_batch, not {kind}")
        if not 0.0 < options.precision < 100.0 or not min(options.budget, options.session_hours) > 0.0:
            raise ValueError("--precision, --budget and --session-hours must be above 0")
        if options.most_starts < options.starts:
            raise ValueError(f"--most-starts {options.most_starts} is below --starts {options.starts}")
        names = [case.name for case in options.case]
        if len(set(names)) < len(names):
            raise ValueError("two cases are equal: " + listed(sorted({name for name in names if names.count(name) > 1})))
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if options.seed is None else options.seed
        self.is_seeded = options.seed is not None
        self.record = StudyRecord(kind, list(options.case), arguments, seed, options.starts, options.most_starts, options.precision / 100.0)
        self.values: dict[str, list[float]] = {}
        self.before_s = 0.0
        self._lock = -1

    def unlock(self) -> None:
        """Lets other processes go on with the study."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def begin(self) -> None:
        """Makes the folder, or takes up the study that it holds. Throws StudyError if that is another one, or is running."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)  # the lock ends with this process at the latest
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyError(f"{self.folder}: this study is running") from error
        old = read_record(self.folder)
        if old is not None:
            self._take_up(old)
        elif any(self.folder.iterdir()):
            raise StudyError(f"{self.folder} is not empty and holds no study; name another folder")
        self.record.write_settings(self.folder)
        there = [path for case in self.record.cases for path in folders_of(self.folder, case).values()]
        runs = runs_in(there)
        self._adopt_unrecorded(there, runs)
        for start in self.record.starts:
            self._add_value(start, runs.get(self.folder / start.folder))
        self.before_s = Schedule(self.record, self.values).spent_s
        if self.record.starts:
            print(f"{self.folder}: goes on after {len(self.record.starts)} starts")

    def _take_up(self, old: StudyRecord) -> None:
        new = self.record
        pairs = {"program": (old.program, new.program), "cases": (old.cases, new.cases), "arguments": (old.arguments, new.arguments)}
        if self.is_seeded:
            pairs["seed"] = (old.seed, new.seed)
        differ = [name for name, (one, other) in pairs.items() if one != other]
        if differ:
            raise StudyError(f"{self.folder} holds a study with other {listed(differ)}; name another folder, or give those of study.json")
        new.seed, new.starts = old.seed, old.starts

    def _adopt_unrecorded(self, there: Sequence[Path], runs: Mapping[Path, Run]) -> None:
        """A start that ended although this program was killed counts; what is left of a start that was cut off is removed."""
        known = {start.folder for start in self.record.starts}
        for path in there:
            name = f"{path.parent.name}/{path.name}"
            if name in known:
                continue
            run = runs.get(path)
            if run is not None and _has_ended(run):
                number, wall_s = int(path.name.removeprefix("start_")), float(run.rank_spans["end_s"].max())
                self.record.add(self.folder, StartRecord(path.parent.name, number, name, 0, wall_s, run.attribute("started")))
            else:
                shutil.rmtree(path)
                print(f"{path}: was cut off, and is made again")

    def make_starts(self) -> None:
        """Starts the program until the schedule ends."""
        while (case := self._schedule().next_case()) is not None:
            number = 1 + max((start.number for start in self.record.of_case(case.name)), default=0)
            start = self._start(case, number)
            self.record.add(self.folder, start)
            self._add_value(start, runs_in([self.folder / start.folder]).get(self.folder / start.folder))
            print(f"{start.folder}: GPUs: {case.ranks}, exit code {start.exit_code}, {time_text(start.wall_s)}", flush=True)
            if start.exit_code:
                self._show_output(start)

    def _schedule(self) -> Schedule:
        return Schedule(self.record, self.values, self.budget_s, self.session_s, self.before_s)

    def _start(self, case: StudyCase, number: int) -> StartRecord:
        name = f"{case.name}/start_{number}"
        folder = self.folder / name
        folder.mkdir(parents=True)
        launch = self.launch.get(case.ranks, ("mpirun", "-np", str(case.ranks)))
        place = ["--trace", str(folder / "trace.h5")] if self.record.program == "wan_bench" else ["--output-dir", str(folder)]
        more = [] if self.record.program == "wan_bench" else ["--no-resume"]
        command = [*launch, self.program, *more, *self.record.arguments, *case.options, *place]
        began, began_s = datetime.now(timezone.utc).isoformat(), time.monotonic()
        with (self.folder / f"{name}.log").open("w", encoding="utf-8") as log:
            print(shlex.join(command), file=log, flush=True)
            try:
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                         preexec_fn=_end_with_parent)
            except OSError as error:
                print(f"{command[0]} cannot be started: {error.strerror}", file=log)
                return StartRecord(case.name, number, name, 127, time.monotonic() - began_s, began)
            try:
                code = child.wait()
            except KeyboardInterrupt:
                child.terminate()
                child.wait()
                raise
        return StartRecord(case.name, number, name, code, time.monotonic() - began_s, began)

    def _show_output(self, start: StartRecord) -> None:
        lines = (self.folder / f"{start.folder}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[-_SHOWN_LINES:]:
            print(f"  {printable(line)}")

    def _add_value(self, start: StartRecord, run: Run | None) -> None:
        if start.exit_code == 0 and run is not None and not run.steps.empty:
            figures = RunFigures(run)
            self.values.setdefault(start.case, []).append(step_s(figures) if figures.is_benchmark else items_per_hour(figures))

    def finish(self) -> int:
        """Says what was left out and writes the page. Exit code 1 if a case failed."""
        schedule = self._schedule()
        self.record.left_out = schedule.left_out()
        self.record.write_settings(self.folder)
        for text in self.record.left_out:
            print(f"left out: {text}")
        failed = [str(case.ranks) for case in self.record.cases if schedule.is_given_up(case)]
        study = make_study(read_traces([self.folder]))
        if not study.figures:
            print("wan_analysis: error: no count ran to its end, so there is nothing to report; the messages are above", file=sys.stderr)
            return FAILURE
        page = self.folder / "report.html"
        advice = advice_of(study, Wishes(DEFAULT_VIDEOS), self.record)
        Report(study, {}, "Scaling study", (), self.record, advice).write(page, None, self.folder / "report.json")
        print(f"report: {page}, its numbers: {self.folder / 'report.json'}")
        if failed:
            print(f"failed with GPUs: {' '.join(dict.fromkeys(failed))}; the messages are above")
        return FAILURE if failed else DONE


def _end_with_parent() -> None:
    """In the child: it ends if this program is killed, so that no start runs beside its repetition."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def _has_ended(run: Run) -> bool:
    """Whether every group of a start came to its end."""
    return len(run.groups) == int(run.groups[0].attributes["groups"]) and all(
        group.attributes.get("exit_reason") == "done" for group in run.groups)


def runs_in(folders: Iterable[Path]) -> dict[Path, Run]:
    """The start whose trace lies in each folder; folders without one that can be read are left out."""
    there = [folder for folder in folders if any((folder / name).exists() for name in ("trace.h5", "trace"))]
    places = {folder.resolve(): folder for folder in there}
    runs = gather_runs(read_traces(there).groups)
    return {places[place]: run for run in runs for place in run.folders if place in places}
