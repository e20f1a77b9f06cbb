#!/usr/bin/env python3
"""Runs a command and measures the host memory of the wan_batch processes in it, up to "checkpoint loaded" and over the whole run.

    host_memory.py --most-gib N COMMAND ...

Anonymous memory (RssAnon of /proc/PID/status) is what counts: the sum over the processes of the most that each had. Pages of files,
which the system can take back, and locked and pinned ones are printed beside it; not every driver has its page-locked memory counted.
The exit code is the command's. It is 1 if the command succeeded but used more than N GiB while loading, or nothing could be measured.
"""

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

PROGRAM = "wan_batch"
LOADED = "checkpoint loaded"
PERIOD_S = 0.05
FIELDS = ("RssAnon", "RssFile", "RssShmem", "VmPin", "VmLck")
KIB_PER_GIB = 1 << 20


def processes() -> dict[int, tuple[str, int]]:
    """Name and parent of every process."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has ended
        found[int(folder.name)] = (name, int(rest.split()[1]))
    return found


def descends(pid: int, ancestor: int, known: dict[int, tuple[str, int]]) -> bool:
    while pid in known and pid != ancestor:
        pid = known[pid][1]
    return pid == ancestor


def memory_of(pid: int) -> dict[str, int]:
    """KiB by field; empty if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    split = (line.partition(":") for line in lines)
    return {name: int(value.split()[0]) for name, _, value in split if name in FIELDS}


class Peaks:
    """The most that each process had of each kind of memory."""

    def __init__(self):
        self.by_process: dict[int, dict[str, int]] = {}

    def note(self, pid: int, memory: dict[str, int]) -> None:
        peaks = self.by_process.setdefault(pid, dict.fromkeys(FIELDS, 0))
        for name, kib in memory.items():
            peaks[name] = max(peaks[name], kib)

    def sum_gib(self, name: str) -> float:
        return sum(peaks[name] for peaks in self.by_process.values()) / KIB_PER_GIB

    def describe(self) -> str:
        others = ", ".join(f"{name} {self.sum_gib(name):.2f}" for name in FIELDS[1:])
        return f"anonymous {self.sum_gib('RssAnon'):.2f} GiB in {len(self.by_process)} processes ({others})"


def pass_on(stream, loaded: threading.Event) -> None:
    for line in stream:
        sys.stderr.write(line)
        sys.stderr.flush()
        if LOADED in line:
            loaded.set()


def measure(command: list[str]) -> tuple[int, bool, Peaks, Peaks]:
    """Exit code, whether the loading came to an end, and the peaks while loading and of the whole run."""
    loading, whole, loaded = Peaks(), Peaks(), threading.Event()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as child:
        reader = threading.Thread(target=pass_on, args=(child.stderr, loaded))
        reader.start()
        while child.poll() is None:
            known = processes()
            for pid, (name, _) in known.items():
                if name != PROGRAM or not descends(pid, child.pid, known):
                    continue
                memory = memory_of(pid)
                whole.note(pid, memory)
                if not loaded.is_set():
                    loading.note(pid, memory)
            time.sleep(PERIOD_S)
        reader.join()
    return child.returncode, loaded.is_set(), loading, whole


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures the anonymous host memory of a run of wan_batch.")
    parser.add_argument("--most-gib", type=float, required=True, help="allowed while loading, summed over the ranks")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    code, was_loaded, loading, whole = measure(arguments.command)
    print(f"HOST MEMORY while loading: {loading.describe()}")
    print(f"HOST MEMORY in the whole run: {whole.describe()}", flush=True)
    if code != 0:
        return code
    if not was_loaded or not loading.by_process:
        print(f"host_memory: error: saw no {PROGRAM} process, or none that said '{LOADED}'", file=sys.stderr)
        return 1
    if loading.sum_gib("RssAnon") > arguments.most_gib:
        print(f"host_memory: error: more than {arguments.most_gib:g} GiB of anonymous memory while loading", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
