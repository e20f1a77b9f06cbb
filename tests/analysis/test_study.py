"""A study with repetitions: its order, its end, and going on after a kill without repeating a start."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from synthetic1 import ONE_GPU_PARTS_S, Start
from wan_analysis import study_command
from wan_analysis.cli import main
from wan_analysis.study_record import StartRecord, StudyCase, StudyError, StudyRecord, read_record, start_folders
from wan_analysis.study_schedule import Schedule

CASES = [StudyCase("gpus_1", 1), StudyCase("gpus_2", 2), StudyCase("gpus_4", 4)]


def record(**options):
    values = {"program": "wan_bench", "cases": CASES, "arguments": [], "seed": 1, "least_starts": 6, "most_starts": 40, "precision": 0.01}
    return StudyRecord(**(values | options))


def played(study, noises, budget_s=np.inf, wall_s=60.0, seed=0):
    """Runs a schedule on simulated starts; `noises` by case. Returns the schedule at its end."""
    random, values = np.random.default_rng(seed), {}
    while (case := Schedule(study, values, budget_s).next_case()) is not None:
        study.starts.append(StartRecord(case.name, len(study.of_case(case.name)) + 1, "f", 0, wall_s))
        values.setdefault(case.name, []).append(float(np.exp(noises[case.name] * random.standard_normal())))
    return Schedule(study, values, budget_s)


def test_starts_are_interleaved_in_an_order_that_the_seed_gives():
    quiet = dict.fromkeys(("gpus_1", "gpus_2", "gpus_4"), 0.0)
    orders = [[start.case for start in played(record(seed=seed), quiet).record.starts] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    rounds = [tuple(orders[0][place:place + 3]) for place in range(0, 18, 3)]
    assert all(sorted(of_round) == ["gpus_1", "gpus_2", "gpus_4"] for of_round in rounds)
    assert len(set(rounds)) > 2


def test_cases_go_on_until_their_interval_is_narrow():
    found = played(record(), {"gpus_1": 0.0001, "gpus_2": 0.015, "gpus_4": 0.5})
    made = {case.name: found.successes(case) for case in CASES}
    assert made["gpus_1"] == 6
    assert 6 < made["gpus_2"] < 40
    assert found.interval(CASES[1]).half_width <= 0.01
    assert made["gpus_4"] == 40
    (left,) = found.left_out()
    assert re.fullmatch(r"gpus_4: the interval is ±[\d.]+ %, not ±1 %; it has the most starts \(40\)", left)


def test_the_budget_ends_a_study():
    found = played(record(), dict.fromkeys(("gpus_1", "gpus_2", "gpus_4"), 0.01), budget_s=600.0)
    assert found.spent_s == 600.0
    assert len(found.record.starts) == 10
    assert len(found.left_out()) == 3
    assert re.fullmatch("gpus_1: [34] of at least 6 starts; the budget of 0.167 h ended after 0.167 h", found.left_out()[0])


def with_starts(*starts, **options):
    """A study with starts (case, seconds, exit code)."""
    study = record(**options)
    for case, wall_s, code in starts:
        study.starts.append(StartRecord(case, len(study.of_case(case)) + 1, "f", code, wall_s))
    return study


@pytest.mark.parametrize(("starts", "expected"), [
    ((), (0, 0, 0)),
    ((("gpus_1", 400.0, 0),), (400, 400, 400)),  # on more ranks it takes no longer
    ((("gpus_4", 100.0, 0), ("gpus_4", 120.0, 0)), (480, 240, 110)),  # on fewer, by their ratio at the most
    ((("gpus_1", 400.0, 0), ("gpus_4", 110.0, 0)), (400, 400, 110)),
    ((("gpus_1", 400.0, 0), ("gpus_2", 1.0, 9)), (400, 400, 400)),  # a start that failed at once says nothing
    ((("gpus_2", 30.0, 9),), (0, 30, 0)),
])
def test_a_case_without_a_start_takes_as_long_as_the_nearest_ones_allow(starts, expected):
    schedule = Schedule(with_starts(*starts), {})
    assert tuple(schedule.expected_s(case) for case in CASES) == pytest.approx(expected)


def test_a_session_begins_no_case_that_is_not_expected_to_end_in_it():
    study = with_starts(("gpus_2", 150.0, 0), ("gpus_4", 80.0, 0))
    late = Schedule(study, {}, session_s=450.0)
    assert not late.fits(CASES[0])  # it may take 300 s, and 220 s are left
    assert late.next_case() in CASES[1:]
    assert Schedule(study, {}, session_s=450.0, before_s=230.0).next_case() is CASES[0]


def test_a_session_begins_with_a_case_that_may_be_too_long_where_nothing_else_fits():
    study = with_starts(("gpus_2", 150.0, 0), ("gpus_4", 80.0, 0))
    assert Schedule(study, {}, session_s=100.0, before_s=230.0).next_case() is CASES[2]
    assert Schedule(study, {}, session_s=50.0, before_s=230.0).next_case() is CASES[0]
    assert Schedule(study, {}, session_s=50.0, before_s=229.0).next_case() is None  # only at its begin
    assert Schedule(study, {}, budget_s=500.0, session_s=50.0, before_s=230.0).next_case() is None  # and within the whole budget


def test_a_case_that_fails_twice_is_given_up_and_named():
    study = record(cases=CASES[:2], least_starts=2, most_starts=2)
    while (case := Schedule(study, {"gpus_1": [1.0] * len(study.of_case("gpus_1"))}).next_case()) is not None:
        number = len(study.of_case(case.name)) + 1
        study.starts.append(StartRecord(case.name, number, f"{case.name}/start_{number}", 9 * (case.ranks == 2), 1.0))
    assert [len(study.of_case(name)) for name in ("gpus_1", "gpus_2")] == [2, 2]
    (left,) = Schedule(study, {"gpus_1": [1.0, 1.0]}).left_out()
    assert left == "gpus_2: 2 starts failed, the last with exit code 9 (its output is in gpus_2/start_2.log)"


def test_starts_without_a_known_time_end_a_case():
    study = record(cases=CASES[:1], least_starts=2)
    study.starts += [StartRecord("gpus_1", number, "f", 0, 1.0) for number in (1, 2)]
    found = Schedule(study, {})
    assert found.next_case() is None
    assert found.left_out() == ["gpus_1: none of 2 starts made a step or an item whose time is known"]


def test_a_line_that_a_kill_cut_off_is_no_start(tmp_path):
    study = record()
    study.write_settings(tmp_path)
    study.add(tmp_path, StartRecord("gpus_1", 1, "gpus_1/start_1", 0, 2.5, "now"))
    with (tmp_path / "starts.jsonl").open("a") as lines:
        lines.write('{"case": "gpus_2", "numb')
    assert read_record(tmp_path).starts == study.starts
    study.add(tmp_path, StartRecord("gpus_2", 1, "gpus_2/start_1", 0, float("nan"), "now"))
    again = read_record(tmp_path)
    assert [start.case for start in again.starts] == ["gpus_1", "gpus_2"]
    assert (again.cases, again.precision, np.isnan(again.starts[1].wall_s)) == (CASES, 0.01, True)
    (tmp_path / "study.json").write_text('{"format": 1}')
    with pytest.raises(StudyError, match="cannot be read as a study"):
        read_record(tmp_path)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A stand-in of wan_bench that copies a trace of as many ranks as RANKS says, and the words that start it."""
    folder = tmp_path_factory.mktemp("program")
    for ranks in (1, 2):
        for number in (1, 2, 3):
            place = 4 * number + ranks
            parts_s = {part: seconds * (1 + 0.001 * number) / ranks for part, seconds in ONE_GPU_PARTS_S.items()}
            Start(name=f"20260101T0000{place:02}Z-{place:08x}", started=f"2026-01-01T00:00:{place:02}.000000Z", group_size=ranks, steps=3,
                  parts_s=parts_s, layout=f"cfg{ranks} x ulysses1", program="wan_bench", samples_every_s=0.0,
                  ).write(folder / f"gpus_{ranks}" / f"start_{number}")
    script = folder / "wan_bench"
    script.write_text('#!/bin/bash\nto=${@: -1}; to=${to%/trace.h5}; echo "$to" >>"$LOG"\n'
                      f'case $to in *gpus_2/start_2) sleep ${{PAUSE:-0}};; esac\ncp -r "{folder}/${{to#*/study/}}/." "$to"\n')
    script.chmod(0o755)
    return script


