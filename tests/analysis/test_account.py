"""Where the time of every rank went, against sums made by hand from the bare columns."""


import h5py
import numpy as np
import pandas as pd
import pytest
import step_tables
from wan_analysis.account import account, account_of, account_table, background_of, unnamed_share
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces

REAL = step_tables.REAL_TRACES


def real_run(path):
    return gather_runs(read_traces([path]).groups)[0]


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_all_time_of_a_real_trace_has_a_name(path):
    table = account(real_run(path))
    with h5py.File(path) as file:
        phases = {name: file["phases"][name][:] for name in ("item", "phase", "start_s", "wall_s")}
        steps = {name: file["steps"][name][:] for name in ("world_rank", "start_s", "wall_s")}
        ranks = int(file.attrs["ranks"])
        ends = (phases["start_s"] + phases["wall_s"], steps["start_s"] + steps["wall_s"], file["samples/time_s"][:])
    assert len(table) == ranks
    assert table.sum(axis=1).to_numpy() == pytest.approx(np.full(ranks, max(map(np.max, ends))), abs=1e-9)
    assert unnamed_share(table) <= 0.02
    of_load = phases["phase"] == b"load"
    assert table["load"].to_numpy() == pytest.approx(np.full(ranks, phases["wall_s"][of_load].sum()), abs=1e-9)
    assert table["start_up"].to_numpy() == pytest.approx(np.full(ranks, phases["start_s"][of_load].min()), abs=1e-9)
    for rank in table.index:
        assert table.loc[rank, "steps"] == pytest.approx(steps["wall_s"][steps["world_rank"] == rank].sum(), abs=1e-9)
    for phase in ("text", "image", "encode", "decode"):
        expected_s = phases["wall_s"][phases["phase"] == phase.encode()].sum()
        assert table[phase].to_numpy() == pytest.approx(np.full(ranks, expected_s), abs=1e-9), phase


def test_the_gaps_of_a_real_trace_are_named_by_where_they_lie():
    table = account(real_run(REAL[0]))
    with h5py.File(REAL[0]) as file:
        item, start_s, wall_s = (file["phases"][name][:] for name in ("item", "start_s", "wall_s"))
        names, denoise = file["phases/phase"][:], file["phases/phase"][:] == b"denoise"
        first = (file["steps/world_rank"][:] == 0)
        stepped_s = file["steps/wall_s"][:][first].sum()
    of_item = [np.flatnonzero(item == number) for number in range(3)]
    between_phases = sum(start_s[rows[1:]] - (start_s + wall_s)[rows[:-1]] for rows in of_item).sum()
    load = np.flatnonzero(names == b"load")[0]
    ends = [(start_s + wall_s)[load], *((start_s + wall_s)[rows[-1]] for rows in of_item[:-1])]
    between_items = sum(start_s[rows[0]] - end for rows, end in zip(of_item, ends, strict=True))
    assert table.loc[0, "between_phases"] == pytest.approx(between_phases, abs=1e-3)  # rank 0's steps may pass the phase's end
    assert table.loc[0, "between_items"] == pytest.approx(between_items, abs=1e-9)
    assert table.loc[0, "between_steps"] == pytest.approx(wall_s[denoise].sum() - stepped_s, abs=1e-3)


def whole_runs(end_s, *ranks):
    return pd.DataFrame({"start_s": 0.0, "end_s": end_s}, index=list(ranks))


def two_groups():
    """Rank 0 makes an item alone, rank 1 waits; a background thread writes meanwhile."""
    rows = [(rank, rank, -1, "start_up", 0.0, 2.0, 0) for rank in (0, 1)]
    rows += [(rank, rank, -1, "load", 2.0, 3.0, 0) for rank in (0, 1)]
    rows += [(0, 0, 0, "text", 5.0, 1.0, 0), (0, 0, 0, "denoise", 6.5, 4.0, 0), (0, 0, 0, "decode", 10.5, 2.0, 0),
             (0, 0, 0, "write", 11.0, 9.0, 1), (0, 0, -1, "finish", 13.0, 1.0, 0), (1, 1, -1, "idle", 5.0, 8.5, 0)]
    steps = pd.DataFrame({"group": 0, "item": 0, "world_rank": 0, "step": [0, 1], "start_s": [7.0, 8.75], "wall_s": [1.5, 1.5]})
    return step_tables.phase_table(rows), steps, whole_runs(14.0, 0, 1)


