"""A late rank is named by rank, host, GPU, part and time; equal ranks never are."""

import os

import numpy as np
import pandas as pd
import pytest
import step_tables
from wan_analysis.rank_excess import add_references
from wan_analysis.run import gather_runs
from wan_analysis.step_rows import prepared
from wan_analysis.stragglers import Device, slowest, slowest_of, stragglers, stragglers_of
from wan_analysis.trace_file import read_traces

#: A twentieth of the repetitions by default.
REPEATS = 100 if os.environ.get("WAN_NIGHTLY") else 5
STARTED = "2026-11-29T05:29:25.500000Z"
PARTS = ("attention", "linear", "elementwise")


def rows_of(*tables, uuids=None):
    """One start for each table, as `comparable_rows` makes them; `uuids` names each start's cards by world rank."""
    every = [table.assign(start=start, card=[(uuids[start] if uuids else {}).get(rank, f"{start}/{rank}") for rank in table["world_rank"]])
             for start, table in enumerate(tables)]
    rows = prepared(pd.concat(every, ignore_index=True))
    return add_references(rows[~rows["is_warm_up"]], {start: 1000.0 * start for start in range(len(tables))})


def found_in(*tables, cpu=False, devices=None, uuids=None):
    starts = [(f"run{start}", STARTED, cpu) for start in range(len(tables))]
    return stragglers_of(rows_of(*tables, uuids=uuids), devices or {}, starts)