def command(tmp_path, program, *more, starts="2"):
    return ["study", "-o", str(tmp_path / "study"), "--case", "1", "--case", "2", "--starts", starts, "--most-starts", starts,
            "--seed", "3",
            "--launch", f"1 env LOG={tmp_path}/log", "--launch", f"2 env LOG={tmp_path}/log", *more, "--", str(program), "--steps", "3"]


def made(tmp_path):
    return [line.split("/study/")[1] for line in (tmp_path / "log").read_text().splitlines()]


ALL = ["gpus_1/start_1", "gpus_1/start_2", "gpus_2/start_1", "gpus_2/start_2"]


class KilledError(BaseException):
    """In the place of kill -9: nothing of the program runs after it."""


def test_a_study_killed_after_any_start_goes_on_and_repeats_none(tmp_path, program, monkeypatch):
    """Killed when a start has ended and before it is recorded, and when it is recorded; at each start."""
    monkeypatch.setattr(study_command._Runner, "finish", lambda self: 0)
    pool = {f"{path.parent.name}/{path.name}": run for path, run in study_command.runs_in(program.parent.glob("gpus_*/*")).items()}
    monkeypatch.setattr(study_command, "runs_in", lambda folders: {
        path: pool[f"{path.parent.name}/{path.name}"] for path in folders if (path / "trace.h5").exists()})
    order = None
    for when in ("_start", "_add_value"):
        for place in range(1, 5):
            folder = tmp_path / f"{when}{place}"
            folder.mkdir()
            called, real = [], getattr(study_command._Runner, when)

            def killed(self, *arguments, called=called, real=real, place=place):
                result = real(self, *arguments)
                called.append(1)
                if len(called) == place:
                    raise KilledError
                return result

            with monkeypatch.context() as patch, pytest.raises(KilledError):
                patch.setattr(study_command._Runner, when, killed)
                main(command(folder, program))
            assert main(command(folder, program)) == 0
            assert sorted(made(folder)) == ALL
            order = order or made(folder)
            assert made(folder) == order
            assert [start.exit_code for start in read_record(folder / "study").starts] == [0] * 4


