#!/usr/bin/env python3
"""Runs build/bin/wan_batch as a user would and checks exit codes, messages and files.

    .venv/bin/python tests/cli/run_cli_tests.py [--nightly] [unittest arguments, for example test_usage or -k duplicate]

Cases that are marked with @nightly run with --nightly only, and then alone. At the end it lists the slowest cases: seconds by the
clock, and processor seconds of all their processes. WAN_BATCH names another program, WAN_MPIEXEC another mpirun.
"""

import resource
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from cli_case import PROGRAM, is_nightly  # noqa: E402  (needs the path)

MODULES = sorted(path.stem for path in Path(__file__).resolve().parent.glob("test_*.py"))
MOST_SLOW_CASES = 10


def processor_s() -> float:
    """Processor seconds of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Timed(unittest.TextTestResult):
    """Keeps the time of each case."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.times: list[tuple[float, float, str]] = []  # wall seconds, processor seconds, name

    def startTest(self, test):  # noqa: N802  (unittest's name)
        self.began = time.monotonic(), processor_s()
        super().startTest(test)

    def stopTest(self, test):  # noqa: N802
        super().stopTest(test)
        self.times.append((time.monotonic() - self.began[0], processor_s() - self.began[1], test.id()))


class Loader(unittest.TestLoader):
    """Takes the nightly cases or the others."""

    nightly = False

    def getTestCaseNames(self, case):  # noqa: N802
        return [name for name in super().getTestCaseNames(case) if is_nightly(getattr(case, name)) == self.nightly]


def main() -> int:
    if not PROGRAM.is_file():
        sys.exit(f"{PROGRAM} is not there: build it first (jobs/build.sh)")
    chosen = sys.argv[1:]
    loader = Loader()
    loader.nightly = "--nightly" in chosen
    chosen = [argument for argument in chosen if argument != "--nightly"]
    if not any(argument.split(".")[0] in MODULES for argument in chosen):
        chosen += MODULES
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Timed)
    program = unittest.main(module=None, argv=[sys.argv[0], *chosen], testRunner=runner, testLoader=loader, exit=False)
    for wall_s, cpu_s, name in sorted(program.result.times, reverse=True)[:MOST_SLOW_CASES]:
        print(f"{wall_s:6.1f} s, {cpu_s:6.1f} processor s  {name}")
    return 0 if program.result.wasSuccessful() and program.result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
