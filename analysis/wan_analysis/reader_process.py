"""Reads files in a process of its own, because a damaged file may make the HDF5 library crash, run for ever or ask for any memory.

One process reads one file after another. It is replaced by a fresh one after a file with anything wrong, so that what that file
did to the process cannot reach the next one. Measured on two busy cores: a fresh process costs 40 ms, a file in it no time that
shows.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import resource
import signal
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from wan_analysis.raw_file import RawFile, read_raw

#: CPU seconds for a file, and bytes of it that one second more is granted for.
CPU_S, CPU_BYTES_PER_S = 5, 10_000_000
#: A file that has not been read after so many times its CPU seconds waits for something that does not come.
WALL_PER_CPU = 12
#: Memory for a file: this many bytes, and this many times its own size.
MEMORY_BYTES, MEMORY_PER_BYTE = 512 << 20, 8


class FileReader:
    """Use it in a `with` block; `read` never throws and never hangs."""

    def __init__(self) -> None:
        self._child = 0
        self._pipe: Connection | None = None

    def __enter__(self) -> FileReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, path: Path) -> RawFile:
        """The columns of a regular file, or why they cannot be read."""
        try:
            size_bytes = path.stat().st_size
            if self._pipe is None:
                self._begin()
            result = self._ask(path, CPU_S + size_bytes // CPU_BYTES_PER_S, size_bytes)
        except OSError as error:
            result = RawFile(refusal=f"cannot be read ({error.strerror or error})")
        if result.refusal or result.problems:
            self._end()
        return result

    def _ask(self, path: Path, cpu_s: int, size_bytes: int) -> RawFile:
        assert self._pipe is not None
        try:
            self._pipe.send((path, cpu_s, MEMORY_BYTES + MEMORY_PER_BYTE * size_bytes))
            if self._pipe.poll(WALL_PER_CPU * cpu_s):
                return _receive(self._pipe)
        except (EOFError, OSError, pickle.UnpicklingError):
            return RawFile(refusal=f"{self._how_it_died(cpu_s)}; left out")
        return RawFile(refusal=f"was not read within {WALL_PER_CPU * cpu_s} s; left out")

    def _how_it_died(self, cpu_s: int) -> str:
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number in (signal.SIGXCPU, signal.SIGKILL):
                return f"is damaged: HDF5 worked on it for more than {cpu_s} s"
            return f"is damaged: HDF5 crashed on it ({signal.Signals(number).name})"
        return "is damaged: HDF5 ended the process that read it"

    def _begin(self) -> None:
        here, there = Pipe()
        self._child = os.fork()
        if self._child == 0:
            here.close()
            _serve(there)
        there.close()
        self._pipe = here

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, 0)
            self._child = 0


def _serve(pipe: Connection) -> None:
    """Answers until the other end closes. Says nothing itself, also when it crashes."""
    try:
        faulthandler.disable()
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        while True:
            path, cpu_s, memory_bytes = pipe.recv()
            _limit(cpu_s, memory_bytes)
            _send(pipe, read_raw(path))
    except BaseException:  # nothing of this process may run on: it is a copy of the program
        pass
    finally:
        os._exit(0)


def _limit(cpu_s: int, memory_bytes: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft if most == resource.RLIM_INFINITY else min(soft, most), most))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory_bytes
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _send(pipe: Connection, result: RawFile) -> None:
    """The numbers of columns travel as they are, beside the rest."""
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    sizes = [buffer.raw().nbytes for buffer in buffers]
    pipe.send((sizes, len(rest)))
    pipe.send_bytes(rest)
    for buffer, size in zip(buffers, sizes, strict=True):
        if size:
            pipe.send_bytes(buffer.raw())


def _receive(pipe: Connection) -> RawFile:
    sizes, _ = pipe.recv()
    rest = pipe.recv_bytes()
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        if buffer:
            pipe.recv_bytes_into(buffer)
    return pickle.loads(rest, buffers=buffers)
