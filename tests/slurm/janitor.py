"""Cleans up after a test cluster: janitor.py FOLDER OWNER_PID

Waits until its standard input closes, then ends every process that belongs to the cluster and removes the folder. A process belongs to
it if SLURM_CONF in its environment lies in the folder, or it holds a file of the folder: no other process can, the name is new.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def belongs(process: Path, folder: str) -> bool:
    """False for processes that are gone, zombies among them."""
    with contextlib.suppress(OSError):
        if f"SLURM_CONF={folder}/".encode() in (process / "environ").read_bytes():
            return True
    with contextlib.suppress(OSError):
        links = [process / "cwd", *(process / "fd").iterdir()]
        for link in links:
            with contextlib.suppress(OSError):
                if str(link.readlink()).startswith(folder + "/"):
                    return True
    return False


def members(folder: str, spared: set[int]) -> list[int]:
    """Process ids of the cluster."""
    return [int(process.name) for process in Path("/proc").iterdir()
            if process.name.isdecimal() and int(process.name) not in spared and belongs(process, folder)]


def main() -> None:
    folder, owner = sys.argv[1], int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    spared = {os.getpid(), owner}
    # Twice without a find: what a dying slurmstepd was just starting is caught too.
    quiet = 0
    deadline = time.monotonic() + 30
    while quiet < 2 and time.monotonic() < deadline:
        found = members(folder, spared)
        quiet = 0 if found else quiet + 1
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
