"""Changes of speed within a run that are found, and runs in which nothing changed."""

import os

import numpy as np
import pytest
import step_tables
from wan_analysis.drift import FASTER, LITTLE_BY_LITTLE, SLOWER, SPELL, TWO_SPEEDS, drifts, drifts_of
from wan_analysis.run import gather_runs
from wan_analysis.segments import levels, two_modes
from wan_analysis.times import moment_of, start_moment, time_text
from wan_analysis.trace_file import read_traces

#: A twentieth of the repetitions by default.
REPEATS = 100 if os.environ.get("WAN_NIGHTLY") else 5
STARTED = "2026-11-29T05:29:25.500000Z"


def slow_when(is_slow, factor=1.1, part=None):
    return lambda rank, name, step: factor if is_slow(step) and part in (None, name) else 1.0


def table(seed=0, ranks=2, **options):
    return step_tables.step_table(ranks, seed=seed, **({"scatter": 0.003, "cards": 0.003} | options))


def start_of_step(rows, step):
    return rows.loc[(rows["step"] == step) & (rows["item"] == 0), "start_s"].min()


@pytest.mark.parametrize("seed", range(REPEATS))
@pytest.mark.parametrize("noise", [0.003, 0.01])
def test_a_run_whose_second_half_is_slower(seed, noise):
    rows = table(seed, factor=slow_when(lambda step: step >= 20), scatter=noise)
    found = drifts_of(rows, STARTED)
    assert [drift.kind for drift in found] == [SLOWER]
    assert found[0].ranks == "0,1"
    assert abs(found[0].since_s - start_of_step(rows, 20)) < 2.0  # at most one step beside it
    assert found[0].excess == pytest.approx(0.1, abs=0.025)
    slow_s, fast_s = (rows.loc[(rows["step"] >= 20) == late, "wall_s"].median() for late in (True, False))
    assert found[0].cost_s == pytest.approx(20 * (slow_s - fast_s), rel=0.15)
    assert found[0].cost_gpu_s == pytest.approx(2 * found[0].cost_s)
    assert found[0].at == moment_of(STARTED, step_tables.seconds(found[0].since_s))
    assert found[0].at.startswith("2026-11-29 05:30:1")
    assert "10" in found[0].text or "9." in found[0].text


