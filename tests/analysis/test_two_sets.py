"""compare with several starts of each side: the metrics, what explains a change, other layouts, the command line and its JSON file."""

import json
import os

import h5py
import numpy as np
import pytest
import synthetic
import synthetic1
from wan_analysis.cli import main
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces
from wan_analysis.two_sets import compare_sets

SIZE = "832×480, 81 frames"
LINEAR_5_PERCENT = synthetic.ONE_GPU_PARTS_S | {"linear": 1.05 * synthetic.ONE_GPU_PARTS_S["linear"]}


def write_starts(folder, seed, count=4, noise=0.001, **options):
    """`count` starts whose steps are `noise` apart; the steps of each start differ by 0.1 %."""
    random = np.random.default_rng(seed)
    usual = {"noise": 0.001, "steps": 4, "items": 2, "parts_s": synthetic.ONE_GPU_PARTS_S, "load_s": 19.5} | options
    for number in range(count):
        factor = 1 + noise * random.standard_normal()
        varied = {"parts_s": {part: seconds * factor for part, seconds in usual["parts_s"].items()},
                  "load_s": usual["load_s"] * (1 + noise * random.standard_normal())}
        synthetic1.Start(name=f"20260101T00000{number}Z-{seed:08}", seed=100 * seed + number, **(usual | varied)).write(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_starts(tmp_path_factory.mktemp("sets") / "base", 1)


def runs_of(folder):
    return gather_runs(read_traces([folder]).groups)


def answers(base, new, **options):
    return {verdict.metric: verdict for verdict in compare_sets(runs_of(base), runs_of(new), **options).verdicts}


def test_every_metric_has_a_value_for_each_start(base, tmp_path):
    found = answers(base, write_starts(tmp_path / "new", 2))
    item = f"item, {SIZE}, 4 steps"
    assert {f"step, {SIZE}", f"part attention, {SIZE}", f"part linear, {SIZE}", item, "phase load", "phase decode", "peak VRAM",
            "energy of a video"} <= set(found)
    assert f"part all to all, {SIZE}" not in found  # one GPU exchanges nothing
    assert {(verdict.base_starts, verdict.new_starts) for verdict in found.values()} == {(4, 4)}
    assert {verdict.text for verdict in found.values()} == {"equal within 1 %"}
    runs = runs_of(base)
    walls = [run.items["end_s"] - run.items["start_s"] for run in runs]
    assert found[item].base == pytest.approx(np.median([np.median(wall) for wall in walls]))
    hours = [run.rank_walls().sum() / 3600 for run in runs]
    assert found["energy of a video"].base == pytest.approx(np.median([600.0 * hour / 2 for hour in hours]))
    steps = [run.steps[~run.steps["warm_up"]]["wall_s"].median() for run in runs]
    assert found[f"step, {SIZE}"].base == pytest.approx(np.median(steps))


def test_a_slower_part_is_named(base, tmp_path, capsys):
    new = write_starts(tmp_path / "new", 2, parts_s=LINEAR_5_PERCENT)
    assert main(["compare", str(base), str(new), "--json", str(tmp_path / "found.json")]) == 3
    said = capsys.readouterr().out
    step = next(line for line in said.splitlines() if line.startswith(f"step, {SIZE} "))
    assert step.endswith("), by linear")
    assert " % slower (" in step
    assert f"regression: step, {SIZE}; part linear, {SIZE}; item, {SIZE}, 4 steps; energy of a video" in said
    assert "a step's time grew in: linear\n" in said
    document = json.loads((tmp_path / "found.json").read_text())
    assert (document["method"], document["within"], len(document["base"]), len(document["new"])) == ("intervals", 0.01, 4, 4)
    metrics = {metric["metric"]: metric for metric in document["metrics"]}
    linear = metrics[f"part linear, {SIZE}"]
    assert linear["answer"] == "worse"
    assert linear["low"] < 0.05 < linear["high"]
    assert metrics[f"item, {SIZE}, 4 steps"]["cause"] == "steps"
    for metric in metrics.values():
        assert f" {metric['text']}\n" in said


@pytest.mark.parametrize(("options", "slower", "cause"), [
    ({"load_s": 25.0}, "phase load", ""),
    ({"between_steps_s": 0.3}, f"item, {SIZE}, 4 steps", "time between steps"),
    ({"phases_s": {"text": 0.1, "image": 0.05, "encode": 1.6, "denoise": 0.0, "decode": 4.0, "write": 0.2}}, f"item, {SIZE}, 4 steps",
     "decode")])
def test_what_makes_an_item_slower_beside_its_steps(base, tmp_path, options, slower, cause):
    found = answers(base, write_starts(tmp_path / "new", 2, **options))
    assert found[slower].is_regression
    assert found[slower].cause == cause
    assert found[f"step, {SIZE}"].text == "equal within 1 %"


def test_noise_between_starts_is_no_change(base, tmp_path, capsys):
    """The slow side has 1.5 % of noise from start to start and nothing else."""
    new = write_starts(tmp_path / "new", 3, noise=0.015)
    assert main(["compare", str(base), "--with", str(new)]) == 0
    said = capsys.readouterr().out
    step = next(line for line in said.splitlines() if line.startswith(f"step, {SIZE} "))
    assert "cannot tell: " in step
    assert " more runs of each (now " in step
    assert "regression" not in said


def test_a_rank_that_became_late_explains_the_step(tmp_path, capsys):
    parts_s = synthetic.scaled_parts(2, cfg=2, ulysses=1, fsdp=False)
    two = {"group_size": 2, "layout": "cfg2 x ulysses1", "parts_s": parts_s, "count": 3, "steps": 12, "items": 1}
    base = write_starts(tmp_path / "base", 1, **two)
    new = write_starts(tmp_path / "new", 2, slow=(synthetic1.Slow(1, "linear", 1.15),), **two)
    assert main(["compare", str(base), str(new)]) == 3
    said = capsys.readouterr().out
    assert "by linear of rank 1" in said
    assert "late: rank 1 on host node1, " in said
    assert "waiting" not in said.split("regression:")[1].split("\n", 1)[1]


def test_other_counts_and_layouts_are_compared_by_videos_per_gpu_hour(base, tmp_path, capsys):
    two = write_starts(tmp_path / "two", 5, group_size=2, layout="cfg2 x ulysses1",
                       parts_s=synthetic.scaled_parts(2, cfg=2, ulysses=1, fsdp=False))
    assert main(["compare", str(base), str(two), "--json", str(tmp_path / "found.json")]) == 3
    said = capsys.readouterr().out
    assert "% fewer (" in said
    metrics = {metric["metric"]: metric for metric in json.loads((tmp_path / "found.json").read_text())["metrics"]}
    assert set(metrics) == {"videos per GPU-hour", "videos per GPU-hour, with load", "energy of a video"}
    for folder, side, gpus in ((base, "base", 1), (two, "new", 2)):
        hours = [gpus * run.items["end_s"].max() / 3600 for run in runs_of(folder)]
        assert metrics["videos per GPU-hour, with load"][side] == pytest.approx(np.median([2 / hour for hour in hours]))
    idle = write_starts(tmp_path / "idle", 6, groups=2, idle_groups=(1,))  # the second GPU does nothing, and counts
    rate = answers(base, idle)["videos per GPU-hour"]
    assert rate.change == pytest.approx(-0.5, abs=0.01)
    assert rate.is_regression


def test_other_layouts_of_the_same_ranks_are_compared_by_both(tmp_path):
    two = {"group_size": 2, "count": 2}
    passes = write_starts(tmp_path / "passes", 1, layout="cfg2 x ulysses1", parts_s=synthetic.scaled_parts(2, cfg=2, ulysses=1, fsdp=False),
                          **two)
    heads = write_starts(tmp_path / "heads", 2, layout="cfg1 x ulysses2", parts_s=synthetic.scaled_parts(2, cfg=1, ulysses=2, fsdp=False),
                         **two)
    found = answers(passes, heads)
    assert {"videos per GPU-hour", "videos per GPU-hour, with load", "energy of a video", f"step, {SIZE}"} <= set(found)
    assert found["videos per GPU-hour"].change < 0 < found[f"step, {SIZE}"].change


@pytest.mark.parametrize("pairs", [40 if os.environ.get("WAN_NIGHTLY") else 1])
def test_noise_between_starts_raises_few_alarms(tmp_path, pairs):
    """Equal sets of 5 starts with 1.5 % of noise between starts: alarms in at most 5 %."""
    alarms = []
    for pair in range(pairs):
        sides = [write_starts(tmp_path / f"{pair}{side}", 100 + 2 * pair + place, count=5, noise=0.015, items=1)
                 for place, side in enumerate("ab")]
        alarms.append(sorted(name for name, verdict in answers(*sides).items() if verdict.is_regression))
    assert sum(map(bool, alarms)) <= 0.05 * pairs, alarms


def test_several_folders_on_each_side(base, tmp_path, capsys):
    more, new = write_starts(tmp_path / "more", 7, count=1), write_starts(tmp_path / "new", 8, count=2)
    assert main(["compare", str(base), str(more), "--with", str(new)]) == 0
    captured = capsys.readouterr()
    assert "\n5 starts against 2: " in captured.out
    assert f"{base} and 1 more: each start counts once: " in captured.err


def test_one_start_on_a_side_cannot_give_an_interval(base, tmp_path, capsys):
    alone = write_starts(tmp_path / "alone", 9, count=1)
    assert main(["compare", str(base), str(alone), "--json", str(tmp_path / "found.json")]) == 0
    assert "one start on a side cannot give an interval" in capsys.readouterr().err
    assert json.loads((tmp_path / "found.json").read_text())["method"] == "thresholds"
    assert main(["compare", str(alone), str(alone)]) == 0
    captured = capsys.readouterr()
    assert "one start on each side cannot give an interval" in captured.err
    assert " same\n" in captured.out


@pytest.mark.parametrize(("options", "said"), [
    ({"stretch": {"passes": 1, "guidance": "1:1"}}, "did other work: passes of a step 2 and 1"),
    ({"sizes": ((1280, 720, 81),)}, "no size in common"),
    ({"groups": 2, "steps": 5}, "did other work: kinds of items: 4 of 832×480, 81 frames, 5 steps and 2 of 832×480, 81 frames, 4 steps")])
def test_other_work_is_refused(base, tmp_path, capsys, options, said):
    new = write_starts(tmp_path / "new", 2, count=2, **options)
    assert main(["compare", str(base), str(new)]) == 1
    assert said in capsys.readouterr().err


def test_sets_that_cannot_be_compared(base, tmp_path, capsys):
    assert main(["compare", str(base), str(base)]) == 1
    assert "is in both sets of runs; a comparison needs different starts" in capsys.readouterr().err
    mixed = write_starts(tmp_path / "mixed", 2, count=1, groups=2)
    write_starts(mixed, 3, count=1, groups=3)
    assert main(["compare", str(base), str(mixed)]) == 1
    assert "the second set of runs mixes 2 ranks in groups of 1, 3 ranks in groups of 1" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["a"], ["a", "b", "c"]])
