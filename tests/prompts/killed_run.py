"""A start of extend_prompts.py in a child process that kills itself at a given moment.

The moments are the places where a kill could lose something: before and after each fsync, link, rename and removal, and in the middle of
each line of a journal.
"""

import os
import signal
from pathlib import Path

from prompts_case import StandIn, extend_prompts, journal


class Moments:
    """Kills the process at one of them, counted from 0."""

    def __init__(self, last: int) -> None:
        self.last, self.passed = last, 0

    def passing(self) -> None:
        if self.passed == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1

    def around(self, function):
        def call(*arguments, **options):
            self.passing()
            result = function(*arguments, **options)
            self.passing()
            return result
        return call


class HalfLines:
    """A journal's file that takes each line in two halves."""

    def __init__(self, stream, moments: Moments) -> None:
        self.stream, self.moments = stream, moments

    def write(self, line: bytes) -> int:
        written = self.stream.write(line[:max(1, len(line) // 2)])
        self.moments.passing()
        return written

    def fileno(self) -> int:
        return self.stream.fileno()


def patch(moments: Moments, events: Path) -> None:
    """For the rest of this process."""
    answer, add = StandIn.answer, journal.Journal.add

    def listened(self, system, user, image, **options):
        with events.open("a") as stream:
            stream.write(f"{user}\n")
        return answer(self, system, user, image, **options)

    def torn(self, done):
        if self._stream is not None and not isinstance(self._stream, HalfLines):
            self._stream = HalfLines(self._stream, moments)
        add(self, done)

    StandIn.answer, journal.Journal.add = listened, torn
    os.fsync, os.link = moments.around(os.fsync), moments.around(os.link)
    Path.replace, Path.unlink = moments.around(Path.replace), moments.around(Path.unlink)


def start(words: list[str], moment: int, events: Path) -> int:
    """The exit code, or -9."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        patch(Moments(moment), events)
        code = extend_prompts.main(words)
    finally:
        os._exit(code)