def test_every_second_has_exactly_one_name():
    table = account_of(*two_groups())
    named = {name: seconds for name, seconds in table.loc[0].items() if seconds}
    assert named == pytest.approx({"start_up": 2.0, "load": 3.0, "text": 1.0, "between_phases": 0.5, "between_steps": 1.0,
                                   "steps": 3.0, "decode": 2.0, "between_items": 0.5, "finish": 1.0})
    idle = {name: seconds for name, seconds in table.loc[1].items() if seconds}
    assert idle == pytest.approx({"start_up": 2.0, "load": 3.0, "idle": 8.5, "unnamed": 0.5})
    assert unnamed_share(table) == pytest.approx(0.5 / 28.0)


def test_what_is_lost_is_given_in_gpu_seconds_and_percent():
    table = account_table(account_of(*two_groups())).set_index("name")
    assert table["gpu_s"].sum() == pytest.approx(28.0, abs=1e-12)
    assert table["percent"].sum() == pytest.approx(100.0, abs=1e-9)
    assert table.loc["idle", "gpu_s"] == pytest.approx(8.5)
    assert table.loc["load", "percent"] == pytest.approx(100 * 6 / 28)
    assert (table["meaning"] != "").all()


def test_background_threads_are_listed_and_in_no_sum():
    phases, steps, spans = two_groups()
    with_background = account_of(phases, steps, spans)
    without = account_of(phases[phases["background"] == 0], steps, spans)
    pd.testing.assert_frame_equal(with_background[without.columns], without)

    listed = background_of(phases)
    assert listed[["world_rank", "phase", "seconds", "rows"]].to_numpy().tolist() == [[0, "write", 9.0, 1]]


def test_an_old_trace_of_several_groups_names_the_end_idle():
    phases, steps, _ = two_groups()
    old = phases[~phases["phase"].isin(["start_up", "idle", "finish"])]
    table = account_of(old, steps, whole_runs(14.0, 0, 1), is_old=True)
    assert table.loc[1].loc[["start_up", "load", "idle", "unnamed"]].tolist() == pytest.approx([2.0, 3.0, 9.0, 0.0])
    assert table.loc[0].loc[["start_up", "idle", "unnamed"]].tolist() == pytest.approx([2.0, 1.5, 0.0])


def test_a_rank_that_joins_another_team_is_counted_once():
    rows = [(1, 1, -1, "load", 0.0, 1.0, 0), (1, 1, -1, "idle", 1.0, 2.0, 0), (1, 1, -1, "join", 2.5, 1.5, 0),
            (1, 0, 3, "denoise", 4.0, 6.0, 0), (1, 1, -1, "idle", 10.0, 2.0, 0)]
    steps = pd.DataFrame({"group": 0, "item": 3, "world_rank": 1, "step": [7, 8], "start_s": [4.5, 7.0], "wall_s": [2.0, 3.0]})
    table = account_of(step_tables.phase_table(rows), steps, whole_runs(12.0, 1))
    assert {name: seconds for name, seconds in table.loc[1].items() if seconds} == pytest.approx(
        {"load": 1.0, "idle": 3.5, "join": 1.5, "between_steps": 1.0, "steps": 5.0})


def test_a_run_that_was_killed_in_an_item():
    steps = pd.DataFrame({"group": 0, "item": 0, "world_rank": 0, "step": [0, 1], "start_s": [5.5, 7.0], "wall_s": [1.0, 1.0]})
    rows = [(0, 0, -1, "load", 1.0, 4.0, 0), (0, 0, 0, "text", 5.0, 0.5, 0)]
    table = account_of(step_tables.phase_table(rows), steps, whole_runs(8.0, 0), is_old=True)
    assert {name: seconds for name, seconds in table.loc[0].items() if seconds} == pytest.approx(
        {"start_up": 1.0, "load": 4.0, "text": 0.5, "steps": 2.0, "between_steps": 0.5})
