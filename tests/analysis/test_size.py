"""Time, memory and size of the page for long runs and for many starts.

With WAN_NIGHTLY=1 in full: 1,000 items x 40 steps x 8 ranks, and 200 starts. By default a twentieth, within the same limits.
"""

import os
import subprocess
import sys
from pathlib import Path

import synthetic
import synthetic1

PROJECT = Path(__file__).resolve().parents[2]
NIGHTLY = bool(os.environ.get("WAN_NIGHTLY"))
ITEMS, STARTS = (1000, 200) if NIGHTLY else (50, 10)
MEGABYTE, GIGABYTE = 10**6, 10**9


def report(folder: Path) -> tuple[float, int, int]:
    """CPU seconds and bytes of memory of a report of the folder, and bytes of its page."""
    page = folder / "report.html"
    script = ("import resource, sys; from wan_analysis.cli import main; code = main(sys.argv[1:]);"
              "own, below = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN));"
              "print(own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime, 1024 * max(own.ru_maxrss, below.ru_maxrss));"
              "sys.exit(code)")
    command = [sys.executable, "-c", script, "report", str(folder), "-o", str(page)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "analysis"), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    cpu_s, memory_bytes = done.stdout.split()[-2:]
    return float(cpu_s), int(memory_bytes), page.stat().st_size


def test_a_run_of_many_items(tmp_path):
    parts_s = synthetic.scaled_parts(8, cfg=2, ulysses=4, fsdp=False)
    synthetic1.Start(group_size=8, items=ITEMS, steps=40, noise=0.003, parts_s=parts_s, layout="cfg2 x ulysses4").write(tmp_path)
    cpu_s, memory_bytes, page_bytes = report(tmp_path)
    print(f"{ITEMS} items: {cpu_s:.1f} CPU seconds, {memory_bytes / GIGABYTE:.2f} GB, page {page_bytes / MEGABYTE:.2f} MB")
    assert cpu_s <= 10
    assert memory_bytes <= GIGABYTE
    assert page_bytes <= MEGABYTE


def test_many_starts(tmp_path):
    for number in range(STARTS):
        started = f"2026-01-01T{number // 60:02}:{number % 60:02}:00.500000Z"
        synthetic1.Start(name=f"r{number:04}", seed=number, steps=10, items=2, noise=0.003, started=started,
                         ids=(f"a{number}", f"b{number}")).write(tmp_path)
    cpu_s, memory_bytes, page_bytes = report(tmp_path)
    print(f"{STARTS} starts: {cpu_s:.1f} CPU seconds, {memory_bytes / GIGABYTE:.2f} GB, page {page_bytes / MEGABYTE:.2f} MB")
    assert cpu_s <= 20
    assert memory_bytes <= GIGABYTE
    assert page_bytes <= 2 * MEGABYTE