def test_the_command_needs_two_sides(capsys, arguments):
    assert main(["compare", *arguments]) == 2
    assert "compare needs two folders, or BASE... --with NEW...; it got" in capsys.readouterr().err


@pytest.mark.parametrize("percent", ["0", "-1", "100", "nan", "much"])
def test_a_change_that_matters_is_a_percentage(capsys, percent):
    with pytest.raises(SystemExit) as left:
        main(["compare", "a", "b", f"--within={percent}"])
    assert left.value.code == 2
    assert "--within" in capsys.readouterr().err


def test_a_start_that_was_killed_early_does_not_count(base, tmp_path):
    """Its only step is a warm-up step, which is slow."""
    new = write_starts(tmp_path / "new", 2)
    synthetic1.Start(name="20260101T000009Z-00000009", seed=9, steps=4, warm_up_s=3.0, killed_after=(0, 1)).write(new)
    found = answers(base, new)
    assert (found[f"step, {SIZE}"].new_starts, found[f"step, {SIZE}"].text) == (4, "equal within 1 %")
    assert found["phase load"].new_starts == 5


def test_other_numbers_of_small_and_large_items_are_no_change_of_their_phases(tmp_path):
    """Starts of two small items and a large one, and of one small item and two large ones, which decode three times as long."""
    sizes = {"base": ((832, 480, 81), (832, 480, 81), (1280, 720, 81)), "new": ((832, 480, 81), (1280, 720, 81), (1280, 720, 81))}
    for side, of_items in sizes.items():
        write_starts(tmp_path / side, 1 if side == "base" else 2, items=3, sizes=of_items)
        for path in (tmp_path / side / "trace").glob("*.h5"):
            with h5py.File(path, "r+") as file:
                large = np.array([size[0] == 1280 for size in of_items])
                rows = (file["phases/phase"][:] == b"decode") & large[file["phases/item"][:]]
                file["phases/wall_s"][:] = np.where(rows, 3.0, 1.0) * file["phases/wall_s"][:]
    found = answers(tmp_path / "base", tmp_path / "new")
    assert found["phase decode"].text == "equal within 1 %"
    assert found["phase decode"].base == pytest.approx(2.0 * 2.7)


def test_starts_with_parts_of_items_have_no_energy_of_a_video(base, tmp_path):
    """They went on with an item after 2 of 4 steps, or were stopped in one: their energy is not that of whole items."""
    for name, options in (("resumed", {"first_steps": {0: 2}}), ("killed", {"killed_after": (1, 3)})):
        new = write_starts(tmp_path / name, 2, **options)
        for found in (answers(base, new), answers(new, base)):
            assert "energy of a video" not in found
            assert f"step, {SIZE}" in found
            assert not [verdict for verdict in found.values() if verdict.is_regression]


def test_layouts_without_a_whole_start_cannot_be_compared(base, tmp_path, capsys):
    write_starts(tmp_path / "groups", 2, groups=2)
    for path in (tmp_path / "groups" / "trace").glob("*-g01.h5"):
        path.unlink()
    assert main(["compare", str(base), str(tmp_path / "groups")]) == 1
    assert "need starts, on both sides, whose groups all left a trace" in capsys.readouterr().err
