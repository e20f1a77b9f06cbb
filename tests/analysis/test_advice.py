"""Advice on campaigns, held to campaigns that an independent simulation plays. 100 campaigns with WAN_NIGHTLY=1, a twentieth by default."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from played_campaigns import made_up, study_of, truth_of
from synthetic import scaled_parts
from synthetic1 import ONE_GPU_PARTS_S, Start
from wan_analysis.advice import Spread, Wishes, advise, outcome_of
from wan_analysis.advice_lines import sbatch_line
from wan_analysis.advise_command import advice_json, advice_of
from wan_analysis.answers import answers
from wan_analysis.campaign_facts import LayoutFacts, StartFacts, facts_of_start, find_facts
from wan_analysis.cli import main
from wan_analysis.figures import RunFigures
from wan_analysis.html_page import blocks_html
from wan_analysis.json_page import json_page
from wan_analysis.predicted_layouts import predicted_facts
from wan_analysis.run import gather_runs
from wan_analysis.sections_advice import advice_section
from wan_analysis.sections_causes import RunCauses
from wan_analysis.study import make_study
from wan_analysis.trace_file import read_traces

CAMPAIGNS = 100 if os.environ.get("WAN_NIGHTLY") else 5
LAYOUTS = [(gpus, size) for gpus in (1, 2, 4, 8) for size in (1, 2, 4, 8) if size <= gpus]
WITHIN = 1.02
SPREADS = {name: Spread.of([]) for name in ("ready_s", "interval_s", "work_w")}


def test_the_advised_layout_is_within_2_percent_of_the_best():
    """Soonest, cheapest, and cheapest by a deadline that the best plans meet in at least 39 of 40 plays."""
    random = np.random.default_rng(24)
    right, held, asked = {"soonest": 0, "cheapest": 0, "deadline": 0}, 0, 0
    for _ in range(CAMPAIGNS):
        machine, videos = made_up(random), int(np.exp(random.uniform(np.log(4), np.log(600))))
        facts = study_of(machine, LAYOUTS, 6, 3, random)
        plays = {one.name: truth_of(machine, gpus, size, videos, 20, random) for one, (gpus, size) in zip(facts, LAYOUTS, strict=True)}
        medians = {name: np.median(found, axis=0) for name, found in plays.items()}
        times = sorted(median[1] for median in medians.values())
        within_s = float(np.exp(random.uniform(np.log(1.03 * times[0]), np.log(times[-1]))))
        advice = advise(facts, Wishes(videos, within_s=within_s))
        best = {"soonest": times[0], "cheapest": min(median[2] for median in medians.values())}
        right["soonest"] += medians[advice.soonest.name][1] <= WITHIN * best["soonest"]
        right["cheapest"] += medians[advice.cheapest.name][2] <= WITHIN * best["cheapest"]
        safe = {name: np.quantile(found[:, 1], 0.975) <= within_s for name, found in plays.items()}
        costs = [medians[name][2] for name, is_safe in safe.items() if is_safe]
        if advice.by_deadline is None:
            right["deadline"] += not costs
        else:
            chosen = medians[advice.by_deadline.name]
            right["deadline"] += chosen[1] <= WITHIN * within_s and (not costs or chosen[2] <= WITHIN * min(costs))
        for outcome in advice.outcomes:
            found = plays[outcome.name]
            held += int(((outcome.total_s.low <= found[:, 1]) & (found[:, 1] <= outcome.total_s.high)).sum())
            asked += len(found)
    print("within 2 % of the best:", right, "of", CAMPAIGNS, "; intervals hold", held / asked)
    assert min(right.values()) >= 0.95 * CAMPAIGNS, right
    assert held / asked >= 0.91


def facts_of(joins=True, groups=4, **changes):
    """One made-up layout of 4 GPUs in groups of one, without noise."""
    start = StartFacts(**({"launch_s": 2.0, "ready_s": 20.0, "first_s": 12.0, "interval_s": 10.0, "item_noise": 0.0, "denoise_s": 8.0,
                           "finish_s": 1.0, "load_w": 100.0, "work_w": 500.0} | changes))
    options = ("--group-size", "1")
    return LayoutFacts(f"{groups} GPUs", groups, groups, 1, "cfg1 x ulysses1", joins, (start,) * 6, options, "NVIDIA H200")


def test_a_campaign_without_noise_is_the_sum_of_its_parts():
    """9 items on 4 groups: three rounds; the last item goes on with a team of four, which computes three times as fast."""
    alone = outcome_of(facts_of(joins=False), 9, {1: 1.0}, SPREADS)
    assert alone.total_s.median == pytest.approx(2 + 20 + 12 + 10 + 10 + 1, rel=0.01)
    assert alone.first_s.median == pytest.approx(2 + 20 + 12, rel=0.01)
    assert alone.gpu_hours.median == pytest.approx(4 * 55 / 3600, rel=0.01)
    assert alone.wh.median == pytest.approx(4 * (22 * 100 + 33 * 500) / 3600, rel=0.01)
    joined = outcome_of(facts_of(), 9, {1: 1.0, 2: 0.6, 4: 1.0 / 3.0}, SPREADS)
    assert joined.total_s.median == pytest.approx(55 - 8 * 2 / 3, rel=0.01)
    long = outcome_of(facts_of(joins=False), 4000, {1: 1.0}, SPREADS)
    assert long.total_s.median == pytest.approx(2 + 20 + 12 + 999 * 10 + 1, rel=0.002)


def test_jobs_side_by_side_share_the_videos():
    four = facts_of(joins=False)
    outcomes = {one.facts.copies: one for one in advise([four], Wishes(48, most_gpus=12)).outcomes}
    assert set(outcomes) == {1, 2, 3}
    assert outcomes[3].total_s.median == pytest.approx(2 + 20 + 12 + 30 + 1, rel=0.01)
    assert outcomes[3].gpu_hours.median == pytest.approx(3 * 4 * 65 / 3600, rel=0.01)
    assert sbatch_line(outcomes[3]) == ("sbatch --array=0-2 --ntasks-per-node=4 --gpus-per-node=4 --time=00:10:00 slurm/i2v_array.sh "
                                        "--group-size 1 --ckpt-dir CKPT --output-dir OUT MANIFEST")


def test_bounds_and_layouts_that_were_not_measured():
    slow, fast = facts_of(joins=False, groups=1), facts_of(joins=False, groups=8)
    assert advise([slow, fast], Wishes(8, within_s=100.0)).by_deadline.name == "8 GPUs"
    assert advise([slow, fast], Wishes(8, within_s=120.0)).by_deadline.name == "1 GPUs"
    impossible = advise([slow, fast], Wishes(8, within_s=10.0, gpu_hours=0.001))
    assert (impossible.soonest, impossible.by_deadline) == (None, None)
    slow = facts_of(joins=False, groups=8, first_s=18.0)
    doubtful = replace(fast, name="predicted", is_measured=False, doubt=2.0)
    assert advise([slow, doubtful], Wishes(8)).soonest.name == "8 GPUs"
    assert advise([slow, replace(doubtful, doubt=0.01)], Wishes(8)).soonest.name == "predicted"
    once = replace(doubtful, doubt=0.0, starts=fast.starts[:1])
    assert advise([slow, once], Wishes(8)).soonest.name == "8 GPUs"  # the other one has no interval


def test_the_front_holds_what_nothing_beats():
    layouts = [facts_of(joins=False, groups=groups) for groups in (1, 2, 4)]
    worse = replace(layouts[1], name="worse", starts=tuple(replace(start, interval_s=30.0) for start in layouts[1].starts))
    found = {one.name: one.is_on_front for one in advise([*layouts, worse], Wishes(16)).outcomes}
    assert found == {"1 GPUs": True, "2 GPUs": True, "4 GPUs": True, "worse": False}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Six starts of 1 and 2 GPUs, and of 2 groups of 1."""
    folder = tmp_path_factory.mktemp("study")
    for number in range(6):
        for place, (gpus, groups, layout) in enumerate(((1, 1, "cfg1 x ulysses1"), (2, 1, "cfg2 x ulysses1"), (1, 2, "cfg1 x ulysses1"))):
            factor = (1 + 0.01 * np.random.default_rng(3 * number + place).standard_normal()) / gpus
            Start(name=f"20260101T0000{3 * number + place:02}Z-{place:08x}", started=f"2026-01-01T00:{number:02}:{place:02}.000000Z",
                  group_size=gpus, groups=groups, items=3 if groups == 1 else 2, steps=3, layout=layout,
                  parts_s={part: seconds * factor for part, seconds in ONE_GPU_PARTS_S.items()},
                  ).write(folder / f"case_{place}" / f"s{number}")
    return folder


