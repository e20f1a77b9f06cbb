"""The factors of a step series and of a run, against sums made by hand from the bare columns."""

from itertools import permutations

import h5py
import numpy as np
import pandas as pd
import pytest
import step_tables
from wan_analysis.account import account
from wan_analysis.factors import (
    added,
    campaign_factors,
    computation_scaling,
    efficiency,
    factors,
    losses_against,
    run_factors,
)
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces

H200, *TRACES = step_tables.REAL_TRACES


def real_run(path):
    return gather_runs(read_traces([path]).groups)[0]


def bare(path):
    """[ranks, steps] of computing, exposed communication, start and end, without the first step of the start."""
    with h5py.File(path) as file:
        rows = {name: dataset[:] for name, dataset in file["steps"].items()}
    measured = (rows["item"] > 0) | (rows["step"] > 0)
    order = np.lexsort((rows["step"], rows["item"], rows["world_rank"]))
    order = order[measured[order]]
    ranks = len(set(rows["world_rank"]))

    def table(*names):
        return sum(np.nan_to_num(rows[name][order]) for name in names).reshape(ranks, -1)

    computing = table("gpu_attention_s", "gpu_linear_s", "gpu_elementwise_s")
    exposed = table("gpu_all_to_all_s", "gpu_weight_gather_s", "gpu_wait_s")
    return computing, exposed, table("start_s"), table("start_s", "wall_s")


def test_the_four_h200s_of_the_note():
    found = factors(real_run(H200).rank_steps)
    values = {name: round(100 * value, 1) for name, value in found.by_name.items()}
    assert values == pytest.approx({"load balance": 98.9, "host": 99.5, "serialisation": 100.0, "transfer": 98.3}, abs=0.11)
    assert 100 * found.parallel_efficiency == pytest.approx(96.7, abs=0.05)
    assert found.ranks == 4
    assert found.steps == 11


def test_waiting_for_a_late_rank_is_told_from_the_transfer():
    found = factors(real_run(H200).rank_steps)
    assert found.exposed_s == pytest.approx(0.036, abs=0.0005)
    assert found.transfer_s <= 0.022
    assert found.waiting_s >= 0.014
    _, exposed, _, _ = bare(H200)
    medians = np.median(exposed, axis=1)
    assert found.exposed_s == pytest.approx(medians.mean(), rel=1e-12)
    assert found.transfer_s == pytest.approx(medians.min(), rel=1e-12)


@pytest.mark.parametrize("path", [H200, *TRACES], ids=lambda path: path.stem)
def test_factors_equal_those_by_hand(path):
    computing, exposed, start, end = bare(path)
    c, x = computing.sum(axis=1), exposed.sum(axis=1)
    h = (end - start).sum(axis=1) - c - x
    span = (end.max(axis=0) - start.min(axis=0)).sum()
    t = x.min()
    found = factors(real_run(path).rank_steps)
    by_hand = {"load balance": c.mean() / c.max(), "host": c.max() / (c + h).max(), "serialisation": (c + h).max() / (span - t),
               "transfer": (span - t) / span}
    assert found.by_name == pytest.approx(by_hand, rel=1e-9)
    assert found.parallel_efficiency == pytest.approx(c.mean() / span, rel=1e-9)
    assert np.prod(list(found.by_name.values())) == pytest.approx(found.parallel_efficiency, rel=1e-9)
    assert sum(found.losses_gpu_s.values()) == pytest.approx(len(c) * span - c.sum(), abs=1e-9)
    assert all(0.0 <= value <= 1.0 + 1e-12 for value in found.by_name.values())


def test_wall_times_alone_give_the_same_efficiency():
    every = {path.stem: (factors(real_run(path).rank_steps), bare(path)) for path in [H200, *TRACES]}
    pairs = list(permutations(every, 2))
    assert len(pairs) == 20
    for base_name, here_name in pairs:
        (base, (_, _, base_start, base_end)), (here, (_, _, start, end)) = every[base_name], every[here_name]
        base_step_s = (base_end.max(axis=0) - base_start.min(axis=0)).mean()
        step_s = (end.max(axis=0) - start.min(axis=0)).mean()
        from_walls = base_step_s / step_s * len(base_start) / len(start)
        from_factors = computation_scaling(base, here) * here.parallel_efficiency / base.parallel_efficiency
        assert from_factors == pytest.approx(from_walls, rel=1e-9), (base_name, here_name)
        assert efficiency(base, here) == pytest.approx(from_walls, rel=1e-9)
        assert sum(losses_against(base, here).values()) == pytest.approx(
            here.steps * (len(start) * step_s - len(base_start) * base_step_s), abs=1e-8)


