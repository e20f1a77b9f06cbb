"""wan_batch --plan --measured with a page of real runs on CPU ranks: its times are those of the bare columns."""

import json
import os
import re
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from wan_analysis.cli import main

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("WAN_BATCH", PROJECT / "build" / "bin" / "wan_batch"))
CHECKPOINT = PROJECT / "inputs" / "toy" / "checkpoint"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="wan_batch is not built")


def run(*arguments):
    command = [PROGRAM, "--ckpt-dir", CHECKPOINT, "--device", "cpu", "--log-level", "quiet", *arguments]
    return subprocess.run(list(map(str, command)), env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=300, check=True)


def seconds_of(plan, line):
    """Seconds of a line of the plan, and where they come from."""
    found = re.search(rf"(?m)^  {line} +([\d.]+) s  (.*)$", plan)
    return float(found[1]), found[2]


def test_the_plan_has_the_times_of_the_runs(tmp_path):
    rows = [f"{PROJECT}/inputs/toy/images/cat_on_beach.png,prompt {number},96*64,5,4" for number in range(3)]
    manifest = tmp_path / "rows.csv"
    manifest.write_text("image,prompt,size,frame_num,sample_steps\n" + "\n".join(rows) + "\n", encoding="utf-8")
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        run("--output-dir", out, manifest)
    page = tmp_path / "report.json"
    assert main(["report", *map(str, outs), "-o", str(tmp_path / "report.html"), "--json", str(page)]) == 0
    steps, decodes = [], []
    for out in outs:
        (path,) = (out / "trace").glob("*.h5")
        with h5py.File(path) as trace:
            steps.append(np.median(trace["steps/wall_s"][:][trace["steps/warm_up"][:] == 0]))
            rows_of_decode = (trace["phases/phase"][:] == b"decode") & (trace["phases/item"][:] > 0)
            decodes.append(np.median(trace["phases/wall_s"][:][rows_of_decode]))
    (entry,) = json.loads(page.read_text())["measured"]
    assert (entry["device"], entry["step_s"]["n"]) == ("cpu", 2)
    assert entry["step_s"]["median"] == pytest.approx(np.median(steps))
    assert entry["item_phases_s"]["decode"]["median"] == pytest.approx(np.median(decodes))
    plan = run("--plan", "--measured", page, manifest).stdout
    denoise_s, source = seconds_of(plan, r"denoise: 4 steps of [\d.]+ s")
    assert (denoise_s, source) == (pytest.approx(4 * np.median(steps), abs=0.006), "measured, 2 starts")
    assert seconds_of(plan, "decode") == (pytest.approx(np.median(decodes), abs=0.006), "measured, 2 starts")
    for line in ("text", "encode the image", r"H\.264"):
        assert seconds_of(plan, line)[1] == "measured, 2 starts"
    assert f"{page}: 1 layout of i2v-A14B on cpu" in plan
