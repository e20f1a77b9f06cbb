"""Runs with guidance in one expert only, and with joined teams: steps of one size that take as different times."""

import dataclasses
import json

import pytest
import synthetic
import synthetic1
from test_two_sets import write_starts
from wan_analysis.cli import main
from wan_analysis.guided import passes_of
from wan_analysis.outliers import outliers
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces

SIZE = "832×480, 81 frames"
SLOW = synthetic.ONE_GPU_PARTS_S | {"linear": 1.1 * synthetic.ONE_GPU_PARTS_S["linear"]}


def runs_of(folder):
    return gather_runs(read_traces([folder]).groups)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """Starts whose steps have guidance in the high-noise expert only: steps 0 to 3 of 10."""
    return write_starts(tmp_path_factory.mktemp("half") / "base", 1, steps=10, one_pass_from=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_starts(tmp_path_factory.mktemp("whole") / "new", 2, steps=10)


@pytest.mark.parametrize(("scales", "passes"), [("1:3.5", (1, 2)), ("3.5:1.0", (2, 1)), ("3.5:5", (2,)), ("3.5", (2,)), ("1:1", (1,)),
                                                ("", None), ("unknown", None)])
def test_the_passes_that_scales_ask_for(scales, passes):
    assert passes_of(scales) == passes


@pytest.mark.parametrize("is_turned", [False, True])
def test_guidance_in_one_expert_is_other_work_than_in_both(half, whole, capsys, is_turned):
    pair = (whole, half) if is_turned else (half, whole)
    said = "guidance 3.5:3.5 and 1:3.5" if is_turned else "guidance 1:3.5 and 3.5:3.5"
    assert main(["compare", *map(str, pair)]) == 1
    assert f"the runs did other work: {said}" in capsys.readouterr().err
    one, other = (next((folder / "trace").glob("*.h5")) for folder in pair)  # a start of each side: no intervals
    assert main(["compare", str(one), str(other)]) == 1
    assert f"the two runs did other work: {said}" in capsys.readouterr().err


def test_a_kind_of_step_that_became_slower_is_named(half, tmp_path, capsys):
    """Four of ten steps have guidance. Their change does not move the median of all steps."""
    new = write_starts(tmp_path / "new", 3, steps=10, one_pass_from=4, slow_steps=dict.fromkeys(range(4), ("linear", 0.2)))
    assert main(["compare", str(half), str(new), "--json", str(tmp_path / "found.json")]) == 3
    answers = {metric["metric"]: metric for metric in json.loads((tmp_path / "found.json").read_text())["metrics"]}
    assert (answers[f"step, {SIZE}, 2 passes"]["answer"], answers[f"step, {SIZE}, 2 passes"]["cause"]) == ("worse", "linear")
    assert answers[f"step, {SIZE}, 1 pass"]["answer"] == "equal"
    assert answers[f"item, {SIZE}, 10 steps"]["cause"] == "steps"
    one, other = (next((folder / "trace").glob("*.h5")) for folder in (half, new))
    assert main(["compare", str(one), str(other)]) == 3
    assert "regression: step, 832×480, 81 frames, 2 passes" in capsys.readouterr().out


def test_a_run_that_was_stopped_in_its_guided_steps_is_compared_in_these(half, tmp_path, capsys):
    for number in range(2):
        synthetic1.Start(name=f"20260102T00000{number}Z-00000001", steps=10, one_pass_from=4, killed_after=(0, 4),
                         parts_s=SLOW).write(tmp_path / "cut")
    assert main(["compare", str(half), str(tmp_path / "cut"), "--json", str(tmp_path / "found.json")]) == 3
    steps = [metric for metric in json.loads((tmp_path / "found.json").read_text())["metrics"] if metric["metric"].startswith("step, ")]
    assert [(metric["metric"], metric["answer"]) for metric in steps] == [(f"step, {SIZE}, 2 passes", "worse")]
    capsys.readouterr()


def test_guided_steps_are_no_outliers_among_the_others(half):
    for run in runs_of(half):
        assert outliers(run).empty


def test_a_slow_step_without_guidance_is_an_outlier(tmp_path):
    """It is faster than every step with guidance."""
    synthetic1.Start(steps=10, one_pass_from=4, items=2, noise=0.001, slow_steps={6: ("linear", 0.3)}).write(tmp_path)
    found = outliers(runs_of(tmp_path)[0])
    assert list(found["step"]) == [6, 6]
    assert set(found["part"]) == {"linear"}


def test_steps_of_a_group_are_no_outliers_among_those_of_a_team(tmp_path, capsys):
    """Group 0 hands its item over to a team after 6 of 40 steps. A step of the group takes twice as long as one of the team."""
    start = synthetic1.Start(groups=2, steps=40, noise=0.001, idle_groups=(1,), joins=(synthetic1.Join(0, (0, 1), 0, 6),))
    start.write(tmp_path / "joined")
    assert outliers(runs_of(tmp_path / "joined")[0]).empty
    dataclasses.replace(start, name="20260103T000000Z-00000001", seed=7, parts_s=SLOW).write(tmp_path / "slow")
    assert main(["compare", str(tmp_path / "joined"), str(tmp_path / "slow")]) == 3
    said = capsys.readouterr().out
    assert f"regression: step, {SIZE}, 1 rank, part linear, {SIZE}, 1 rank, step, {SIZE}, 2 ranks, part linear, {SIZE}, 2 ranks" in said


def test_starts_with_other_guidance_are_no_repetitions(tmp_path, capsys):
    """Most steps of both have two passes, so the kind of the most frequent steps does not tell them apart."""
    folders = []
    for kind, change in (("half", 8), ("whole", None)):
        for number in range(3):
            folders.append(tmp_path / f"{kind}_{number}")
            synthetic1.Start(name=f"20260101T00000{number}Z-{kind}", steps=10, items=2, one_pass_from=change).write(folders[-1])
    assert main(["report", *map(str, folders), "-o", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")]) == 0
    page = json.loads((tmp_path / "r.json").read_text())
    assert sorted((entry["starts"], entry["passes"]) for entry in page["measured"]) == [(3, 1), (3, 2), (3, 2)]
    assert any("passes of a step: 2 (guidance 3.5:3.5); the study: 1:2 (guidance 1:3.5)" in problem for problem in page["problems"])
    capsys.readouterr()
