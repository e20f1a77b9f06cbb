"""The nightly script with a stand-in for the benchmark."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RESULT = {"gpus": 4, "gpu_model": "NVIDIA H200", "model": "i2v-A14B", "size": "832*480", "frame_num": 81, "precision": "bf16",
          "layout": "cfg2 x ulysses2", "attention": "flashinfer", "s_per_step": 1.4, "step_s": [1.39, 1.4, 1.41],
          "parts_s": {"attention": 0.73, "linear": 0.57, "elementwise": 0.058, "all_to_all": 0.029, "host_copy": 0.0},
          "text_s": 0.02, "vae_encode_s": 0.17, "vae_decode_s": 0.77, "peak_vram_bytes": 64_000_000_000}


def nightly(tmp_path, result, *arguments, code=0):
    """Runs jobs/nightly.sh on a benchmark that prints `result` after other lines."""
    text = result if isinstance(result, str) else json.dumps(result)
    stand_in = tmp_path / "bench.py"
    stand_in.write_text(f"import sys\nprint('a table')\nprint({text!r})\nsys.exit({code})\n")
    return subprocess.run([PROJECT / "jobs" / "nightly.sh", "--history", tmp_path / "history", "--references", tmp_path / "ref.json",
                           *arguments, "--", sys.executable, stand_in], capture_output=True, text=True, check=False)


def with_part(part, factor):
    grown = RESULT["parts_s"][part] * (factor - 1)
    return RESULT | {"s_per_step": RESULT["s_per_step"] + grown, "parts_s": RESULT["parts_s"] | {part: RESULT["parts_s"][part] * factor}}


def test_a_night_like_the_last_passes_and_is_kept(tmp_path):
    assert nightly(tmp_path, RESULT, "--update").returncode == 0
    done = nightly(tmp_path, with_part("linear", 1.01))
    assert done.returncode == 0, done
    assert "REGRESSION" not in done.stdout
    entries = [json.loads(line) for line in (tmp_path / "history" / "history.jsonl").read_text().splitlines()]
    assert [entry["s_per_step"] for entry in entries] == [1.4, with_part("linear", 1.01)["s_per_step"]]
    assert "data:image/svg+xml" in (tmp_path / "history" / "trend.html").read_text()


@pytest.mark.parametrize("part", ["attention", "linear", "elementwise"])
def test_a_regression_names_the_part_that_grew(tmp_path, part):
    nightly(tmp_path, RESULT, "--update")
    done = nightly(tmp_path, with_part(part, 2.0 if part == "elementwise" else 1.08))
    assert done.returncode == 3, done
    assert f"a step's time grew in: {part}\n" in done.stdout
    assert "s_per_step" in done.stdout


def test_more_memory_is_a_regression_without_a_part(tmp_path):
    nightly(tmp_path, RESULT, "--update")
    done = nightly(tmp_path, RESULT | {"peak_vram_bytes": 68_000_000_000})
    assert done.returncode == 3
    assert "REGRESSION: peak_vram_bytes" in done.stdout
    assert "grew in" not in done.stdout


def test_a_manifest_that_takes_longer_is_a_regression(tmp_path):
    sleep = [f"{sys.executable} -c 'import time; time.sleep({seconds})'" for seconds in (0.5, 1.5)]
    assert nightly(tmp_path, RESULT, "--update", "--manifest-command", sleep[0]).returncode == 0
    done = nightly(tmp_path, RESULT, "--manifest-command", sleep[1])
    assert done.returncode == 3
    assert "REGRESSION: manifest_s" in done.stdout
    failed = nightly(tmp_path, RESULT, "--manifest-command", f"{sys.executable} -c 'raise SystemExit(3)'")
    assert failed.returncode == 1
    assert "the manifest's run ended with exit code 3" in failed.stderr


def test_references_hold_value_bounds_and_unit(tmp_path):
    nightly(tmp_path, RESULT, "--update")
    (entries,) = json.loads((tmp_path / "ref.json").read_text()).values()
    assert entries["s_per_step"] == [1.4, -0.03, 0.03, "s"]
    assert entries["peak_vram_bytes"][3] == "byte"
    assert "parts_s/host_copy" not in entries


@pytest.mark.parametrize(("result", "code", "said"), [
    (RESULT, 7, "exit code 7"), ("no json", 0, "is no JSON"), ({"gpus": 1}, 0, "lacks 's_per_step'"), (RESULT, 0, "--update")])
def test_what_cannot_be_judged_is_said(tmp_path, result, code, said):
    done = nightly(tmp_path, result, code=code)
    assert done.returncode == 1
    assert said in done.stderr


def test_the_earlier_word_for_bf16_is_the_same_work(tmp_path):
    earlier = RESULT | {"precision": "exact"}
    assert nightly(tmp_path, earlier, "--update").returncode == 0
    references = tmp_path / "ref.json"
    references.write_text(references.read_text().replace(", bf16, ", ", exact, "))
    for result in (RESULT, earlier):
        done = nightly(tmp_path, result)
        assert done.returncode == 0, done
    assert nightly(tmp_path, RESULT | {"precision": "fp32"}).returncode == 1
    assert nightly(tmp_path, RESULT, "--update").returncode == 0
    (key,) = json.loads(references.read_text())
    assert ", bf16, " in key


def test_another_layout_is_not_compared(tmp_path):
    nightly(tmp_path, RESULT, "--update")
    done = nightly(tmp_path, RESULT | {"layout": "cfg2 x ulysses2, fsdp4"})
    assert done.returncode == 1
    assert "holds no references for" in done.stderr


def test_a_cut_off_line_of_the_history_is_passed_over(tmp_path):
    nightly(tmp_path, RESULT, "--update")
    with (tmp_path / "history" / "history.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    assert nightly(tmp_path, RESULT).returncode == 0
    lines = (tmp_path / "history" / "history.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["s_per_step"] == 1.4


def test_the_users_manifest_command_is_the_one_that_is_timed(tmp_path):
    """Also where the script has a manifest of its own: on a machine with GPUs and without a command after --."""
    tools = tmp_path / "bin"
    tools.mkdir()
    ranks = f"case $* in *--version*) exit;; *wan_batch*) exit 9;; esac\necho {shlex.quote(json.dumps(RESULT))}"
    for name, body in (("nvidia-smi", "echo 'GPU 0: H200'"), ("mpirun", ranks)):
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)

    def run(*arguments):
        return subprocess.run([PROJECT / "jobs" / "nightly.sh", "--history", tmp_path / "history", "--references", tmp_path / "ref.json",
                               "--update", *arguments], capture_output=True, text=True, check=False,
                              env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"})

    touched = tmp_path / "a folder" / "touched"
    touched.parent.mkdir()
    command = shlex.join(["touch", str(touched)])
    for words in (["--manifest-command", command], [f"--manifest-command={command}"]):
        done = run(*words)
        assert done.returncode == 0, done
        assert touched.exists()
        touched.unlink()
    assert "the manifest's run ended with exit code 9" in run().stderr, "without one, the demo's manifest is timed"