def test_the_command_and_its_json(study, tmp_path, capsys):
    found = tmp_path / "a.json"
    assert main(["advise", str(study), "--videos", "500", "--within", "2h", "--gpus", "4", "--json", str(found)]) == 0
    said = capsys.readouterr().out
    stored = json.loads(found.read_text())
    measured = {one["name"]: one for one in stored["layouts"] if one["is_measured"] and one["jobs"] == 1}
    assert set(measured) == {"1 GPU, cfg1 x ulysses1", "2 GPUs, cfg2 x ulysses1", "2 GPUs, 2 groups of cfg1 x ulysses1"}
    step_s, phases_s = sum(ONE_GPU_PARTS_S.values()), 4.65
    item_s = 3 * (step_s + 0.01) + phases_s
    one = measured["1 GPU, cfg1 x ulysses1"]
    assert one["total_h"]["median"] == pytest.approx((20.0 + 500 * item_s + 0.1) / 3600, rel=0.01)
    assert one["gpu_hours"]["low"] < one["gpu_hours"]["median"] < one["gpu_hours"]["high"]
    assert one["wh"]["median"] == pytest.approx(600 * one["total_h"]["median"], rel=0.01)
    assert one["first_s"]["median"] == pytest.approx(20.0 + item_s, rel=0.02)
    assert {"soonest", "cheapest", "deadline", "videos", "within_h"} <= set(stored)
    assert [line.split(":")[0] for line in said.splitlines()[-3:]] == ["Soonest", "Cheapest", "Cheapest by the deadline"]
    assert all(f"Type: {one['sbatch']}" in said for one in stored["layouts"] if one["name"] in (stored["soonest"], stored["cheapest"]))