def test_a_start_that_is_cut_off_is_made_again(tmp_path, program, capsys):
    """A real kill -9 in the midst of a start; its ranks end with the study."""
    environment = {**os.environ, "PAUSE": "60", "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-m", "wan_analysis", *command(tmp_path, program)], env=environment,
                             stdout=subprocess.DEVNULL)
    given_up_s = time.monotonic() + 60
    while not ((tmp_path / "log").exists() and "gpus_2/start_2" in made(tmp_path)) and time.monotonic() < given_up_s:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = made(tmp_path)
    (tmp_path / "study" / "gpus_2" / "start_2" / "half.h5").write_text("")
    assert main(command(tmp_path, program)) == 0
    said = capsys.readouterr().out
    assert "gpus_2/start_2: was cut off, and is made again" in said
    assert f"goes on after {len(before) - 1} starts" in said
    assert sorted(made(tmp_path)) == sorted([*ALL, "gpus_2/start_2"])
    assert not (tmp_path / "study" / "gpus_2" / "start_2" / "half.h5").exists()
    stored = json.loads((tmp_path / "study" / "report.json").read_text())
    assert stored["values"]["steps/2 GPUs, cfg2 x ulysses1/starts"] == 2
    page = (tmp_path / "study" / "report.html").read_text()
    assert "random, interleaved order (seed 3)" in page
    assert len(start_folders(tmp_path / "study")) == 4


