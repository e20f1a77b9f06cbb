"""The cost model against GPU counts that it did not see."""

import re

import pytest
import synthetic
from wan_analysis.cli import main
from wan_analysis.cost_model import Layout, fit, group_layouts, layout_for, layout_of
from wan_analysis.study import make_study
from wan_analysis.trace_file import read_traces


def study_of(tmp_path, counts, **options):
    for gpus in counts:
        synthetic.scaled_run(gpus, items=1, steps=20, **options).write(tmp_path / str(gpus))
    return make_study(read_traces([tmp_path / str(gpus) for gpus in counts]))


@pytest.mark.parametrize(("seen", "left_out"), [((1, 2, 4), 8), ((1, 2, 8), 4), ((2, 4, 8), 1)])
def test_predicts_a_count_that_was_left_out_within_3_percent(tmp_path, seen, left_out):
    model = fit(study_of(tmp_path / "seen", seen, noise=0.01).steps)
    rest = study_of(tmp_path / "rest", [left_out], noise=0.01).steps[0]
    assert model.step_s(layout_of(rest)) == pytest.approx(rest.step_s, rel=0.03)


def test_parts_add_up_and_none_is_negative(tmp_path):
    model = fit(study_of(tmp_path, (1, 2, 4), noise=0.02).steps)
    for layout in (Layout(1, 1, False), Layout(2, 4, True), Layout(2, 32, True)):
        parts = model.parts_s(layout)
        assert min(parts.values()) >= 0
        assert sum(parts.values()) == pytest.approx(model.step_s(layout))


def test_layouts_follow_the_program():
    like = Layout(2, 2, True)
    assert str(layout_for(8, like)) == "cfg2 x ulysses4, sharded over 8"
    assert str(layout_for(5, Layout(1, 1, False))) == "cfg1 x ulysses5"
    assert str(layout_for(5, like, guided=False)) == "cfg1 x ulysses5, sharded over 5"
    assert layout_for(1, like) == Layout(1, 1, False)
    # As `wan_batch --plan --gpus N` lists them: 80 is the largest group of 40 heads.
    taken = [gpus for gpus in range(1, 101) if group_layouts(gpus, 40, guided=True)]
    assert taken == [1, 2, 4, 5, 8, 10, 16, 20, 40, 80]


@pytest.mark.parametrize(("gpus", "tried", "instead"), [
    (64, "cfg2 x ulysses32 or cfg1 x ulysses64", "1, 2, 4, 8, 16"), (7, "cfg1 x ulysses7", "1"), (3, "cfg1 x ulysses3", "1"),
    (32, "cfg2 x ulysses16", "1, 2, 4, 8 and 16")])
def test_a_layout_that_the_program_refuses_is_refused_by_name(tmp_path, capsys, gpus, tried, instead):
    study_of(tmp_path, (1, 2), noise=0.005)
    assert main(["model", *(str(tmp_path / str(count)) for count in (1, 2)), "--gpus", f"8,{gpus}"]) == 1
    said = capsys.readouterr()
    assert f"--gpus {gpus}: wan_batch takes no group of {gpus} GPUs ({tried}" in said.err
    assert f"groups of {instead.replace(', 16', ' and 16')}" in said.err
    assert re.search(r"(?m)^ +8  cfg2 x ulysses4", said.out)
    assert not re.search(rf"(?m)^ +{gpus}  ", said.out)


def test_the_command_prints_a_row_per_count(tmp_path, capsys):
    study_of(tmp_path, (1, 2, 4), noise=0.005)
    assert main(["model", *(str(tmp_path / str(gpus)) for gpus in (1, 2, 4)), "--gpus", "8,16"]) == 0
    out = capsys.readouterr().out
    assert [int(row.split()[0]) for row in out.splitlines()[1:6]] == [1, 2, 4, 8, 16]
    assert re.search(r"8  cfg2 x ulysses4, sharded over 8", out)


def test_says_so_when_it_does_not_fit(tmp_path, capsys):
    parts = synthetic.scaled_parts(4, cfg=2, ulysses=2, fsdp=True)
    parts["attention"] *= 3
    for gpus in (1, 2):
        synthetic.scaled_run(gpus, items=1, steps=10).write(tmp_path / str(gpus))
    synthetic.scaled_run(4, items=1, steps=10, parts_s=parts).write(tmp_path / "4")
    assert main(["model", *(str(tmp_path / str(gpus)) for gpus in (1, 2, 4))]) == 0
    assert "do not trust" in capsys.readouterr().err


def test_one_count_is_not_enough(tmp_path, capsys):
    study_of(tmp_path, [2])
    assert main(["model", str(tmp_path / "2")]) == 1
    assert "at least two GPU counts" in capsys.readouterr().err