@pytest.mark.parametrize("seed", range(REPEATS))
@pytest.mark.parametrize("block", [1, 5])
def test_steps_that_alternate_between_two_speeds(seed, block):
    rows = table(seed, factor=slow_when(lambda step: (step // block) % 2 == 1))
    found = drifts_of(rows, STARTED)
    assert [drift.kind for drift in found] == [TWO_SPEEDS]
    assert found[0].excess == pytest.approx(0.1, abs=0.02)
    assert 15 <= found[0].steps <= 20
    assert abs(found[0].since_s - start_of_step(rows, block)) < 4.5


@pytest.mark.parametrize("slow", [0, 1])
def test_alternation_in_step_with_the_items(slow):
    """Items of four steps, so that all slow ones are an item's first steps and an expert's first, or none of them is."""
    rows = table(steps=4, items=10, switch=2, factor=slow_when(lambda step: step % 2 == slow))
    assert [drift.kind for drift in drifts_of(rows)] == [TWO_SPEEDS]


@pytest.mark.parametrize("seed", range(REPEATS))
def test_a_slow_spell_has_a_begin_and_an_end(seed):
    rows = table(seed, factor=slow_when(lambda step: 22 <= step < 30))
    found = drifts_of(rows, STARTED)
    assert [drift.kind for drift in found] == [SPELL]
    assert found[0].since_s == pytest.approx(start_of_step(rows, 22), abs=2.0)
    assert found[0].until_s == pytest.approx(start_of_step(rows, 30), abs=2.0)


def test_other_changes_of_speed():
    assert [drift.kind for drift in drifts_of(table(factor=slow_when(lambda step: step < 20)))] == [FASTER]
    ramp = table(factor=lambda rank, part, step: 1.0 + 0.15 * (step // 10) / 3)
    assert [drift.kind for drift in drifts_of(ramp)] == [LITTLE_BY_LITTLE]
    at_the_switch = table(factor=slow_when(lambda step: step >= 15))
    assert [drift.kind for drift in drifts_of(at_the_switch)] == [SLOWER]


def test_the_part_that_changed_is_named():
    found = drifts_of(table(factor=slow_when(lambda step: step >= 20, 1.2, "linear")))
    assert [drift.part for drift in found] == ["linear"]
    exchange = table()
    slow = exchange["step"] >= 20
    for column in ("wall_s", "gpu_all_to_all_s"):
        exchange.loc[slow, column] += 0.15
    exchange["start_s"] += 0.15 * (exchange["step"] - 20).clip(lower=0)
    assert [(drift.kind, drift.part) for drift in drifts_of(exchange)] == [(SLOWER, "all_to_all")]


@pytest.mark.parametrize("seed", range(REPEATS))
@pytest.mark.parametrize("options", [
    {}, {"scatter": 0.01}, {"scatter": 0.02, "items": 3}, {"steps": 12, "items": 1}, {"steps": 4, "items": 8}, {"steps": 8, "items": 2},
    {"ranks": 1, "groups": 4}], ids=str)
def test_clean_runs_have_no_change(seed, options):
    assert drifts_of(table(1000 + seed, **options)) == []


def test_the_first_step_and_the_switch_of_experts_are_no_change():
    """Every item fetches weights in its first step and at the switch, and one expert is on the host."""
    rows = table(items=6, steps=6, switch=3)
    first = rows["step"].isin([0, 3])
    offloaded = rows["expert"] == "low_noise"
    for column in ("wall_s", "gpu_weight_gather_s"):
        rows.loc[first, column] += 0.8
        rows.loc[offloaded, column] += 0.2
    assert drifts_of(rows) == []


def test_sizes_that_differ_are_no_change():
    small = table(1, steps=20)
    large = table(2, steps=20, size=(1280, 720, 81), start_s=60.0, factor=lambda rank, part, step: 3.5).assign(item=1, stretch=1)
    assert drifts_of(step_tables.joined(small, large)) == []


def test_a_resumed_run_is_no_change():
    """Its first step is number 17, slow and marked as warm-up; the team is another one than before."""
    before = table(1, steps=17, ranks=1)
    after = table(2, steps=23, ranks=2, start_s=90.0).assign(stretch=1)
    after["step"] += 17
    after.loc[after["step"] == 17, "wall_s"] += 3.0
    assert drifts_of(step_tables.joined(before, after)) == []


@pytest.mark.parametrize("path", step_tables.REAL_TRACES, ids=lambda path: path.stem)
def test_real_runs_have_no_change(path):
    assert drifts(gather_runs(read_traces([path]).groups)[0]) == []


def test_few_or_odd_values_are_no_error():
    assert drifts_of(table().iloc[:0]) == []
    assert drifts_of(table(steps=1)) == []
    assert drifts_of(table(steps=2)) == []
    still = table(scatter=0.0, cards=0.0)
    assert drifts_of(still) == []
    still.loc[5, "wall_s"] = np.nan
    assert drifts_of(still) == []
    assert levels(np.array([])) == []
    assert two_modes(np.ones(50)) is None
    assert levels(np.zeros(30))[0].count == 30


def test_moments_and_durations():
    assert start_moment("2026-11-21T12:42:01Z").minute == 42
    assert start_moment("") is None
    assert moment_of("nothing", step_tables.seconds(3)) == "unknown"
    assert moment_of("2026-11-21T12:42:01Z", step_tables.seconds(60.4)) == "2026-11-21 12:43:01 UTC"
    assert time_text(float("inf")) == time_text(float("nan")) == "unknown"
    assert [time_text(value) for value in (0.0354, 12.34, 700, 7300)] == ["35.4 ms", "12.3 s", "12 min", "2 h 02 min"]