def test_a_start_whose_groups_did_not_all_end_is_made_again(tmp_path):
    two = {"groups": 2, "steps": 2, "samples_every_s": 0.0}
    Start("20260101T000000Z-1", **two).write(tmp_path / "ended")
    Start("20260101T000000Z-2", **two, killed_after=(0, 1)).write(tmp_path / "cut")
    Start("20260101T000000Z-3", **two).write(tmp_path / "missing")
    next((tmp_path / "missing" / "trace").glob("*-g01.h5")).unlink()
    runs = study_command.runs_in(sorted(tmp_path.iterdir()))
    assert {path.name: study_command._has_ended(run) for path, run in runs.items()} == {"ended": True, "cut": False, "missing": False}


def test_what_is_no_such_study_is_refused(tmp_path, program, capsys):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "kept").write_text("")
    assert main(command(tmp_path, program)) == 2
    assert "is not empty and holds no study" in capsys.readouterr().err
    record(seed=3, arguments=["--steps", "4"], cases=[StudyCase("gpus_1", 1), StudyCase("gpus_2", 2)]).write_settings(tmp_path / "study")
    assert main(command(tmp_path, program)) == 2
    assert "holds a study with other arguments" in capsys.readouterr().err
    assert main([*command(tmp_path, program)[:3], "--case", "1", "--", "/bin/true"]) == 2
    assert "a study starts wan_bench or wan_batch, not true" in capsys.readouterr().err


def test_a_program_that_fails_makes_exit_code_1_and_is_shown(tmp_path, capsys):
    script = tmp_path / "wan_bench"
    script.write_text("#!/bin/bash\necho no memory; exit 9\n")
    script.chmod(0o755)
    assert main(command(tmp_path, script)) == 1
    captured = capsys.readouterr()
    assert "  no memory" in captured.out
    assert captured.out.count("exit code 9, ") == 4
    assert "no count ran to its end, so there is nothing to report" in captured.err


def test_the_script_gives_the_words_to_launch_ranks(tmp_path):
    """jobs/study.sh with a stand-in of mpirun, which tells its arguments."""
    (tmp_path / "mpirun").write_text(f'#!/bin/bash\necho "$@" >>{tmp_path}/said; exit 4\n')
    (tmp_path / "wan_bench").write_text("")
    for name in ("mpirun", "wan_bench"):
        (tmp_path / name).chmod(0o755)
    script = Path(__file__).resolve().parents[2] / "jobs" / "study.sh"
    done = subprocess.run([str(script), "-o", str(tmp_path / "study"), "--program", str(tmp_path / "wan_bench"), "--case", "2 --cfg-size 2",
                           "--seed", "1", "--", "--steps", "3"], capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 1
    said = [line for line in (tmp_path / "said").read_text().splitlines() if "--version" not in line]
    assert said == [f"-np 2 {tmp_path}/wan_bench --steps 3 --cfg-size 2 --trace {tmp_path}/study/gpus_2_cfg-size_2/start_{number}/trace.h5"
                    for number in (1, 2)]
    assert read_record(tmp_path / "study").cases == [StudyCase("gpus_2_cfg-size_2", 2, ("--cfg-size", "2"))]
    for words, message in ((("bogus",), "unknown option 'bogus'"), (("--seed",), "--seed needs a value"),
                           (("--program", "/bin/true", "--case", "two"), "'two' does not begin with a number of ranks")):
        done = subprocess.run([str(script), *words], capture_output=True, text=True, check=False)
        assert (done.returncode, message in done.stderr) == (2, True), done
