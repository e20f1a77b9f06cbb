"""The account and the factors of whole runs and campaigns whose truth is known, through the reader."""

import json
from pathlib import Path

import h5py
import pytest
import synthetic1
from wan_analysis.account import account, campaign_account, unnamed_share
from wan_analysis.campaign import find_campaigns
from wan_analysis.charts_timeline import timeline_chart
from wan_analysis.cli import main
from wan_analysis.factors import campaign_factors, run_factors
from wan_analysis.run import gather_runs
from wan_analysis.sections_notes import gain_section, notes_section
from wan_analysis.series import step_series
from wan_analysis.trace_file import read_traces

PROJECT = Path(__file__).resolve().parents[2]
STEP_S = sum(synthetic1.ONE_GPU_PARTS_S.values()) + 0.01


def runs_of(folder, *starts):
    for start in starts:
        start.write(folder)
    return gather_runs(read_traces([folder]).groups)


def assert_complete(run):
    table = account(run)
    walls = run.rank_walls()
    assert table.sum(axis=1).to_numpy() == pytest.approx(walls.reindex(table.index).to_numpy(), abs=1e-9)
    assert unnamed_share(table) <= 0.01
    return table


def test_one_group_works_and_three_are_idle(tmp_path):
    run, = runs_of(tmp_path, synthetic1.Start(groups=4, idle_groups=(1, 2, 3), steps=10))
    table = assert_complete(run)
    work_s = 10 * STEP_S + 0.1 + 0.05 + 1.6 + 2.7 + 0.2
    assert table["steps"].tolist() == pytest.approx([10 * STEP_S, 0, 0, 0])
    assert table["idle"].tolist() == pytest.approx([0, work_s, work_s, work_s], abs=1e-6)
    assert table["load"].tolist() == pytest.approx([19.5] * 4)
    assert table["finish"].tolist() == pytest.approx([0.1] * 4)
    found = run_factors(run)
    total = 4 * (0.5 + 19.5 + work_s + 0.1)
    assert found.total_gpu_s == pytest.approx(total)
    assert found.idle_factor == pytest.approx(1 - 3 * work_s / total)
    assert found.load_factor == pytest.approx(1 - 80 / (total - 3 * work_s))
    computing_s = 10 * sum(synthetic1.ONE_GPU_PARTS_S[part] for part in synthetic1.COMPUTING)
    assert found.efficiency == pytest.approx(computing_s / total)
    assert sum(loss.gpu_s for loss in found.losses) == pytest.approx(total - computing_s)


def test_clocks_that_differ_change_nothing(tmp_path):
    options = {"groups": 2, "group_size": 2, "items": 2, "steps": 6, "layout": "cfg2 x ulysses1"}
    same, = runs_of(tmp_path / "same", synthetic1.Start(**options))
    apart, = runs_of(tmp_path / "apart", synthetic1.Start(clocks_s={1: 0.35, 2: -0.2, 3: 1.5}, drift={3: 1e-5}, **options))
    one, other = assert_complete(same), assert_complete(apart)
    for name in ("start_up", "load", "steps", "decode", "between_steps"):
        assert other[name].tolist() == pytest.approx(one[name].tolist(), abs=2.0 if name == "start_up" else 0.01), name
    assert run_factors(apart).steps.parallel_efficiency == pytest.approx(run_factors(same).steps.parallel_efficiency, rel=1e-3)


def test_a_joined_team_is_counted_for_each_of_its_ranks(tmp_path):
    join = synthetic1.Join(leader=0, groups=(0, 1, 2, 3), item=0, step=4)
    run, = runs_of(tmp_path, synthetic1.Start(groups=4, idle_groups=(1, 2, 3), steps=20, joins=(join,)))
    table = assert_complete(run)
    team_s = 16 * (sum(synthetic1.ONE_GPU_PARTS_S[part] for part in synthetic1.COMPUTING) / 4 + 0.02 + 0.01)
    assert table["steps"].tolist() == pytest.approx([4 * STEP_S + team_s, team_s, team_s, team_s])
    assert table["join"].tolist() == pytest.approx([0.4] * 4)
    assert {len(series.ranks) for series in step_series(run)} == {1, 4}


def test_a_killed_start_ends_with_its_last_row(tmp_path):
    run, = runs_of(tmp_path, synthetic1.Start(group_size=2, layout="cfg2 x ulysses1", steps=10, killed_after=(0, 7)))
    table = assert_complete(run)
    assert table["steps"].tolist() == pytest.approx([7 * STEP_S] * 2)