def test_the_page_holds_the_same_advice(study):
    runs = make_study(read_traces([study]))
    advice = advice_of(runs, Wishes(50))
    blocks = advice_section(advice, "GPU")
    stored, shown = json.loads(json_page("t", blocks)), blocks_html(blocks)
    values = {key: float(value) for value, key in re.findall(r'<data value="([^"]+)" data-key="([^"]+)">', shown)}
    assert values == stored["values"]
    assert stored["advice"][0].startswith("Soonest: ")
    layouts = {one["name"]: one for one in json.loads(advice_json(advice, "GPU"))["layouts"]}
    for name, one in layouts.items():
        assert values[f"advice/{name}/gpu_hours"] == one["gpu_hours"]["median"]
        assert values[f"advice/{name}/total_h"] == one["total_h"]["median"]


def test_what_cannot_be_advised(tmp_path, capsys):
    Start(program="wan_bench").write(tmp_path / "bench")
    assert main(["advise", str(tmp_path / "bench"), "--videos", "5"]) == 1
    assert "advice needs whole videos" in capsys.readouterr().err
    for wrong in (["--videos", "0"], ["--videos", "5", "--within", "soon"], ["--videos", "5", "--gpu-hours", "-1"]):
        with pytest.raises(SystemExit) as left:
            main(["advise", str(tmp_path / "bench"), *wrong])
        assert left.value.code == 2


