#!/usr/bin/env python3
"""Times how long wan_batch takes to load a checkpoint, for one program or several, on 1, 2, ... GPUs.

    time_loading.py CKPT IMAGE [--program NAME=PATH ...] [--ranks 1 2] [--group-size N] [--repeat 2] [--out FOLDER]

Each start makes one small video, so that the programs' results can be compared. The table has, for each program and number of ranks,
the seconds that the log says ("checkpoint loaded in"), the seconds from the start of mpirun until that line, and the MD5 of the video.
The first start with a checkpoint reads it into the page cache and is not counted (--no-warm-up: it is). Exit code 1 if a start fails or
videos of one number of ranks differ.
"""

import argparse
import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOADED = re.compile(r"checkpoint loaded in ([\d.]+) s")
REQUEST = ("--base-seed", "1", "--frame-num", "5", "--sample-steps", "2", "--prompt", "a harbour at dawn")


def start(program: str, ranks: int, arguments: argparse.Namespace, out: Path) -> tuple[float, float, str]:
    """Seconds of the loading as the log says, seconds until that line came, and the video's MD5."""
    shutil.rmtree(out, ignore_errors=True)
    options = [*REQUEST, "--size", arguments.size, "--image", str(arguments.image), "--ckpt-dir", str(arguments.ckpt)]
    options += ["--output-dir", str(out)]
    if arguments.group_size:
        options += ["--group-size", str(arguments.group_size)]
    begun = time.monotonic()
    said, came_s, lines = None, None, []
    with subprocess.Popen(["mpirun", "--oversubscribe", "-np", str(ranks), program, *options], stderr=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, text=True, errors="replace", env=os.environ) as child:
        for line in child.stderr:
            lines.append(line)
            if said is None and (found := LOADED.search(line)):
                said, came_s = float(found.group(1)), time.monotonic() - begun
    videos = sorted(out.glob("*.mp4"))
    if child.returncode != 0 or said is None or len(videos) != 1:
        sys.exit(f"{program} on {ranks} ranks: exit code {child.returncode}, {len(videos)} videos\n{''.join(lines[-30:])}")
    return said, came_s, hashlib.md5(videos[0].read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--program", action="append", help="NAME=PATH; default: now=build/bin/wan_batch")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--group-size", type=int, help="ranks of a group; default: wan_batch decides")
    parser.add_argument("--size", default="512*512")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--no-warm-up", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "time_loading")
    arguments = parser.parse_args()
    programs = dict(word.split("=", 1) for word in arguments.program or ["now=build/bin/wan_batch"])
    if not arguments.no_warm_up:
        start(next(iter(programs.values())), arguments.ranks[0], arguments, arguments.out)
    same = True
    print(f"{'program':<10} {'ranks':>5} {'loaded in, s':>22} {'until the line, s':>22}  video", flush=True)
    for ranks in arguments.ranks:
        sums = set()
        for name, program in programs.items():
            runs = [start(program, ranks, arguments, arguments.out) for _ in range(arguments.repeat)]
            columns = [" ".join(f"{run[i]:.1f}" for run in runs) + f" ({statistics.median(run[i] for run in runs):.1f})" for i in (0, 1)]
            sums |= {run[2] for run in runs}
            print(f"{name:<10} {ranks:>5} {columns[0]:>22} {columns[1]:>22}  {runs[0][2][:8]}", flush=True)
        if len(sums) > 1:
            same = False
            print(f"{ranks} ranks: the videos differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
