"""jobs/scaling.sh: its plan, its calls on CPU ranks with the toy model, and the rows and the missing parts on its page.

With WAN_NIGHTLY=1 a dry run of 8 ranks makes every part; else 2 ranks do.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from wan_analysis.scaling_parts import PartRow, missing_of, read_parts
from wan_analysis.study_record import StartRecord, StudyCase, StudyRecord, read_record

PROJECT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("WAN_BENCH", PROJECT / "build" / "bin" / "wan_bench")).resolve().parents[1]
NIGHTLY = bool(os.environ.get("WAN_NIGHTLY"))
COUNTS = (1, 2, 4, 8) if NIGHTLY else (1, 2)
STARTS, ITEMS = (2, 8) if NIGHTLY else (1, 2)
PARTS = ("checks", "bench-480p", *(["bench-720p"] if NIGHTLY else []), "load", "items", "stop", "report")
IS_BUILT = (BUILD / "bin" / "wan_batch").exists() and (BUILD / "bin" / "wan_bench").exists()
CAN_START = IS_BUILT and shutil.which("mpirun") is not None
needs_programs = pytest.mark.skipif(not CAN_START, reason="the programs are not built, or there is no mpirun")


def scaling(folder, *arguments, build=BUILD, counts=COUNTS, device="cpu"):
    command = [str(PROJECT / "jobs" / "scaling.sh"), "-o", str(folder), "--counts", " ".join(map(str, counts)), "--build", str(build),
               "--device", device, "--scratch", str(folder.parent / "scratch"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)


def wait_until(condition):
    given_up_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < given_up_s
        time.sleep(0.01)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study whose first call had no time for all of it."""
    if not CAN_START:
        pytest.skip("the programs are not built, or there is no mpirun")
    words = ("--starts", str(STARTS), "--items", str(ITEMS), "--steps", "2", "--seed", "1")
    for seconds in (18, 60, 180):  # a busy machine may need longer than that for one start
        folder = tmp_path_factory.mktemp("scaling") / "study"
        first = scaling(folder, "--seconds", str(seconds), *words, "bench-480p", "items")
        if "no start ended well in a whole call" not in first.stdout and (folder / "bench-480p" / "starts.jsonl").exists():
            break
    assert first.returncode == 85, first.stdout + first.stderr
    assert "the same command goes on" in first.stdout
    kept = (folder / "bench-480p" / "starts.jsonl").read_text()
    rest = scaling(folder, "--seconds", "1400", *words, *PARTS)
    assert rest.returncode == 0, rest.stdout + rest.stderr
    assert (folder / "bench-480p" / "starts.jsonl").read_text().startswith(kept)
    return folder, words


@pytest.fixture(scope="module")
def page(study):
    return json.loads((study[0] / "report.json").read_text())


def test_every_part_is_made_once_and_nothing_is_missing(study, page):
    folder, words = study
    rows = read_parts(folder)
    assert {row.part for row in rows} == {"checks", "bench-480p", "bench-720p", "load", "items", "stop"}
    assert {row.part for row in rows if not row.is_complete} == (set() if NIGHTLY else {"bench-720p"}), missing_of(rows)
    missing = [problem for problem in page["problems"] if problem.endswith("not made")]
    left = "bench-720p, 1, bench-720p, 2, bench-720p, 2 --cfg-size 1 --ulysses-size 2 and 1 more: not made"
    assert missing == ([] if NIGHTLY else [left])
    assert page["sections"].index("The parts of the study") < page["sections"].index("Speed of each case" if NIGHTLY else "Charts")
    for row in rows:
        assert page["values"][f"made/{row.part}/{row.name}/starts"] == (row.wanted if row.part in PARTS else 0)
        assert (f"made/{row.part}/{row.name}/wall_s" in page["values"]) == (row.part in PARTS)
    made = (folder / "parts.jsonl").read_text()
    again = scaling(folder, *words, "checks", "load", "items", "stop")
    assert again.returncode == 0
    assert (folder / "parts.jsonl").read_text() == made


