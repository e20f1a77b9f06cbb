"""compare blames the rank that is late and never those that wait; time between steps and phases are metrics like the others."""

import os

import numpy as np
import pytest
import synthetic
import synthetic1
from wan_analysis.cli import main
from wan_analysis.compare import changes_text, compare_runs, culprits, late_ranks
from wan_analysis.compare_tables import gaps_s, phase_seconds, step_parts
from wan_analysis.guided import StepKind
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces
from wan_analysis.trace_format import PARTS

COMPUTING = ("attention", "linear", "elementwise")
#: (part, groups, seed) of 100 late ranks for each part and grouping, and (groups, seed) of 100 clean pairs; by default of a twentieth of
#: the seeds, with the parts and groupings in turn.
if os.environ.get("WAN_NIGHTLY"):
    LATE = [(part, groups, seed) for part in COMPUTING for groups in (1, 8) for seed in range(100)]
    CLEAN = [(groups, seed) for groups in (1, 8) for seed in range(100)]
else:
    LATE = [(COMPUTING[seed % 3], (1, 8)[seed % 2], seed) for seed in range(5)]
    CLEAN = [((1, 8)[seed % 2], seed) for seed in range(5)]
SIZE = (832, 480, 81)
EIGHT_S = synthetic.scaled_parts(8, cfg=2, ulysses=4, fsdp=False)


def eight(seed, groups=1, **options):
    """Eight GPUs in `groups` groups; cards within 0.3 %, scatter 0.3 %."""
    random = np.random.default_rng(seed)
    layout = {"layout": "cfg2 x ulysses4", "parts_s": EIGHT_S} if groups == 1 else {}
    cards = {rank: 1 + random.uniform(-0.003, 0.003) for rank in range(8)}
    return synthetic1.Start(**({"groups": groups, "group_size": 8 // groups, "seed": seed, "cards": cards, "noise": 0.003, "steps": 20,
                                "ranks_per_host": 4} | layout | options))


def runs_of(folder, *starts):
    for start in starts:
        start.write(folder)
    return gather_runs(read_traces([folder]).groups)


def changes_between(tmp_path, base, new):
    return compare_runs(runs_of(tmp_path / "base", base), runs_of(tmp_path / "new", new))


@pytest.mark.parametrize(("part", "groups", "seed"), LATE)
def test_the_late_one_of_eight_is_named(tmp_path, part, groups, seed):
    random = np.random.default_rng(seed)
    rank, factor = int(random.integers(8)), float(random.uniform(1.03, 1.1))
    changes = changes_between(tmp_path, eight(2 * seed, groups), eight(2 * seed + 1, groups, slow=(synthetic1.Slow(rank, part, factor),)))
    named = late_ranks(changes)
    assert len(named) == 1, changes_text(changes)
    uuid = f"GPU-{2 * seed + 1:04x}-{rank:04x}"
    assert named[0].startswith(f"rank {rank} on host node{rank // 4 + 1}, {uuid}, part {part}, +"), named
    assert float(named[0].split("+")[1].split()[0]) == pytest.approx(100 * (factor - 1), abs=1.0)
    assert culprits(changes) == []


@pytest.mark.parametrize(("groups", "seed"), CLEAN)
def test_equal_runs_of_eight_have_no_change(tmp_path, groups, seed):
    changes = changes_between(tmp_path, eight(1000 + 2 * seed, groups), eight(1001 + 2 * seed, groups))
    assert not [change for change in changes if change.is_regression], changes_text(changes)


def test_the_command_names_rank_host_gpu_and_part(tmp_path, capsys):
    eight(1).write(tmp_path / "base")
    eight(2, slow=(synthetic1.Slow(5, "linear", 1.08),)).write(tmp_path / "new")
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "new")]) == 3
    said = capsys.readouterr().out
    assert "late: rank 5 on host node2, GPU-0002-0005, part linear, +8." in said or "part linear, +7." in said
    assert "grew in" not in said  # the others wait in the exchange for rank 5, and the exchange is not blamed
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "base")]) == 0
    assert "late:" not in capsys.readouterr().out


