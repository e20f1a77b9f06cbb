"""jobs/scaling.sh in folders with odd names and damaged files: nothing is taken for made that is not, and every message names its file."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_scaling import PROJECT, scaling, stub
from wan_analysis.scaling_parts import read_parts
from wan_analysis.study_record import StudyCase, StudyRecord

needs_mpirun = pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun")
PLANNED = {"part": "load", "name": "fp32 files on 1", "ranks": 1, "starts": 1}
MADE = {"part": "load", "name": "fp32 files on 1", "ranks": 1, "outcome": "passed", "wall_s": 1, "told": ""}


@pytest.mark.parametrize("change", [{"starts": None}, {"ranks": None}, {"starts": float("inf")}, {"part": "bench-480p", "name": ""},
                                    {"part": "bench-480p", "name": "many"}, {"part": "bench-480p", "name": '1 "'}])
def test_a_plan_with_an_impossible_line_is_refused_with_its_place(tmp_path, change):
    (tmp_path / "bench-480p").mkdir()
    StudyRecord("wan_bench", [StudyCase("gpus_1", 1)], [], 1, 3, 3, 0.01).write_settings(tmp_path / "bench-480p")
    (tmp_path / "plan.jsonl").write_text(json.dumps(PLANNED) + "\n" + json.dumps(PLANNED | change) + "\n")
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/plan.jsonl, line 2 is no planned row")):
        read_parts(tmp_path)


@pytest.mark.parametrize("change", [{"ranks": [1]}, {"outcome": None}, {"wall_s": None}, {"wall_s": "x"}, {"told": None}, None])
def test_a_made_part_whose_line_is_impossible_is_not_made(tmp_path, change):
    (tmp_path / "plan.jsonl").write_text(json.dumps(PLANNED) + "\n")
    line = {"part": "load"} if change is None else MADE | change
    (tmp_path / "parts.jsonl").write_text(json.dumps({name: value for name, value in line.items() if value is not None}) + "\n")
    assert [row.missing for row in read_parts(tmp_path)] == ["not made"]


@needs_mpirun
def test_lines_that_a_kill_cut_off_are_made_again(tmp_path):
    build, folder = tmp_path / "build", tmp_path / "study"
    stub(build, "tests/bin/comm_conformance_test", "exit 0")
    for name in ("bin/wan_bench", "bin/wan_batch"):
        stub(build, name, f"echo start >>{tmp_path}/started; exit 0")
    folder.mkdir()
    (folder / "parts.jsonl").write_text('{"part": "checks", "name": "comm')
    assert scaling(folder, "checks", build=build, counts=(1,)).returncode == 0
    assert not [row for row in read_parts(folder) if row.part == "checks" and not row.is_complete]
    for _ in range(2):
        assert scaling(folder, "--starts", "1", "bench-480p", build=build, counts=(1,)).returncode == 0
    starts = folder / "bench-480p" / "starts.jsonl"
    starts.write_text(starts.read_text()[:-40])
    assert '"exit_code": 0,' in starts.read_text()
    assert scaling(folder, "--starts", "1", "bench-480p", build=build, counts=(1,)).returncode == 0
    assert (tmp_path / "started").read_text() == "start\nstart\n"


@needs_mpirun
def test_a_scratch_folder_may_have_any_name(tmp_path):
    build, scratch = tmp_path / "build", tmp_path / 'scr, "a\'b'
    for name in ("bin/wan_bench", "bin/wan_batch"):
        stub(build, name, "exit 9")
    scaling(tmp_path / "study", "--scratch", str(scratch), "load", build=build, counts=(1,))
    ((_, image, _),) = list(csv.reader((scratch / "one.csv").open()))[1:]
    assert image == f"{scratch}/images/0.png" and Path(image).is_file()


@needs_mpirun
def test_ctrl_c_ends_what_runs_and_the_same_command_goes_on(tmp_path):
    build, folder, begun = tmp_path / "build", tmp_path / "study", tmp_path / "begun"
    stub(build, "bin/wan_batch", "exit 0")
    stub(build, "bin/wan_bench", f"echo $$ >'{begun}.new'; mv '{begun}.new' '{begun}'; exec sleep 987")
    command = [str(PROJECT / "jobs" / "scaling.sh"), "-o", str(folder), "--counts", "1", "--build", str(build), "--device", "cpu",
               "--scratch", str(tmp_path / "scratch"), "--starts", "1", "bench-480p"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    given_up_s = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < given_up_s:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    said = child.communicate(timeout=30)[0]
    assert (child.returncode, said.splitlines()[-1]) == (130, "scaling.sh: stopped; the same command goes on")
    rank, given_up_s = Path(f"/proc/{begun.read_text().strip()}"), time.monotonic() + 10
    while rank.exists() and time.monotonic() < given_up_s:  # mpirun may end before it
        time.sleep(0.05)
    assert not rank.exists()
    stub(build, "bin/wan_bench", "exit 0")
    assert scaling(folder, "--starts", "1", "bench-480p", build=build, counts=(1,)).returncode == 0