def test_cases_are_those_of_every_count(study):
    folder, _ = study
    cases = [(case.ranks, " ".join(case.options)) for case in read_record(folder / "bench-480p").cases]
    largest = COUNTS[-1]
    wanted = [(count, "") for count in COUNTS] + [(2, "--cfg-size 1 --ulysses-size 2"), (largest, "--dit-fsdp on")]
    if NIGHTLY:
        wanted += [(4, "--dit-fsdp on"), (8, "--head-chunks 1")]
    assert sorted(cases) == sorted(wanted)
    groups = [case.options[1] for case in read_record(folder / "items").cases]
    assert groups == [str(largest // groups) for groups in ((1, 2, 8) if NIGHTLY else (1, 2))]
    assert not list(folder.glob("items/*/*/*.mp4"))


def test_a_stop_goes_on_with_half_of_the_ranks_to_the_same_bytes(study):
    (stop,) = (line for line in lines_of(study[0] / "parts.jsonl") if line["part"] == "stop")
    assert stop["name"] == f"{COUNTS[-1]}, then {COUNTS[-1] // 2}"
    assert "MP4 and latent are those of a run on" in stop["told"]
    (load,) = (line for line in lines_of(study[0] / "parts.jsonl") if line["part"] == "load" and line["ranks"] == COUNTS[-1])
    assert "anonymous host memory of all ranks at most " in load["told"]
    assert "loaded in " in load["told"]


def test_the_page_has_the_largest_count_from_fewer_and_the_factors_of_each_count(study, page):
    values, largest = page["values"], COUNTS[-1]
    assert "The largest count, from fewer CPU ranks" in page["sections"]
    layout = "cfg2 x ulysses4" if NIGHTLY else "cfg2 x ulysses1"
    assert values[f"largest/0/{layout}/gpus"] == largest
    assert values[f"largest/0/{layout}/measured_s"] > 0
    if NIGHTLY:
        assert values[f"largest/0/{layout}/low_s"] < values[f"largest/0/{layout}/step_s"] < values[f"largest/0/{layout}/high_s"]
        assert f"largest/0/{layout}, sharded over 8/low_s" in values
    else:  # one rank says nothing of an exchange: the page names the missing run
        assert f"largest/0/{layout}/step_s" not in values
        assert "is not known, because no run had the passes of guidance on two ranks" in (study[0] / "report.html").read_text()
    factors = (study[0] / "report.html").read_text().split("<h2>Why a step does not scale</h2>")[1].split("<h2>")[0]
    for count in COUNTS:
        assert f"cfg{min(count, 2)} x ulysses{max(count // 2, 1)}" in factors
    for name in ("load balance", "host", "serialisation", "transfer", "computation scaling"):
        assert name in factors


@needs_programs
def test_the_plan_has_seconds_for_each_row_and_a_call_for_each_part(tmp_path):
    done = scaling(tmp_path / "study", "--plan", "checks", "bench-480p", counts=(1, 2, 4, 8), device="cuda")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "study").exists()
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("bench-480p ")]
    assert len(rows) == 8
    plain = {int(words[1]): int(words[-2]) for words in rows if len(words) == 5}
    assert plain[1] > plain[2] > plain[4] > plain[8] > 8
    calls = [line for line in done.stdout.splitlines() if line.startswith("jobs/scaling.sh")]
    assert [line.split()[3] for line in calls] == ["checks", "bench-480p"]
    assert calls[0].endswith(" in 1 call of 450 s, and 18 rows (-)")
    assert f"{sum(int(words[-1]) for words in rows)} s in 1 call of 450 s" in calls[1]


