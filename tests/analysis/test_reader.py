"""The tables of a Run against the truth of traces of format 1; values that format 0 leaves unknown."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import synthetic
import synthetic1
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces
from wan_analysis.trace_format import ITEM_PHASES, PARTS, TABLES

PROJECT = Path(__file__).resolve().parents[2]


def only_run(folder: Path):
    traces = read_traces([folder])
    assert traces.problems == []
    (run,) = gather_runs(traces.groups)
    return run


@pytest.fixture
def team(tmp_path):
    """Two groups of two ranks; group 1 joins group 0's last item after three of its steps. No two clocks agree."""
    start = synthetic1.Start(group_size=2, groups=2, items=2, steps=6, clocks_s={1: 0.5, 2: -0.25, 3: 1.0}, drift={3: 1e-3},
                             joins=(synthetic1.Join(0, (0, 1), 1, 3),), slow=(synthetic1.Slow(1, "linear", 1.1, from_step=2),))
    start.write(tmp_path)
    return only_run(tmp_path)


def test_all_ranks_times_are_on_one_clock(team):
    steps = team.rank_steps
    begun = steps.groupby(["group", "item", "step"])["start_s"]
    assert (begun.max() - begun.min()).max() < 1e-9
    assert team.rank_spans["end_s"].max() - team.rank_spans["end_s"].min() < 1e-9
    assert team.rank_spans["start_s"].to_dict() == pytest.approx({0: 0.0, 1: -0.5, 2: 0.25, 3: -1.0}, abs=1e-9)
    denoise = team.phases[team.phases["phase"] == "denoise"].set_index(["group", "item", "world_rank"])["start_s"]
    first = steps[steps["step"] == team.items.set_index(["group", "item"])["first_step"].reindex(
        steps[["group", "item"]].itertuples(index=False, name=None)).to_numpy()]
    first = first.set_index(["group", "item", "world_rank"])["start_s"]
    assert np.abs(denoise.reindex(first.index) - first).max() < 1e-9


def test_steps_of_a_team_carry_the_teams_layout(team):
    joined = team.rank_steps[team.rank_steps["team_width"] == 2]
    assert set(joined["layout"]) == {"cfg2 x ulysses2"}
    assert set(joined["ranks"]) == {"0,1,2,3"}
    assert sorted(joined["step"].unique()) == [3, 4, 5]
    assert set(joined["world_rank"]) == {0, 1, 2, 3}
    assert joined.loc[joined["warm_up"], "step"].unique().tolist() == [3]
    assert set(team.rank_steps.loc[team.rank_steps["team_width"] == 1, "layout"]) == {"cfg1 x ulysses1"}
    assert team.problems == []
    of_item = team.items[team.items["id"] == "g0-item1"]
    assert of_item["outcome"].tolist() == ["handed over", "done"]
    assert (of_item["first_step"].tolist(), of_item["steps_done"].tolist()) == ([0, 3], [3, 3])
    assert int(team.items["done"].sum()) == 4


def test_a_slow_rank_computes_longer_and_the_other_one_waits(team):
    steps = team.rank_steps
    own = steps[(steps["group"] == 0) & (steps["team_width"] == 1)]
    slow, other = (own[own["world_rank"] == rank].reset_index(drop=True) for rank in (1, 0))
    assert slow["linear"].iloc[:2].tolist() == pytest.approx([2.24] * 2)
    assert slow["linear"].iloc[2:].tolist() == pytest.approx([1.1 * 2.24] * 7)
    assert other["wait"].iloc[2:].tolist() == pytest.approx([0.224] * 7)
    assert slow["attention_backend"].unique().tolist() == ["cudnn"]


def test_phases_have_a_row_for_every_rank(team):
    of_rank = team.phases.groupby("world_rank")["phase"].agg(set)
    assert of_rank[3] == {"start_up", "load", "join", "finish", *ITEM_PHASES} - {"lora"}
    assert of_rank[0] == of_rank[3] | {"idle"}
    assert not team.phases["assumed"].any()
    walls = team.rank_walls()
    named = team.phases.groupby("world_rank")["wall_s"].sum()
    assert named.to_dict() == pytest.approx(walls.to_dict(), rel=2e-3)  # rank 3's clock gains 0.1 %


def test_idle_groups_count_and_have_names(tmp_path):
    synthetic1.Start(groups=4, items=1, steps=3, idle_groups=(1, 2, 3)).write(tmp_path)
    run = only_run(tmp_path)
    assert run.gpus == 4
    idle = run.phases[run.phases["phase"] == "idle"].set_index("world_rank")["wall_s"]
    busy_s = run.items["end_s"].max() - 20.0
    assert idle.to_dict() == pytest.approx(dict.fromkeys((1, 2, 3), busy_s))
    assert set(run.rank_walls().round(6)) == {round(20.0 + busy_s + 0.1, 6)}


