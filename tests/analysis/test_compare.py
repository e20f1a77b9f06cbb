"""The changes that compare reports, and those that it must not report."""

import pytest
import synthetic
from wan_analysis.cli import main
from wan_analysis.compare import changes_text, compare_runs, culprits
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces


def written(folder, **options):
    synthetic.scaled_run(4, items=1, steps=40, **options).write(folder)
    return folder


def changes_between(tmp_path, base_options, new_options):
    runs = [gather_runs(read_traces([written(tmp_path / name, **options)]).groups)[0]
            for name, options in (("base", base_options), ("new", new_options))]
    return compare_runs(*runs)


def slowed(part, factor):
    parts = synthetic.scaled_parts(4, cfg=2, ulysses=2, fsdp=True)
    parts[part] *= factor
    return parts


@pytest.mark.parametrize("part", ["attention", "linear", "elementwise", "all_to_all"])
def test_a_part_that_is_5_percent_slower_is_named(tmp_path, part):
    changes = changes_between(tmp_path, {"noise": 0.01, "seed": 1}, {"noise": 0.01, "seed": 2, "parts_s": slowed(part, 1.05)})
    assert culprits(changes) == [part.replace("_", " ")], changes_text(changes)


@pytest.mark.parametrize("repeat", range(20))
def test_2_percent_noise_is_no_change(tmp_path, repeat):
    changes = changes_between(tmp_path, {"noise": 0.02, "seed": 100 + repeat}, {"noise": 0.02, "seed": 200 + repeat})
    assert not [change for change in changes if change.is_regression], changes_text(changes)


def test_a_part_that_is_faster_is_no_regression(tmp_path):
    changes = changes_between(tmp_path, {"noise": 0.01, "seed": 1}, {"noise": 0.01, "seed": 2, "parts_s": slowed("linear", 0.9)})
    verdicts = {change.metric.split(",")[0]: change.verdict for change in changes}
    assert verdicts["part linear"] == "faster"
    assert verdicts["step"] == "faster"
    assert verdicts["part attention"] == "same"
    assert culprits(changes) == []


def test_figures_are_medians_of_the_steps(tmp_path):
    import h5py
    import numpy as np

    changes = changes_between(tmp_path, {"noise": 0.01, "seed": 1}, {"noise": 0.01, "seed": 2})
    for name in ("base", "new"):
        file = next((tmp_path / name / "trace").glob("*.h5"))
        with h5py.File(file) as trace:
            steps, wall, linear = (trace["steps"][column][:] for column in ("step", "wall_s", "gpu_linear_s"))
        expected = np.median([wall[steps == step].max() for step in range(40)])
        assert getattr(changes[0], name) == pytest.approx(expected)
        found = next(change for change in changes if change.metric.startswith("part linear"))
        assert getattr(found, name) == pytest.approx(np.median([linear[steps == step].mean() for step in range(40)]))


def test_the_command_says_which_part_and_exits_3(tmp_path, capsys):
    base = written(tmp_path / "base", noise=0.01, seed=1)
    new = written(tmp_path / "new", noise=0.01, seed=2, parts_s=slowed("attention", 1.05))
    assert main(["compare", str(base), str(new)]) == 3
    assert "a step's time grew in: attention" in capsys.readouterr().out
    assert main(["compare", str(base), str(base)]) == 0
    assert "regression" not in capsys.readouterr().out


def test_runs_that_cannot_be_compared(tmp_path, capsys):
    base = written(tmp_path / "base")
    other = tmp_path / "other"
    synthetic.scaled_run(4, steps=40, sizes=((1280, 720, 81),)).write(other)
    assert main(["compare", str(base), str(other)]) == 1
    assert "no size in common" in capsys.readouterr().err
    two = tmp_path / "two"
    synthetic.scaled_run(2, steps=40).write(two)
    assert main(["compare", str(base), str(two)]) == 1
    assert "4 and 2 ranks" in capsys.readouterr().err
    assert main(["compare", str(base), str(tmp_path / "absent")]) == 1
    assert "does not exist" in capsys.readouterr().err


def batch_of_starts(folder, gpus, **options):
    """A batch that was made in a start on each of `gpus`, as after requeues or by array tasks."""
    for start, count in enumerate(gpus):
        name = f"20260101T00000{start}Z-0000000{start}"
        synthetic.scaled_run(count, steps=10, noise=0.01, name=name, **(options | {"seed": options["seed"] + start})).write(folder)
    return folder


def test_each_start_of_a_batch_counts_once(tmp_path, capsys):
    base = batch_of_starts(tmp_path / "base", (4, 4, 4), seed=1)
    same = batch_of_starts(tmp_path / "same", (4, 4), seed=20)
    slow = batch_of_starts(tmp_path / "slow", (4, 4), seed=30, parts_s=slowed("attention", 1.08))
    assert main(["compare", str(base), str(same)]) == 0
    assert "base: each start counts once: 20260101T000000Z-00000000, 2026" in capsys.readouterr().err
    assert main(["compare", str(base), str(slow)]) == 3
    assert "a step's time grew in: attention" in capsys.readouterr().out


def test_of_several_starts_those_on_the_same_ranks_are_compared(tmp_path, capsys):
    base = batch_of_starts(tmp_path / "base", (4,), seed=1)
    new = batch_of_starts(tmp_path / "new", (2, 4, 4), seed=20)
    assert main(["compare", str(base), str(new)]) == 0
    said = capsys.readouterr().err
    assert "left out, because the other run has none like it: 20260101T000000Z-00000000 (2 ranks in groups of 2)" in said
    two = batch_of_starts(tmp_path / "two", (2, 2), seed=3)
    assert main(["compare", str(base), str(two)]) == 1
    assert "4 ranks in groups of 4 and on 2 ranks in groups of 2" in capsys.readouterr().err