@pytest.mark.parametrize("path", [H200, *TRACES], ids=lambda path: path.stem)
def test_the_losses_of_a_run_add_up(path):
    run = real_run(path)
    found = run_factors(run)
    seconds = account(run).sum()
    total = seconds.sum()
    assert found.idle_factor == pytest.approx(1 - seconds["idle"] / total)
    rest = total - seconds["idle"]
    assert found.load_factor == pytest.approx(1 - (seconds["load"] + seconds["start_up"]) / rest)
    with h5py.File(path) as file:
        rows = pd.DataFrame({name: file["steps"][name][:] for name in ("item", "step", "start_s", "wall_s")})
    rows["end_s"] = rows["start_s"] + rows["wall_s"]
    ends = rows.groupby(["item", "step"]).agg(first=("start_s", "min"), last=("end_s", "max"), ranks=("start_s", "size"))
    in_steps = ((ends["last"] - ends["first"]) * ends["ranks"]).sum()
    assert found.steps_factor == pytest.approx(in_steps / (rest - seconds["load"] - seconds["start_up"]))
    product = found.idle_factor * found.load_factor * found.steps_factor * factors(run.rank_steps).parallel_efficiency
    assert found.efficiency == pytest.approx(product, rel=1e-12)
    assert sum(loss.gpu_s for loss in found.losses) == pytest.approx(total * (1 - product), rel=1e-9)
    assert sum(loss.share for loss in found.losses) == pytest.approx(1 - product, rel=1e-9)


def test_a_campaign_adds_its_starts():
    one, other = (run_factors(real_run(path)) for path in TRACES[:2])
    both = campaign_factors([one, other])
    assert both.total_gpu_s == pytest.approx(one.total_gpu_s + other.total_gpu_s)
    assert both.steps.gpu_s == pytest.approx(one.steps.gpu_s + other.steps.gpu_s)
    assert sum(loss.gpu_s for loss in both.losses) == pytest.approx(both.lost_gpu_s, rel=1e-9)


def test_groups_do_not_wait_for_each_other():
    """A slow group of one rank costs its own time, and nothing in the balance of the others."""
    slow = step_tables.step_table(1, groups=4, factor=lambda rank, part, step: 1.5 if rank == 2 else 1.0)
    found = factors(slow)
    assert found.load_balance == pytest.approx(1.0, rel=1e-12)
    assert found.ranks == 4
    assert found.steps == 4 * 39
    together = factors(step_tables.step_table(4, factor=lambda rank, part, step: 1.5 if rank == 2 else 1.0))
    assert together.load_balance == pytest.approx((3 + 1.5) / 4 / 1.5, rel=1e-9)
    assert together.losses_gpu_s["load balance"] == pytest.approx(39 * 3 * 0.5 * sum(step_tables.COMPUTING_S.values()), rel=1e-9)


def test_series_are_balanced_one_by_one():
    """Ranks that are late in different sizes do not balance each other."""
    small = step_tables.step_table(2, steps=10, factor=lambda rank, part, step: 1.2 if rank == 0 else 1.0)
    large = step_tables.step_table(2, steps=10, size=(1280, 720, 81), start_s=100.0,
                                   factor=lambda rank, part, step: 1.2 if rank == 1 else 1.0).assign(item=1)
    assert added([factors(small), factors(large)]).load_balance == pytest.approx(1.1 / 1.2, rel=1e-9)


def test_warm_up_steps_do_not_count():
    slow_first = step_tables.step_table(2, steps=20, factor=lambda rank, part, step: 5.0 if step == 0 and rank == 0 else 1.0)
    found = factors(slow_first)
    assert found.steps == 19
    assert found.load_balance == pytest.approx(1.0, rel=1e-12)
    # A trace that does not say which steps are warm-up: the first of the start.
    assert factors(slow_first.assign(warm_up=-1)) == found
    assert factors(slow_first.drop(columns="warm_up")) == found


def test_cpu_ranks_use_the_seconds_of_the_host():
    on_gpu = factors(step_tables.step_table(3, scatter=0.01))
    assert factors(step_tables.step_table(3, scatter=0.01, gpu=False)) == on_gpu


def test_no_step_is_an_error():
    with pytest.raises(ValueError, match="no step"):
        factors(step_tables.step_table(1).iloc[:0])
