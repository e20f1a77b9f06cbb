"""Kills a program that writes a trace at many moments, some of them in a write, and reads the file with h5py.

    kill_and_read.py PROGRAM [SHIM]    PROGRAM: steady_trace; SHIM: slow_shim.so, without which no write is slow

Every step that ended half a second before the kill must be there. Without a kill, slow writes must come from another thread than the steps,
and must not slow these down. WAN_NIGHTLY=1: 50 kills in place of 3.
"""
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import h5py
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

PROGRAM, SHIM = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
KILLS = 50 if os.environ.get("WAN_NIGHTLY") == "1" else 3
IN_THE_FILE_AFTER_S = 0.5
WRITE_MS = 20


def start(folder: Path, steps: int, milliseconds: int) -> subprocess.Popen:
    slow = {"LD_PRELOAD": SHIM, "WAN_SLOW": f"{folder}|{milliseconds}", "WAN_SLOW_LOG": str(folder.with_suffix(".log"))}
    return subprocess.Popen([PROGRAM, folder / "t.h5", str(steps)], stdout=subprocess.PIPE, text=True,
                            env=os.environ | (slow if SHIM and milliseconds else {}))


def steps_of(lines: list[str]) -> dict[int, float]:
    """From step to when it ended, on the monotonic clock."""
    words = [line.split() for line in lines if line.startswith("step") and line.endswith("\n")]
    return {int(word[1]): float(word[2]) for word in words}


def read_steps(path: Path) -> list[int]:
    with h5py.File(path, "r") as trace:
        columns = {len(column) for column in trace["steps"].values()}
        assert len(columns) == 1, f"columns differ: {columns}"
        for table in trace.values():
            for column in table.values():
                column[:]
        assert trace["items/id"].asstr()[:].tolist() == ["a"]
        return trace["steps/step"][:].tolist()


def kill_once(folder: Path, after_s: float) -> tuple[bool, float]:
    """Whether the kill came in the middle of a write, and how old the first step was that is missing."""
    folder.mkdir()
    program = start(folder, 100_000, WRITE_MS)
    lines = [program.stdout.readline() for _ in range(2)]  # of the thread and of the first step: the file is there
    time.sleep(after_s)
    killed_s = time.monotonic()
    program.send_signal(signal.SIGKILL)
    lines += program.stdout.readlines()
    program.wait()
    written = set(read_steps(folder / "t.h5"))
    ended = steps_of(lines)
    missing = [killed_s - end_s for step, end_s in ended.items() if step not in written and end_s < killed_s]
    assert not missing or max(missing) < IN_THE_FILE_AFTER_S, f"a step that ended {max(missing):.3f} s before the kill is missing"
    log = folder.with_suffix(".log")
    in_a_write = log.exists() and log.read_text().splitlines()[-1].startswith("begin")
    return in_a_write, max(missing, default=0)


def run_whole(folder: Path, milliseconds: int) -> float:
    """Seconds of the steps. Looks at who writes, and at what the steps spend on the trace."""
    folder.mkdir()
    program = start(folder, 150, milliseconds)
    lines = program.stdout.readlines()
    assert program.wait() == 0
    _, thread, begun = lines[0].split()
    ended = steps_of(lines)
    assert read_steps(folder / "t.h5") == [step for step in range(150) for _ in range(2)]
    assert not list(folder.glob(".*")), "a hidden file is left after an orderly end"
    if milliseconds and SHIM:
        writers = {line.split()[1] for line in folder.with_suffix(".log").read_text().splitlines()}
        assert writers and thread not in writers, (thread, writers)
    spent = sorted(float(line.split()[3]) for line in lines if line.startswith("step"))
    wall_s = ended[149] - float(begun)
    # Walls of two runs differ by more than that on a machine that others use. It may take the core away in a few steps.
    assert sum(spent[:-5]) < 0.05 * wall_s, f"the steps spend {sum(spent[:-5])} of {wall_s} s on the trace"
    assert spent[len(spent) // 2] < 1e-3, f"a step spends {spent[len(spent) // 2]} s on the trace"
    return wall_s


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fast_s = run_whole(folder / "fast", 0)
        slow_s = run_whole(folder / "slow", WRITE_MS)
        chance = random.Random(1)
        seen = [kill_once(folder / str(number), 0.3 + 1.2 * chance.random()) for number in range(KILLS)]
        in_a_write = sum(was_in for was_in, _ in seen)
        assert in_a_write > 0 or not SHIM or KILLS < 10, "no kill came in a write"
        print(f"{KILLS} kills, {in_a_write} in a write; the oldest step that was missing ended {max(age for _, age in seen):.3f} s before; "
              f"steps took {fast_s:.3f} s, with slow writes {slow_s:.3f} s")


main()