def stub(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun")
def test_what_fails_is_told_and_made_again(tmp_path):
    build, folder = tmp_path / "build", tmp_path / "study"
    for name in ("bin/wan_bench", "bin/wan_batch", "tests/bin/comm_conformance_test"):
        stub(build, name, "echo out of order; exit 9")
    done = scaling(folder, "checks", "load", "stop", build=build, counts=(2,))
    assert done.returncode == 1
    outcomes = [(line["part"], line["name"], line["outcome"]) for line in lines_of(folder / "parts.jsonl")]
    assert outcomes == [("checks", "comm on 2", "failed"), ("load", "fp32 files on 2", "failed"), ("stop", "2, then 1", "failed")]
    said = {str(problem) for problem in missing_of(read_parts(folder))}
    assert "checks, comm on 2: failed (exit code 9)" in said
    assert "stop, 2, then 1: failed (exit codes 9 9 9)" in said
    assert "bench-720p, 2: not made" in said
    stub(build, "tests/bin/comm_conformance_test", "exit 0")
    assert scaling(folder, "checks", build=build, counts=(2,)).returncode == 0
    assert not [row for row in read_parts(folder) if row.part == "checks" and not row.is_complete]


@pytest.fixture
def gpu_machine(tmp_path, monkeypatch):
    """A checkout whose programs and four GPUs are played. A row of mpirun.txt for each program: ranks, program, filter."""
    tree, tools = tmp_path / "tree", tmp_path / "tools"
    for name in ("jobs/scaling.sh", "jobs/scaling_parts.sh", "jobs/scaling_plan.sh", "jobs/common.sh", "tests/gpu.sh"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tree / name)
    programs = ("kernels_gpu_test", "full_size_block_test", "engine_test", "expert_switch_gpu_test")
    for name in ("build/bin/wan_bench", "build/bin/wan_batch", *(f"build/tests/bin/{name}" for name in programs)):
        stub(tree, name, "exit 0")
    stub(tree, "tests/gpu/comm/comm_hang_test.sh", "exit 0")
    stub(tools, "nvidia-smi", "printf 'GPU 0\\nGPU 1\\nGPU 2\\nGPU 3\\n'")
    stub(tools, "mpirun", f"""[ "$1" = --version ] && exit 0
[ ! -e {tmp_path}/slow ] || echo $$ >{tmp_path}/slow
echo "$2 $(basename "$3") $4" >>{tmp_path}/mpirun.txt
[ ! -e {tmp_path}/slow ] || {{ sleep 1.5; touch {tmp_path}/late; }}
case "$2 $4" in "4 --gtest_filter=Family/*") [ ! -e {tmp_path}/broken ] || exit 3 ;; esac""")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tree


def on_gpus(tree, *words, program="jobs/scaling.sh"):
    return subprocess.run([str(tree / program), *words], capture_output=True, text=True, check=False, timeout=60, cwd=tree)


def started(tree):
    """The lines of mpirun.txt, which is emptied."""
    path = tree.parent / "mpirun.txt"
    lines = path.read_text().splitlines()
    path.unlink()
    return lines


def test_checks_are_rows_of_their_own_on_each_count(gpu_machine):
    tree, folder = gpu_machine, gpu_machine.parent / "study"
    (tree.parent / "broken").touch()
    words = ("-o", str(folder), "--counts", "1 4", "--scratch", str(tree.parent / "scratch"), "checks")
    done = on_gpus(tree, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    rows = [row for row in read_parts(folder) if row.part == "checks"]
    suites = ("reference", "lightning", "family", "loras")
    names = ["kernels", "comm on 1", "comm on 4", "parity on 1", *(f"parity-{suite} on 4" for suite in suites)]
    assert [(row.name, row.ranks) for row in rows] == [(name, int(name[-1]) if " on " in name else 1) for name in names]
    assert [str(problem) for problem in missing_of(rows)] == ["checks, parity-family on 4: failed (exit code 1)"]
    parity = [line for line in started(tree) if "engine_parity" in line]
    assert parity == ["1 engine_parity_gpu_test ", *(f"4 engine_parity_gpu_test --gtest_filter={wanted}" for wanted in
                                                     ("Reference/*", "Lightning/*", "Family/*", "*GpuLoraSets*"))]
    (tree.parent / "broken").unlink()
    assert on_gpus(tree, *words).returncode == 0
    assert started(tree) == ["4 engine_parity_gpu_test --gtest_filter=Family/*"]


def test_a_late_part_begins_no_start_that_the_call_has_no_time_for(gpu_machine, monkeypatch):
    tree, folder = gpu_machine, gpu_machine.parent / "study"
    stub(tree, "build/bin/wan_batch", "echo '  text  1 s'; echo '  denoise: 4 steps of 100 s'")
    words = ("-o", str(folder), "--counts", "1 4", "--scratch", str(tree.parent / "scratch"), "bench-480p")
    monkeypatch.setenv("SECONDS", "100")  # bash counts on from there
    late = on_gpus(tree, *words)
    assert (late.returncode, "of 12 starts" in late.stdout) == (85, False), late.stdout + late.stderr
    assert "bench-480p: 0 of 12 starts" in on_gpus(tree, "--seconds", "600", *words).stdout  # 409 s each; jobs/study.sh is not there


def test_the_suites_of_parity_are_all_of_it():
    names = set()
    for path in (PROJECT / "tests" / "gpu" / "engine").glob("*_gpu_test.cpp"):
        if path.name.startswith(("engine_parity", "lora_sets")):
            names |= set(re.findall(r"INSTANTIATE_TEST_SUITE_P\((\w+), (\w+)", path.read_text()))
    assert names == {("Reference", "GpuParity"), ("Lightning", "GpuParity"), ("Family", "GpuParity"), ("Precisions", "GpuLoraSets")}


def test_gpu_tests_run_on_chosen_counts_and_end_with_their_caller(gpu_machine):
    tree = gpu_machine
    done = on_gpus(tree, "run", "--ranks", "2 4", "kernels", "parity-loras", program="tests/gpu.sh")
    assert done.returncode == 0, done.stderr
    assert started(tree) == [f"{count} engine_parity_gpu_test --gtest_filter=*GpuLoraSets*" for count in (2, 4)]
    assert [re.sub(r" +\d+ s\b", " N s", line) for line in done.stdout.splitlines()] == [
        "kernels            passed N s", "parity-loras       passed N s on 2 GPUs", "parity-loras       passed N s on 4 GPUs"]
    assert on_gpus(tree, "memory", program="tests/gpu.sh").returncode == 0
    assert [line.split()[0] for line in started(tree)] == ["1", "2", "4"]
    for counts in ("8", "0", "many", ""):
        assert on_gpus(tree, "run", "--ranks", counts, "comm", program="tests/gpu.sh").returncode == 1
    (tree.parent / "slow").touch()
    caller = subprocess.Popen([tree / "tests" / "gpu.sh", "parity"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True)
    wait_until((tree.parent / "mpirun.txt").exists)
    os.killpg(caller.pid, signal.SIGTERM)
    caller.wait(60)
    rank = Path("/proc", (tree.parent / "slow").read_text().strip())
    wait_until(lambda: not rank.exists())
    assert started(tree) == ["1 engine_parity_gpu_test "]
    assert not (tree.parent / "late").exists()


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun")
def test_a_check_that_takes_longer_than_a_call_has_failed(tmp_path):
    build, folder = tmp_path / "build", tmp_path / "study"
    for name in ("bin/wan_bench", "bin/wan_batch"):
        stub(build, name, "exit 0")
    stub(build, "tests/bin/comm_conformance_test", "exec sleep 30")
    assert scaling(folder, "--seconds", "4", "checks", build=build, counts=(1, 2)).returncode == 1
    (line,) = lines_of(folder / "parts.jsonl")
    assert (line["name"], line["told"]) == ("comm on 1", "cut off: it takes longer than a call of 4 s")


@needs_programs
def test_a_stop_reaches_the_ranks_where_mpirun_keeps_signals_to_itself(tmp_path, monkeypatch):
    """An mpirun need not pass SIGUSR1 on."""
    stub(tmp_path / "tools", "mpirun", f"""trap : USR1
trap 'kill "$child"' TERM
{shutil.which("mpirun")} "$@" &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
exit $code""")
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    folder = tmp_path / "study"
    done = scaling(folder, "stop", counts=(2,))
    assert done.returncode == 0, done.stdout + done.stderr
    (stop,) = lines_of(folder / "parts.jsonl")
    assert stop["outcome"] == "passed", stop


@pytest.mark.skipif(not NIGHTLY or shutil.which("mpirun") is None, reason="it waits for a whole call")
def test_a_start_that_takes_longer_than_a_call_does_not_begin_again_for_ever(tmp_path):
    for name in ("wan_bench", "wan_batch"):
        stub(tmp_path / "build" / "bin", name, "exec sleep 60")
    done = scaling(tmp_path / "study", "--seconds", "17", "bench-480p", build=tmp_path / "build", counts=(1, 2))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no start ended well in a whole call of 17 s" in done.stdout


def test_wrong_usage_is_refused(tmp_path):
    for words, said in ((("--counts", "2 1"), "the smallest first"), (("--starts", "no"), "a number above 0"), (("bench",), "is no part"),
                        (("--device", "tpu"), "cuda or cpu")):
        done = scaling(tmp_path / "study", *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    with pytest.raises(ValueError, match="holds no plan"):
        read_parts(tmp_path)


def test_a_case_that_failed_is_told(tmp_path):
    (tmp_path / "bench-480p").mkdir()
    StudyRecord("wan_bench", [StudyCase("gpus_2", 2), StudyCase("gpus_4", 4)], [], 1, 3, 3, 0.01).write_settings(tmp_path / "bench-480p")
    record = read_record(tmp_path / "bench-480p")
    for case, number, code in (("gpus_2", 1, 9), ("gpus_2", 2, 0), ("gpus_4", 1, 0)):
        record.add(tmp_path / "bench-480p", StartRecord(case, number, f"{case}/start_{number}", code, 5.0))
    plan = [{"part": "bench-480p", "name": name, "ranks": int(name[0]), "starts": 3} for name in ("2", "4", "4 --dit-fsdp on")]
    (tmp_path / "plan.jsonl").write_text("".join(json.dumps(line) + "\n" for line in plan))
    assert [row.missing for row in read_parts(tmp_path)] == ["failed (1 start failed)", "1 of 3 starts", "not made"]


def test_missing_starts_are_counted():
    rows = [PartRow("bench-480p", "8", 8, 3, 1, "passed", 12.0), PartRow("stop", "8, then 4", 8, 1), PartRow("load", "", 1, 1, 1, "passed")]
    assert [str(problem) for problem in missing_of(rows)] == ["bench-480p, 8: 1 of 3 starts", "stop, 8, then 4: not made"]