def eight(groups, seed, **options):
    return step_tables.step_table(8 // groups, groups=groups, seed=seed, **({"cards": 0.003, "scatter": 0.003} | options))


@pytest.mark.parametrize("seed", range(REPEATS))
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("part", PARTS)
def test_the_slow_one_of_eight_is_named(part, groups, seed):
    random = np.random.default_rng(seed)
    rank, excess = int(random.integers(8)), float(random.uniform(0.03, 0.1))
    table = eight(groups, seed, steps=20, factor=lambda other, name, step: 1 + excess * (other == rank and name == part))
    named = found_in(table)
    assert [(one.rank, one.part) for one in named] == [(rank, part)]
    assert named[0].excess == pytest.approx(excess, abs=0.008)
    assert named[0].steps == named[0].of_steps == 19
    own = table[(table["world_rank"] == rank) & (table["warm_up"] == 0)]
    assert named[0].since_s == own["start_s"].min()
    others = table[(table["world_rank"] != rank) & (table["warm_up"] == 0)]
    more_s = (own[f"gpu_{part}_s"].mean() - others[f"gpu_{part}_s"].mean()) * 19
    assert named[0].more_s == pytest.approx(more_s, rel=0.25)


@pytest.mark.parametrize("seed", range(REPEATS))
@pytest.mark.parametrize("groups", [1, 8])
def test_none_of_eight_equal_ranks_is_named(groups, seed):
    assert found_in(eight(groups, 1000 + seed, steps=20)) == []


@pytest.mark.parametrize("seed", range(REPEATS))
@pytest.mark.parametrize("groups", [1, 8])
def test_three_measured_steps_are_enough(groups, seed):
    rank, part = seed % 8, PARTS[seed % 3]
    table = eight(groups, seed, steps=4, factor=lambda other, name, step: 1.04 if other == rank and name == part else 1.0)
    assert [(one.rank, one.part) for one in found_in(table)] == [(rank, part)]
    assert found_in(eight(groups, 3000 + seed, steps=4)) == []


@pytest.mark.parametrize("seed", range(REPEATS))
@pytest.mark.parametrize("scatter", [0.01, 0.03])
def test_noise_alone_names_nobody(scatter, seed):
    assert found_in(eight(1, 2000 + seed, scatter=scatter)) == []
    assert found_in(eight(4, 2000 + seed, scatter=scatter)) == []


def test_the_cost_is_the_time_that_the_team_waits():
    """Rank 2 of 4 is 5 % slower in attention: the step is as much longer, for all four."""
    table = step_tables.step_table(4, steps=21, factor=lambda rank, part, step: 1.05 if (rank, part) == (2, "attention") else 1.0)
    one = found_in(table)[0]
    held_s = 20 * 0.05 * step_tables.COMPUTING_S["attention"]
    assert one.cost_s == pytest.approx(held_s, rel=1e-9)
    assert one.cost_gpu_s == pytest.approx(4 * held_s, rel=1e-9)
    assert one.team == "0,1,2,3"
    # If another rank is nearly as late, the team gains only what lies between them.
    factors = {(2, "attention"): 1.05, (3, "attention"): 1.04}
    two = step_tables.step_table(4, steps=21, factor=lambda rank, part, step: factors.get((rank, part), 1.0))
    late = {one.rank: one for one in found_in(two)}
    assert late[2].cost_s == pytest.approx(held_s / 5, rel=1e-6)
    assert late[3].cost_s == pytest.approx(0.0, abs=1e-9)
    alone = step_tables.step_table(1, groups=4, steps=21, factor=lambda rank, part, step: 1.05 if (rank, part) == (2, "attention") else 1.0)
    assert found_in(alone)[0].cost_gpu_s == pytest.approx(held_s, rel=1e-9)


def test_since_when():
    table = eight(1, 7, factor=lambda rank, part, step: 1.06 if rank == 5 and part == "linear" and step >= 20 else 1.0)
    one, = found_in(table)
    assert (one.rank, one.part) == (5, "linear")
    assert one.since_s == pytest.approx(table.loc[table["step"] == 20, "start_s"].min(), abs=1.5)
    assert one.steps in (19, 20, 21)
    assert one.of_steps == 39
    assert one.at.startswith("2026-11-29 05:30:1")
    assert f"since {one.at}" in one.text


def test_rank_host_gpu_and_part_are_named():
    table = step_tables.step_table(4, steps=20, factor=lambda rank, part, step: 1.08 if (rank, part) == (3, "linear") else 1.0)
    devices = {"0/3": Device(3, "n2", "NVIDIA H200", "GPU-3f", "0000:1b:00.0")}
    one, = found_in(table, devices=devices)
    assert one.text.startswith("rank 3 on host n2, GPU-3f, part linear, +8.0 % over the median of 4 ranks in all its steps")
    assert "851 ms (3.4 GPU-seconds)" in one.text


def test_a_card_that_is_slow_in_everything_is_named_once():
    table = eight(1, 3, steps=20, factor=lambda rank, part, step: 1.04 if rank == 6 else 1.0)
    one, = found_in(table)
    assert (one.rank, one.part) == (6, "attention")
    assert set(one.parts) == set(PARTS)


def test_the_ranks_that_wait_are_not_blamed():
    table = eight(2, 11, steps=20, factor=lambda rank, part, step: 1.1 if rank == 1 else 1.0)
    waiting = table[(table["world_rank"] == 0) & (table["step"] > 0)]["gpu_all_to_all_s"].mean()
    assert waiting > 0.12
    assert [one.rank for one in found_in(table)] == [1]


def test_a_gpu_is_known_in_all_starts_of_a_campaign():
    """Four starts of one rank each. The second and the fourth ran on the same slow GPU."""
    slow = {1, 3}
    tables = [step_tables.step_table(1, steps=12, seed=start, cards=0.003, scatter=0.003,
                                     factor=lambda rank, part, step, start=start: 1.05 if start in slow else 1.0) for start in range(4)]
    uuids = [{0: "GPU-a"}, {0: "GPU-slow"}, {0: "GPU-b"}, {0: "GPU-slow"}]
    one, = found_in(*tables, uuids=uuids, devices={"GPU-slow": Device(0, "n1", gpu_uuid="GPU-slow")})
    assert one.gpu == "GPU-slow"
    assert one.ranks == 3
    assert one.of_steps == 22
    assert one.excess == pytest.approx(0.05, abs=0.01)


def test_sizes_and_layouts_are_not_compared_with_each_other():
    small = step_tables.step_table(1, steps=12)
    large = step_tables.step_table(1, steps=12, size=(1280, 720, 81), factor=lambda rank, part, step: 3.0).assign(world_rank=1, group=1)
    assert found_in(step_tables.joined(small, large)) == []


def test_a_common_change_of_speed_names_nobody():
    """All cards of the machine slow down at the same time."""
    table = eight(8, 5, steps=20, items=2, factor=lambda rank, part, step: 1.1 if step >= 20 else 1.0)
    assert found_in(table) == []


def test_on_cpu_ranks_only_a_great_excess_counts():
    table = eight(1, 4, steps=20, factor=lambda rank, part, step: 1.05 if rank == 2 else 1.0)
    assert found_in(table, cpu=True) == []
    table = eight(1, 4, steps=20, scatter=0.05, factor=lambda rank, part, step: 1.6 if rank == 2 else 1.0)
    assert [one.rank for one in found_in(table, cpu=True)] == [2]


def test_the_slowest_rank_is_always_there():
    table = eight(1, 21, steps=20)
    one = slowest_of(rows_of(table), {}, [("run", STARTED, False)])
    measured = table[table["warm_up"] == 0]
    sums = measured[[f"gpu_{part}_s" for part in PARTS]].sum(axis=1).groupby(measured["world_rank"]).sum()
    assert one.rank == sums.idxmax()
    assert 0.0 < one.excess < 0.01
    assert one.cost_gpu_s == pytest.approx(8 * one.cost_s)
    assert slowest_of(rows_of(step_tables.step_table(1)), {}, [("run", STARTED, False)]) is None


def real_run(path):
    return gather_runs(read_traces([path]).groups)[0]


def test_rank_1_of_the_four_h200s_is_named():
    one, = stragglers(real_run(step_tables.H200))
    assert one.rank == 1
    assert set(one.parts) <= set(PARTS)
    assert one.excess >= 0.01
    assert slowest(real_run(step_tables.H200)).rank == 1


def test_the_stragglers_of_the_other_real_runs():
    named = {path.stem: [one.rank for one in stragglers(real_run(path))] for path in step_tables.REAL_TRACES[1:]}
    assert named == {"2xh200_480p": [], "4xh200_480p_1group": [3], "4xh200_480p_2groups_g00": [], "4xh200_480p_4groups_g00": []}