def test_a_rank_that_was_as_late_before_is_no_change(tmp_path):
    late = synthetic1.Slow(5, "linear", 1.05)
    changes = changes_between(tmp_path, eight(1, slow=(late,)), eight(2, slow=(late,)))
    assert late_ranks(changes) == []
    assert not [change for change in changes if change.is_regression], changes_text(changes)


def test_a_slow_network_is_blamed_if_no_rank_is_late(tmp_path):
    slower = EIGHT_S | {"all_to_all": 1.2 * EIGHT_S["all_to_all"]}
    changes = changes_between(tmp_path, eight(1), eight(2, parts_s=slower))
    assert culprits(changes) == ["all to all"]
    assert late_ranks(changes) == []


def test_time_between_steps_is_a_part_like_the_others(tmp_path, capsys):
    eight(1).write(tmp_path / "base")
    eight(2, between_steps_s=0.2).write(tmp_path / "new")
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "new")]) == 3
    said = capsys.readouterr().out
    assert "regression: time between steps, 832×480, 81 frames" in said
    between = gaps_s(gather_runs(read_traces([tmp_path / "new"]).groups)[0], StepKind(SIZE))
    assert len(between) == 19
    assert between.to_numpy() == pytest.approx(np.full(19, 0.2))


@pytest.mark.parametrize(("options", "slower"), [
    ({"load_s": 25.0}, "phase load"), ({"start_up_s": 3.5}, "phase start up"), ({"between_phases_s": 0.3}, "time between phases"),
    ({"phases_s": {"text": 0.1, "image": 0.05, "encode": 1.6, "denoise": 0.0, "decode": 2.7, "write": 0.5}}, "phase write")])
def test_phases_load_and_the_time_between_phases(tmp_path, options, slower):
    changes = changes_between(tmp_path, eight(1), eight(2, **options))
    assert [change.metric for change in changes if change.is_regression] == [slower]


def test_phases_are_means_over_ranks_and_items(tmp_path):
    run, = runs_of(tmp_path, eight(1, items=2, steps=3, between_phases_s=0.25))
    found = phase_seconds(run)
    assert found["phase load"] == pytest.approx(19.5)
    assert found["phase decode"] == pytest.approx(2.7)
    assert found["time between phases"] == pytest.approx(5 * 0.25)
    assert "phase denoise" not in found


def test_a_step_is_split_without_a_rest(tmp_path):
    run, = runs_of(tmp_path, eight(1, slow=(synthetic1.Slow(2, "attention", 1.1),), noise=0.0, cards={}))
    parts = step_parts(run, StepKind(SIZE))
    assert len(parts) == 20
    assert parts[[*PARTS, "waiting", "other"]].sum(axis=1).to_numpy() == pytest.approx(parts["wall_s"].to_numpy(), rel=1e-12)
    more_s = 0.1 * EIGHT_S["attention"]
    assert parts["waiting"].to_numpy() == pytest.approx(np.full(20, 7 / 8 * more_s))
    assert parts["all_to_all"].to_numpy() == pytest.approx(np.full(20, EIGHT_S["all_to_all"]))
    assert parts["attention"].to_numpy() == pytest.approx(np.full(20, EIGHT_S["attention"] + more_s / 8))


@pytest.mark.parametrize(("stretch", "said"), [({"passes": 1, "guidance": "1:1"}, "passes of a step 2 and 1"),
                                               ({"precision": "fp32"}, "precision bf16 and fp32")])
def test_other_work_is_refused_with_its_values(tmp_path, capsys, stretch, said):
    eight(1, steps=6).write(tmp_path / "base")
    eight(2, steps=6, stretch=stretch).write(tmp_path / "new")
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "new")]) == 1
    assert f"the two runs did other work: {said}" in capsys.readouterr().err


def test_another_kernel_is_compared(tmp_path):
    """The kernel belongs to the way of computing, not to the work: its effect is what compare is asked for."""
    changes = changes_between(tmp_path, eight(1), eight(2, stretch={"attention": "reference"}, parts_s=EIGHT_S | {
        "attention": 1.5 * EIGHT_S["attention"]}))
    assert culprits(changes) == ["attention"]
