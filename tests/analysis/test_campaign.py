"""Starts of one batch taken together: each step and item is credited once, to the start that made it."""

import shutil
from pathlib import Path

import pytest
import synthetic
import synthetic1
from wan_analysis.campaign import MISSING_TIME, Campaign, find_campaigns
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces

#: Seconds of the default start: start-up and load, one step, an item of four steps with its other phases, the end.
LOAD_S, STEP_S, END_S = 20.0, 5.14, 0.1
PHASES_S = 0.1 + 0.05 + 1.6 + 2.7 + 0.2
ITEM_S = PHASES_S + 4 * STEP_S


def campaigns(*folders: Path) -> list[Campaign]:
    traces = read_traces(folders)
    assert traces.problems == []
    return find_campaigns(gather_runs(traces.groups))


def start(folder: Path, number: int, at_s: float, **options: object) -> synthetic1.Start:
    """A start whose clock begins `at_s` seconds after midnight."""
    hours, rest = divmod(at_s, 3600)
    minutes, seconds = divmod(rest, 60)
    made = synthetic1.Start(name=f"20260101T000000Z-{number:08x}", seed=number, steps=4, samples_every_s=0,
                            started=f"2026-01-01T{int(hours):02}:{int(minutes):02}:{seconds:09.6f}Z", **options)
    made.write(folder)
    return made


def killed_and_resumed(folder: Path) -> None:
    """Item b is killed after 3 steps, goes on after 1, is killed after 2 more, goes on after 3, and is done; c is made then."""
    start(folder, 0, 0.0, items=2, ids=("a", "b"), killed_after=(1, 3))
    start(folder, 1, 100.0, items=1, ids=("b",), first_steps={0: 1}, killed_after=(0, 3))
    start(folder, 2, 200.0, items=2, ids=("b", "c"), first_steps={0: 3})


def test_a_batch_in_three_starts_counts_each_step_and_item_once(tmp_path):
    killed_and_resumed(tmp_path)
    (campaign,) = campaigns(tmp_path)
    assert (len(campaign.runs), campaign.gpus, campaign.items_done) == (3, 1, 3)
    assert campaign.starts["items_done"].tolist() == [1, 0, 2]
    assert campaign.starts["steps"].tolist() == [7, 2, 5]
    assert campaign.starts["steps_lost"].tolist() == [2, 0, 0]  # steps 1 and 2 of b in the first start
    assert campaign.starts["steps_repeated"].tolist() == [0, 2, 0]
    assert campaign.starts["lost_rank_s"].sum() == pytest.approx(2 * STEP_S)
    assert campaign.starts["load_rank_s"].tolist() == pytest.approx([19.5] * 3)
    of_b = campaign.items.set_index("id").loc["b"]
    assert (of_b["attempts"], of_b["made_by"], of_b["steps_made"], of_b["steps_lost"]) == (3, 2, 6, 2)
    encode_s = PHASES_S - 2.7 - 0.2
    walls = [LOAD_S + ITEM_S + encode_s + 3 * STEP_S, LOAD_S + encode_s + 2 * STEP_S, LOAD_S + PHASES_S + STEP_S + ITEM_S + END_S]
    assert campaign.starts["wall_s"].tolist() == pytest.approx(walls)
    assert campaign.running_s == pytest.approx(sum(walls))
    assert campaign.items_per_hour == pytest.approx(3 / sum(walls) * 3600)
    assert campaign.rank_hours == pytest.approx(sum(walls) / 3600)
    assert campaign.lines()[-1] == MISSING_TIME
    assert "2 steps were made and never used" in campaign.lines()[2]


def test_a_copied_folder_and_a_link_change_nothing(tmp_path):
    killed_and_resumed(tmp_path / "out")
    (tmp_path / "link").symlink_to("out")
    shutil.copytree(tmp_path / "out", tmp_path / "early")
    (tmp_path / "early" / "trace" / "20260101T000000Z-00000002-g00.h5").unlink()
    (tmp_path / "early" / "trace.h5").unlink()
    file = tmp_path / "out" / "trace" / "20260101T000000Z-00000001-g00.h5"
    (campaign,) = campaigns(tmp_path / "early", tmp_path / "out", tmp_path / "link", tmp_path / "out" / "trace.h5", file)
    (alone,) = campaigns(tmp_path / "out")
    assert campaign.starts.equals(alone.starts)
    assert campaign.items.equals(alone.items)
    assert campaign.gpus == 1


def test_array_tasks_overlap_and_their_ranks_add_up(tmp_path):
    for task, at_s in enumerate((0.0, 10.0, 20.0)):
        start(tmp_path, task, at_s, items=2, ids=(f"a{task}", f"b{task}"), attributes={"array_task": str(task)})
    (campaign,) = campaigns(tmp_path)
    wall_s = LOAD_S + 2 * ITEM_S + END_S
    assert (campaign.gpus, campaign.items_done) == (3, 6)
    assert campaign.running_s == pytest.approx(20.0 + wall_s)
    assert campaign.working_s == pytest.approx(20.0 + 2 * ITEM_S)
    assert campaign.rank_hours == pytest.approx(3 * wall_s / 3600)
    assert campaign.items_per_working_hour == pytest.approx(6 / (20.0 + 2 * ITEM_S) * 3600)


def test_a_job_that_begins_as_another_one_ends_uses_its_gpus_again(tmp_path):
    wall_s = LOAD_S + ITEM_S + END_S
    for number, at_s in enumerate((0.0, wall_s + 0.2, 2 * wall_s + 0.4)):
        start(tmp_path, number, at_s, group_size=2, ids=(f"a{number}",))
    (campaign,) = campaigns(tmp_path)
    assert campaign.gpus == 2


def test_starts_of_format_0_that_follow_each_other_within_a_second(tmp_path):
    for number in range(3):  # each runs for 46 s and a bit
        started = f"2026-01-01T00:{46 * number // 60:02}:{46 * number % 60:02}Z"
        synthetic.Synthetic(name=f"r{number}", steps=4, attributes={"started": started}).write(tmp_path)
    (campaign,) = campaigns(tmp_path)
    assert campaign.gpus == 1


def test_other_folders_and_benchmarks_are_campaigns_of_their_own(tmp_path):
    start(tmp_path / "one", 0, 0.0)
    start(tmp_path / "two", 1, 0.0)
    start(tmp_path / "two", 2, 100.0, program="wan_bench", ids=("bench",))
    start(tmp_path / "two", 3, 200.0, program="wan_bench", ids=("bench",))
    assert [len(campaign.runs) for campaign in campaigns(tmp_path / "one", tmp_path / "two")] == [1, 1, 1, 1]


def test_steps_of_a_failed_item_are_lost_and_those_of_an_open_one_are_not(tmp_path):
    start(tmp_path / "failed", 0, 0.0, outcome="failed")
    start(tmp_path / "open", 1, 0.0, killed_after=(0, 3))
    failed, left = campaigns(tmp_path / "failed", tmp_path / "open")
    assert (failed.starts["steps_lost"].tolist(), failed.items_done) == ([4], 0)
    assert (left.starts["steps_lost"].tolist(), left.items["outcome"].tolist()) == ([0], ["cut off"])


def test_an_item_handed_to_a_team_loses_nothing(tmp_path):
    synthetic1.Start(groups=2, steps=6, joins=(synthetic1.Join(0, (0, 1), 0, 3, "cfg2 x ulysses1"),)).write(tmp_path)
    (campaign,) = campaigns(tmp_path)
    assert (campaign.starts["steps_lost"].tolist(), campaign.starts["steps_repeated"].tolist(), campaign.items_done) == ([0], [0], 2)