def test_gaps_between_steps_and_phases_have_names(tmp_path):
    run, = runs_of(tmp_path, synthetic1.Start(items=2, steps=5, between_steps_s=0.2, between_phases_s=0.3))
    table = assert_complete(run)
    assert table.loc[0, "between_steps"] == pytest.approx(2 * 4 * 0.2)
    assert table.loc[0, "between_phases"] == pytest.approx(2 * 5 * 0.3)
    assert table.loc[0, "between_items"] == pytest.approx(2 * 0.3)


def test_a_campaign_accounts_for_all_rank_hours(tmp_path):
    starts = [synthetic1.Start(name=f"20260101T00{minute}000Z-0000000{minute}", started=f"2026-01-01T00:{minute}0:00.000000Z", group_size=2,
                               layout="cfg2 x ulysses1", steps=6, ids=(f"row{minute}",), seed=minute) for minute in (1, 2, 3)]
    runs = runs_of(tmp_path, *starts)
    campaign, = find_campaigns(runs)
    assert len(campaign.runs) == 3
    table = campaign_account(campaign.runs)
    assert len(table) == 6
    assert table.to_numpy().sum() == pytest.approx(3600 * campaign.rank_hours, rel=1e-9)
    assert table["steps"].sum() == pytest.approx(3 * 2 * 6 * STEP_S)
    found = campaign_factors([run_factors(run) for run in campaign.runs])
    assert found.total_gpu_s == pytest.approx(3600 * campaign.rank_hours, rel=1e-9)
    assert found.load_gpu_s == pytest.approx(6 * 20.0)
    assert found.steps.steps == 3 * 5
    assert sum(loss.gpu_s for loss in found.losses) == pytest.approx(found.lost_gpu_s, rel=1e-9)


def test_the_program_counts_as_the_page_does():
    """The account that wan_batch wrote at the end of a real run, and the one of the trace's phases and steps."""
    run, = gather_runs(read_traces([PROJECT / "tests" / "data" / "traces" / "format2.h5"]).groups)
    here = account(run)
    here["other"] = here.pop("between_items") + here.pop("unnamed")
    told = run.groups[0].account.pivot(index="world_rank", columns="name", values="wall_s")
    assert set(told.columns) >= set(here.columns)
    for name in told:
        wanted = here[name].to_numpy() if name in here else 0.0
        # The trace ends a few milliseconds after the moment at which the program closes its account.
        assert told[name].to_numpy() == pytest.approx(wanted, abs=0.02 if name == "other" else 1e-6), name
    work_s = here[["text", "image", "encode", "steps", "decode"]].to_numpy().sum()
    assert run.figure("idle_share") == pytest.approx(1 - work_s / told.to_numpy().sum(), abs=1e-6)
    assert run.figure("items_made") == 1
    assert run.figure("items_per_rank_hour") == pytest.approx(3600 / told.to_numpy().sum(), rel=1e-6)
    assert run.notes["kind"].tolist() == ["load"]


def test_the_page_shows_the_programs_notes_and_a_timeline(tmp_path):
    page, numbers = tmp_path / "r.html", tmp_path / "r.json"
    trace = PROJECT / "tests" / "data" / "traces" / "format2.h5"
    assert main(["report", str(trace), "-o", str(page), "--json", str(numbers)]) == 0
    assert "start and loading take" in page.read_text(encoding="utf-8")
    stored = json.loads(numbers.read_text(encoding="utf-8"))
    (name,) = {key.split("/")[1] for key in stored["values"] if key.startswith("notes/")}
    with h5py.File(trace) as file:
        assert stored["values"][f"notes/{name}/0/gain_percent"] == pytest.approx(100 * file["notes/gain"][0])
        assert stored["values"][f"hour/{name}/idle_percent"] == pytest.approx(100 * file.attrs["idle_share"])
    assert "chart/timeline" in stored["charts"]


def test_the_timeline_shows_where_a_group_is_idle(tmp_path):
    run, = runs_of(tmp_path, synthetic1.Start(groups=2, idle_groups=(1,), steps=10))
    series = timeline_chart([run], "GPU").data
    busy, idle = (series[f"{run.name}/group {group}"] for group in (0, 1))
    assert busy["what"][:3] == ["start and load", "text and image", "denoise"]
    assert idle["what"] == ["start and load", "idle"]
    end_s = run.rank_spans["end_s"].max()
    assert idle["start_s"][1] == pytest.approx(20.0, abs=end_s / 600)  # start-up and load
    assert busy["end_s"][-1] == pytest.approx(end_s)


def test_old_traces_and_killed_runs_have_no_notes(tmp_path):
    run, = runs_of(tmp_path, synthetic1.Start(steps=6))
    assert notes_section([run], "GPU") == []
    assert gain_section([run], "GPU") == []