def test_the_walk_in_the_readme_quotes_the_page():
    """The figures that analysis/README.md walks through are those of the trace in the checkout."""
    analysis = Path(__file__).resolve().parents[2] / "analysis"
    told = re.sub(r"\s+", " ", (analysis / "README.md").read_text(encoding="utf-8"))
    study = make_study(read_traces([analysis / "results" / "wan_batch_4xh200.h5"]))
    advice = advice_of(study, Wishes(500))
    causes = [RunCauses(one) for one in study.shown]
    (said,) = json.loads(json_page("t", answers(study, causes)))["answers"][1:2]
    assert f'"{said}"' in told
    soonest = json.loads(advice_json(advice, "GPU"))["sentences"][0]
    assert soonest.split(". Type: ")[0] in told
    predicted = next(one for one in advice.outcomes if not one.facts.is_measured)
    assert f"{predicted.total_s.median / 3600:.2f} h and {predicted.gpu_hours.median:.2f} GPU-hours" in told
    (late,) = causes[0].stragglers
    assert f"rank {late.rank} takes {100 * late.excess:.2f} % longer" in told
    assert f"{late.cost_gpu_s:.3f} GPU-seconds" in told
    shares = {loss.name: 100 * loss.share for loss in causes[0].factors.losses}
    assert f"{shares['start-up and load']:.1f} % start-up and load, {shares['other than steps']:.1f} % other phases" in told