def test_a_killed_start_ends_with_what_it_told_last(tmp_path):
    synthetic1.Start(items=2, steps=6, killed_after=(1, 4), samples_every_s=0).write(tmp_path)
    run = only_run(tmp_path)
    last = run.rank_steps.iloc[-1]
    assert run.rank_walls()[0] == pytest.approx(last["start_s"] + last["wall_s"])
    assert run.items["outcome"].tolist() == ["done", "cut off"]
    assert "item 'g0-item1' stopped after 4 of 6 steps" in str(run.problems[0])


def test_hosts_and_uuids_are_read(tmp_path):
    synthetic1.Start(groups=4, items=1, steps=2, ranks_per_host=2).write(tmp_path)
    info = only_run(tmp_path).rank_info.set_index("world_rank")
    assert info["host"].tolist() == ["node1", "node1", "node2", "node2"]
    assert info["gpu_uuid"].nunique() == 4


def test_a_real_trace_of_format_0_has_the_shape_of_format_1():
    run = only_run(PROJECT / "analysis" / "results" / "wan_batch_4xh200.h5")
    assert (run.gpus, run.group_size, run.layout) == (4, 4, "cfg2 x ulysses2")
    steps = run.rank_steps
    assert set(steps["layout"]) == {"cfg2 x ulysses2"}
    assert set(steps["ranks"]) == {"0,1,2,3"}
    for column in ("placement", "precision", "guidance", "solver", "attention_backend"):
        assert set(steps[column]) == {"unknown"}
    assert set(steps["passes"]) == {-1}
    assert steps[steps["warm_up"]][["item", "step"]].drop_duplicates().to_numpy().tolist() == [[0, 0]]
    assert steps[list(PARTS)].to_numpy() == pytest.approx(steps[[f"gpu_{part}_s" for part in PARTS]].to_numpy())
    assert set(run.phases["world_rank"]) == {0, 1, 2, 3}
    assert run.phases.loc[~run.phases["assumed"], "world_rank"].unique().tolist() == [0]
    assert run.phases.loc[run.phases["assumed"], "phase"].value_counts()["decode"] == 9
    assert set(run.rank_info["host"]) == {"vm", "unknown"}
    assert run.items["outcome"].tolist() == ["done"] * 3


def test_a_real_trace_of_each_format_is_read_and_the_newest_has_every_column():
    data = PROJECT / "tests" / "data" / "traces"
    old, new = only_run(data / "format0.h5"), only_run(data / "format1.h5")
    with h5py.File(data / "format2.h5") as trace:
        assert [f"{table}/{column}" for table, columns in TABLES.items() for column in columns if f"{table}/{column}" not in trace] == []
    assert (old.attribute("format"), new.attribute("format")) == ("0", "1")
    assert (old.layout, new.layout, old.gpus, new.gpus) == ("cfg2 x ulysses1", "cfg2 x ulysses1", 2, 2)
    assert not new.phases["assumed"].any()
    assert set(new.phases["world_rank"]) == {0, 1}
    told = new.rank_steps[["placement", "precision", "solver", "passes", "ranks"]].drop_duplicates()
    assert told.to_numpy().tolist() == [["whole", "fp32", "unipc", 2, "0,1"]]
    assert new.items["outcome"].tolist() == ["done"]
    assert (new.rank_spans["end_s"] > new.items["end_s"].max()).all()


def test_joined_steps_of_format_0_do_not_take_the_groups_layout(tmp_path):
    run = synthetic.Synthetic(group_size=1, groups=2, steps=6)
    run.write(tmp_path)
    file = tmp_path / "trace" / f"{run.name}-g00.h5"
    synthetic.add_ranks(file, [1], from_step=3)
    steps = only_run(tmp_path).rank_steps
    group = steps[steps["group"] == 0]
    assert set(group.loc[group["step"] < 3, "layout"]) == {"cfg1 x ulysses1"}
    joined = group[group["step"] >= 3]
    assert (set(joined["layout"]), set(joined["ranks"]), set(joined["team_width"])) == ({"unknown"}, {"0,1"}, {2})


@pytest.mark.parametrize(("attributes", "said"), [
    ({"format": 7, "version": "9.1"}, "has format 7, written by version 9.1 of the program; this package reads the formats 0 to 2"),
    ({"ranks": 0}, "with 0 ranks each"), ({"group": 5}, "group 5 of 1 groups"), ({"world_ranks": 3}, "3 ranks in all"),
    ({"groups": "two"}, "'groups' is not a whole number")])
def test_a_file_that_cannot_be_true_is_refused_in_one_line(tmp_path, attributes, said):
    synthetic1.Start(steps=2, attributes=attributes).write(tmp_path)
    traces = read_traces([tmp_path])
    assert traces.groups == []
    (problem,) = traces.problems
    assert said in str(problem)


def test_a_draft_is_no_item_that_was_cut_off(tmp_path):
    synthetic1.Start(steps=10, items=2, outcome="drafted").write(tmp_path)
    run = gather_runs(read_traces([tmp_path]).groups)[0]
    assert [str(problem).partition(": ")[2] for problem in run.problems] == [
        "item 'g0-item0' drafted after 10 of 10 steps, item 'g0-item1' drafted after 10 of 10 steps; their steps count, the items do not"]
