"""Advice on real campaigns of the toy model on CPU ranks: the predicted rank-hours hold those of other manifests.

With WAN_NIGHTLY=1: a study of three layouts, then five manifests. A preloaded library makes the writing of a video last three seconds, so
that an item's time is not only that of cores which other processes use, too.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from wan_analysis.cli import main

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("WAN_BATCH", PROJECT / "build" / "bin" / "wan_batch"))
MPIEXEC = os.environ.get("WAN_MPIEXEC") or shutil.which("mpirun")
SHIM = Path(os.environ.get("WAN_SLOW_SHIM", PROJECT / "build" / "tests" / "bin" / "libslow_shim.so"))
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1",
               "WAN_SLOW": ".mp4|600", "LD_PRELOAD": str(SHIM)}
STARTS, ROWS = 6, 5
#: Options of the study's cases, and (place of the case, videos) of each manifest that is predicted.
CASES = ["1", "2 --group-size 1", "2 --group-size 2"]
MANIFESTS = [(0, 15), (1, 25), (2, 20), (0, 6), (1, 13)]

pytestmark = pytest.mark.skipif(not os.environ.get("WAN_NIGHTLY") or not PROGRAM.exists() or not SHIM.exists() or MPIEXEC is None,
                                reason="runs at night, with wan_batch, the tests' libslow_shim.so and mpirun")


def manifest(folder, rows):
    path = folder / f"rows_{rows}.csv"
    lines = [f"{PROJECT}/inputs/toy/images/cat_on_beach.png,row {number},96*64,5,2" for number in range(rows)]
    path.write_text("image,prompt,size,frame_num,sample_steps\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def arguments(path):
    return ["--ckpt-dir", str(PROJECT / "inputs/toy/checkpoint"), "--device", "cpu", "--base-seed", "1", "--log-level", "quiet",
            "--writers", "0", str(path)]


def test_intervals_hold_the_rank_hours_of_real_manifests(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    study = ["study", "-o", str(tmp_path / "study"), "--starts", str(STARTS), "--most-starts", str(STARTS), "--seed", "1"]
    for case in CASES:
        study += ["--case", case]
    for ranks in (1, 2):
        study += ["--launch", f"{ranks} {MPIEXEC} --oversubscribe -np {ranks}"]
    assert main([*study, "--", str(PROGRAM), *arguments(manifest(tmp_path, ROWS))]) == 0
    held, widths = 0, []
    for number, (place, videos) in enumerate(MANIFESTS):
        found = tmp_path / f"advice_{number}.json"
        assert main(["advise", str(tmp_path / "study"), "--videos", str(videos), "--json", str(found)]) == 0
        ranks, *options = CASES[place].split()
        groups = 2 if CASES[place].endswith("--group-size 1") else 1
        predicted = next(one for one in json.loads(found.read_text())["layouts"] if (one["gpus"], one["groups"]) == (int(ranks), groups))
        began_s = time.monotonic()
        command = [MPIEXEC, "--oversubscribe", "-np", ranks, str(PROGRAM), "--no-resume", *arguments(manifest(tmp_path, videos)), *options]
        subprocess.run([*command, "--output-dir", str(tmp_path / f"out_{number}")], check=True, timeout=600)
        hours = int(ranks) * (time.monotonic() - began_s) / 3600
        low, high, median = (predicted["gpu_hours"][name] for name in ("low", "high", "median"))
        seconds = [f"{3600 * value:.1f}" for value in (hours, median, low, high)]
        print("{}, {} videos: {} rank-s, predicted {} ({} to {})".format(CASES[place], videos, *seconds))
        held += low <= hours <= high
        widths.append((high - low) / 2 / median)
    print("half-widths:", [f"{100 * width:.1f} %" for width in widths])
    assert held >= 4, held
    assert max(widths) <= 0.15, widths