def test_a_layout_that_was_not_measured_is_predicted_from_the_others(tmp_path):
    """8 GPUs from 1, 2 and 4: an item every so many seconds as in a start that was not given. None has more groups than a start had."""
    def written(gpus, number):
        cfg = min(gpus, 2)
        of_layout = scaled_parts(gpus, cfg=cfg, ulysses=gpus // cfg, fsdp=False)
        parts_s = {part: seconds * (1 + 0.002 * number) for part, seconds in of_layout.items()}
        start = Start(name=f"20260101T0000{number:02}Z-{gpus:08x}", started=f"2026-01-01T00:{number:02}:0{gpus}.000000Z", group_size=gpus,
                      items=3, steps=4, parts_s=parts_s, layout=f"cfg{cfg} x ulysses{gpus // cfg}", samples_every_s=0.0)
        return start.write(tmp_path / f"gpus_{gpus}" / f"start_{number}").parent

    known = make_study(read_traces([written(gpus, number) for gpus in (1, 2, 4) for number in (1, 2)]))
    found = predicted_facts(known.step_tables[0], find_facts(known.cases)[0], 8)
    assert all(one.groups == 1 and not one.is_measured for one in found)
    (eight,) = [one for one in found if one.layout == "cfg2 x ulysses4"]
    real = find_facts(make_study(read_traces([written(8, 1)])).cases)[0][0]
    assert eight.median("interval_s") == pytest.approx(real.median("interval_s"), rel=0.03)
    assert eight.options == ("--group-size", "8", "--cfg-size", "2", "--ulysses-size", "4")
    assert 0.0 < eight.doubt < 0.1
    assert predicted_facts(known.step_tables[0], find_facts(known.cases)[0], 4)[-1].gpus <= 4


@pytest.mark.parametrize("options", [{"items": 4, "sizes": ((832, 480, 81), (1280, 720, 81))},
                                     {"items": 5, "sizes": ((832, 480, 81), (1280, 720, 81))},
                                     {"items": 3, "one_pass_from": 7}, {"items": 3, "one_pass_from": 4}])
def test_items_of_several_sizes_and_steps_without_guidance_count_as_they_were_made(tmp_path, options):
    """The first item of a group is no interval, and most steps are of one kind: neither may stand for all items."""
    Start(steps=10, **options).write(tmp_path)
    run = gather_runs(read_traces([tmp_path]).groups)[0]
    facts = facts_of_start(RunFigures(run))
    phases = run.phases[run.phases["item"] >= 0]
    assert facts.denoise_s == pytest.approx(phases.loc[phases["phase"] == "denoise", "wall_s"].sum() / options["items"])
    assert facts.interval_s == pytest.approx(phases["wall_s"].sum() / options["items"])


def test_the_time_of_an_item_that_failed_is_not_that_of_the_next_one(tmp_path):
    Start(steps=10, items=4).write(tmp_path)
    run = gather_runs(read_traces([tmp_path]).groups)[0]
    whole = facts_of_start(RunFigures(run)).interval_s
    run.items.loc[1, ["done", "outcome"]] = [False, "failed"]
    assert facts_of_start(RunFigures(run)).interval_s == pytest.approx(whole)


def test_layouts_are_advised_for_equal_videos_only(tmp_path, capsys):
    """A start with fewer steps would be the soonest and the cheapest one, in whatever layout it ran."""
    for number in range(2):
        Start(name=f"a{number}", items=3).write(tmp_path / f"one_{number}")
        Start(name=f"b{number}", items=3, group_size=2, layout="cfg2 x ulysses1").write(tmp_path / f"two_{number}")
        Start(name=f"c{number}", items=3, steps=4).write(tmp_path / f"draft_{number}")
    folders = list(map(str, sorted(tmp_path.iterdir())))
    assert main(["advise", *folders, "--videos", "500", "--json", str(tmp_path / "advice.json")]) == 0
    found = json.loads((tmp_path / "advice.json").read_text())
    assert {layout["gpus"] for layout in found["layouts"] if layout["is_measured"]} == {1, 2}
    assert found["cheapest"].startswith("1 GPU, cfg1 x ulysses1, work ")
    assert found["layouts"][0]["gpu_hours"]["median"] > 25.0
    reason = "did other work: kinds of items 3 of 832×480, 81 frames, 4 steps, not 3 of 832×480, 81 frames, 40 steps"
    assert len(found["left_out"]) == 1
    assert found["left_out"][0].endswith(reason)
    assert reason in capsys.readouterr().err
    assert main(["report", *folders, "-o", str(tmp_path / "page.html"), "--json", str(tmp_path / "page.json")]) == 0
    page = json.loads((tmp_path / "page.json").read_text())
    assert "; 1 more case is in the tables." in page["answers"][0]
    assert page["answers"][0].count("17.12 videos an hour") == 2
    assert reason in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_first_sentence_of_single_starts_is_about_equal_videos(tmp_path):
    Start(name="a", items=3, groups=2).write(tmp_path / "groups")
    Start(name="b", items=3, group_size=2, layout="cfg2 x ulysses1").write(tmp_path / "whole")
    Start(name="c", items=2, group_size=2, layout="cfg1 x ulysses2", steps=4).write(tmp_path / "draft")
    study = make_study(read_traces(sorted(tmp_path.iterdir())))
    said = json.loads(json_page("", answers(study, [RunCauses(one) for one in study.shown])))["answers"][0]
    assert said.startswith("On 2 GPUs, one group (cfg2 x ulysses1) makes an item every ")
    assert "; 2 groups (cfg1 x ulysses1) make each an item every " in said
    assert "cfg1 x ulysses2" not in said


def test_a_start_whose_study_was_killed_tells_nothing_of_its_launch(tmp_path):
    """Its record has the end of its trace as the seconds of the whole command: a launch of 0 s would halve the median of two."""
    for number in (1, 2):
        Start(name=f"a{number}", steps=10).write(tmp_path / "gpus_1" / f"start_{number}")
    study = make_study(read_traces([tmp_path / "gpus_1" / "start_1", tmp_path / "gpus_1" / "start_2"]))
    end_s = float(study.runs[0].rank_spans["end_s"].max())
    walls = {"gpus_1/start_1": end_s, "gpus_1/start_2": end_s + 8.0}
    found = [facts_of_start(one, walls).launch_s for one in study.figures]
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(8.0)
