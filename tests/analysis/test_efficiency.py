"""Efficiency of runs and steps on traces whose truth is known: idle ranks, teams, other work, ways of computing, several starts."""

import math

import pytest
from synthetic1 import Join, Start
from wan_analysis.efficiency import ANY_FRAMES, SAME_KINDS
from wan_analysis.operations import step_flop
from wan_analysis.study import make_study
from wan_analysis.trace_file import read_traces

IDS = tuple(f"v{number}" for number in range(8))
#: Seconds of an item's phases beside its steps.
PHASES_S = {"text": 0.5, "denoise": 0.0, "decode": 3.5}
LAYOUTS = {1: "cfg1 x ulysses1", 2: "cfg2 x ulysses1", 4: "cfg2 x ulysses2", 8: "cfg2 x ulysses4"}


def start(number: int, **options) -> Start:
    """A start of 4 steps an item without noise. A step takes 4.9 s of computing, divided over the ranks of a group, and 0.1 s."""
    size = options.get("group_size", 1)
    parts = {"attention": 3.0 / size, "linear": 1.9 / size, "elementwise": 0.0, "all_to_all": 0.0, "weight_gather": 0.0, "host_copy": 0.0,
             "wait": 0.0}
    values = {"name": f"2026010{number}T000000Z-00000001", "parts_s": parts, "gap_s": 0.1, "steps": 4, "phases_s": PHASES_S, "ids": IDS,
              "layout": LAYOUTS[size], "samples_every_s": 0.0}
    return Start(**(values | options))


def study_of(tmp_path, starts, weak=None):
    for place, one in enumerate(starts):
        one.write(tmp_path / str(place))
    return make_study(read_traces([tmp_path / str(place) for place in range(len(starts))]), weak)


def said(study) -> str:
    return "\n".join(str(problem) for problem in study.problems)


def test_three_idle_ranks_of_four_count(tmp_path):  # A3
    base, row = study_of(tmp_path, [start(1), start(2, groups=4, idle_groups=(1, 2, 3))]).scaling
    assert (base.figures.gpus, row.figures.gpus) == (1, 4)
    assert (row.speedup, row.efficiency) == (pytest.approx(1.0), pytest.approx(0.25))
    assert row.seconds == pytest.approx(4 * 5.0 + 4.0)
    assert row.seconds_with_load == pytest.approx(20.0 + 24.0)  # start-up and load take 20 s
    assert row.efficiency_with_load == pytest.approx(0.25)


def test_steps_of_a_joined_team_belong_to_the_layout_of_the_team(tmp_path):  # A4
    joined = start(2, groups=4, idle_groups=(1, 2, 3), joins=(Join(0, (0, 1, 2, 3), 0, 2),), join_s=0.4)
    study = study_of(tmp_path, [start(1), joined])
    rows = {row.name: row for row in study.steps if row.run.name == joined.name}
    assert {name: (row.gpus, row.teams, row.steps) for name, row in rows.items()} == {
        "cfg1 x ulysses1": (1, 1, 1), "cfg2 x ulysses2": (4, 1, 1)}  # without the first step after the start and after the join
    assert rows["cfg2 x ulysses2"].step_s == pytest.approx(4.9 / 4 + 0.1)
    assert rows["cfg2 x ulysses2"].efficiency == pytest.approx(5.0 / (4.9 + 0.4))
    seconds = 2 * 5.0 + 0.4 + 2 * (4.9 / 4 + 0.1) + 4.0
    assert study.scaling[1].efficiency == pytest.approx(24.0 / seconds / 4)
    assert study.scaling[1].figures.work.count == 1


def test_guidance_1_is_other_work_and_is_named(tmp_path):  # A5
    one_pass = start(2, group_size=2, layout="cfg1 x ulysses2", stretch={"passes": 1, "guidance": "1:1"})
    study = study_of(tmp_path, [start(1), one_pass, start(3, group_size=4)])
    assert [row.figures.gpus for row in study.scaling] == [1, 4]
    assert f"run {one_pass.name}: did other work: passes of a step: 1 (guidance 1:1); the study: 2 (guidance 3.5:3.5)" in said(study)
    assert [[row.gpus for row in table.rows] for table in study.step_tables] == [[1, 4], [2]]


@pytest.mark.parametrize(("options", "what"), [
    ({"ids": ("other",)}, "manifest: 1 items (other); the study: 1 items (v0)"),
    ({"stretch": {"precision": "fp32"}}, "precision: fp32; the study: bf16"),
    ({"stretch": {"solver": "euler"}}, "solver: euler; the study: unipc"),
    ({"sizes": ((1280, 720, 81),)}, "kinds of items: 1 of 1280×720, 81 frames, 4 steps"),
    ({"attributes": {"gpu_model": "NVIDIA H100"}}, "GPU model: NVIDIA H100; the study: NVIDIA H200"),
    ({"attributes": {"task": "t2v-A14B"}}, "model: t2v-A14B; the study: i2v-A14B")])
def test_other_work_is_left_out_and_named_with_its_values(tmp_path, options, what):
    study = study_of(tmp_path, [start(1), start(2, group_size=2), start(3, group_size=4, **options)])
    assert [row.figures.gpus for row in study.scaling] == [1, 2]
    assert what in said(study)
    assert "left out of the scaling" in said(study)


@pytest.mark.parametrize(("stretch", "name"), [
    ({"placement": "sharded over 2"}, "cfg2 x ulysses1, sharded over 2"), ({"placement": "offloaded"}, "cfg2 x ulysses1, offloaded"),
    ({"attention": "reference"}, "cfg2 x ulysses1, attention reference")])
def test_other_ways_of_computing_are_series_of_their_own(tmp_path, stretch, name):  # A6
    study = study_of(tmp_path, [start(1), start(2, group_size=2), start(3, group_size=2, stretch=stretch)])
    plain = "cfg2 x ulysses1, attention cudnn" if "attention" in stretch else "cfg2 x ulysses1"
    assert [row.name for row in study.steps][1:] == [plain, name]
    assert len(study.scaling) == 3
    assert len({row.series for row in study.scaling[1:]}) == 2


def test_eight_gpus_in_four_divisions_are_four_series_with_labels(tmp_path):  # A16
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from wan_analysis.charts import scaling_chart
    from wan_analysis.report import scaling_points

    divisions = {1: 8, 2: 4, 4: 2, 8: 1}
    study = study_of(tmp_path, [start(place, groups=groups, group_size=size, items=8 // groups)
                                for place, (groups, size) in enumerate(divisions.items(), 1)])
    assert {row.series for row in study.scaling} == {
        "one group, cfg2", "groups of cfg2 x ulysses2", "groups of cfg2 x ulysses1", "groups of cfg1 x ulysses1"}
    chart = scaling_chart("scaling", scaling_points(study.scaling), "GPU", "the same items")
    canvas = FigureCanvasAgg(chart.figure)
    canvas.draw()
    left = chart.figure.axes[0]
    assert {text.get_text() for text in left.texts} == {row.figures.label for row in study.scaling} == {"8a", "8b", "8c", "8d"}
    heights = [text.get_window_extent(canvas.get_renderer()) for text in left.texts]
    for place, box in enumerate(heights):
        assert not any(box.overlaps(other) for other in heights[place + 1:])
    assert [len(line.get_xdata()) for line in left.lines if line.get_label() != "ideal" and line.get_marker() in "os^D"] == [1] * 4


def test_a_batch_in_three_starts_is_one_row(tmp_path):  # A10
    whole = start(1, items=6)
    whole.write(tmp_path / "whole")
    for number in range(3):
        start(2 + number, items=2, ids=IDS[2 * number:], started=f"2026-01-0{2 + number}T00:00:00.000000Z").write(tmp_path / "parts")
    study = make_study(read_traces([tmp_path / "whole", tmp_path / "parts"]))
    base, row = study.scaling
    assert (row.figures.name, row.figures.gpus, row.figures.work.count) == ("parts (3 starts)", 1, 6)
    assert base.seconds == row.seconds == pytest.approx(6 * 24.0)
    assert row.efficiency == pytest.approx(1.0)
    assert row.efficiency_with_load == pytest.approx((20 + 6 * 24) / (3 * 20 + 6 * 24))
    assert [round(one.items_per_hour) for one in study.throughput] == [150, 150]


def test_a_start_that_was_killed_before_its_first_step_costs_its_load(tmp_path):
    from wan_analysis.sections_causes import RunCauses

    start(1, items=2).write(tmp_path / "out")
    start(2, killed_after=(0, 0), started="2026-01-02T00:00:00.000000Z").write(tmp_path / "out")
    study = make_study(read_traces([tmp_path / "out"]))
    (unit,) = study.units
    (row,) = study.scaling
    assert (unit.name, unit.work.count, row.seconds) == ("out (2 starts)", 2, pytest.approx(2 * 24.0 + 0.5))  # it had begun its item
    causes = RunCauses(unit)
    assert causes.gpu_s["load"] == pytest.approx(2 * 19.5)
    assert causes.factors.load_gpu_s == pytest.approx(2 * 20.0)


def test_weak_scaling_counts_items(tmp_path):
    runs = [start(1, items=1), start(2, items=1, groups=2), start(3, items=1, groups=4, idle_groups=(3,))]
    study = study_of(tmp_path, runs, SAME_KINDS)
    assert [row.amount for row in study.weak.rows] == [1, 2, 3]
    assert [row.speedup for row in study.weak.rows] == pytest.approx([1, 2, 3])
    assert [row.efficiency for row in study.weak.rows] == pytest.approx([1, 1, 0.75])
    assert len(study.scaling) == 1  # they are not the same items


def test_weak_scaling_counts_operations_of_frames(tmp_path):
    flop = {frames: 4 * step_flop(832, 480, frames, 2) for frames in (81, 161)}
    share = flop[161] / flop[81]
    assert share > 2.2  # attention grows with the square
    runs = [start(1), start(2, group_size=2, sizes=((832, 480, 161),))]
    study = study_of(tmp_path, runs, ANY_FRAMES)
    base, row = study.weak.rows
    assert (base.amount, row.amount) == (flop[81], flop[161])
    seconds = 4 * (4.9 / 2 * 161 / 81 + 0.1) + 4.0
    assert row.efficiency == pytest.approx(share * 24.0 / seconds / 2)


def test_throughput_counts_all_groups_and_says_what_those_without_a_trace_would_add(tmp_path):
    two = start(1, groups=2, group_size=2, items=4)
    two.write(tmp_path / "two")
    (tmp_path / "two" / "trace" / f"{two.name}-g01.h5").unlink()
    start(2, groups=2, group_size=2, items=4).write(tmp_path / "both")
    study = make_study(read_traces([tmp_path / "two", tmp_path / "both"]))
    item_s = 4 * (4.9 / 2 + 0.1) + 4.0
    rows = {row.figures.name: row for row in study.throughput}
    half, whole = rows[two.name], rows[start(2).name]
    assert half.figures.item_interval_s == whole.figures.item_interval_s == pytest.approx(item_s)
    assert (half.items_per_hour, half.all_groups_per_hour) == pytest.approx((3600 / item_s, 2 * 3600 / item_s))
    assert whole.items_per_hour == whole.all_groups_per_hour == pytest.approx(2 * 3600 / item_s)
    assert half.gpu_s_per_item == whole.gpu_s_per_item == pytest.approx(2 * item_s)
    assert len(study.scaling) == 1


def test_efficiency_by_wall_times_is_the_product_of_the_factors(tmp_path):
    from wan_analysis.factors import computation_scaling, factors

    noisy = {"noise": 0.01, "between_steps_s": 0.01}
    study = study_of(tmp_path, [start(1, **noisy), start(2, group_size=2, **noisy), start(3, group_size=4, seed=3, **noisy)])
    base = factors(study.steps[0].rank_steps)
    for row in study.steps:
        here = factors(row.rank_steps)
        product = computation_scaling(base, here) * here.parallel_efficiency / base.parallel_efficiency
        assert row.efficiency == pytest.approx(product, rel=1e-9)


def test_warm_up_steps_are_not_compared_with_measured_ones(tmp_path):
    """A run of one step has nothing but its warm-up, which takes longer."""
    Start(name="a", steps=10, items=2, warm_up_s=3.0).write(tmp_path / "one")
    Start(name="b", steps=1, group_size=2, layout="cfg2 x ulysses1", warm_up_s=3.0).write(tmp_path / "two")
    study = make_study(read_traces([tmp_path / "one", tmp_path / "two"]))
    assert [row.gpus for row in study.steps] == [1]
    assert any("run b: made warm-up steps only as cfg2 x ulysses1" in str(problem) for problem in study.problems)
    alone = make_study(read_traces([tmp_path / "two"]))
    assert [row.step_s for row in alone.steps] == [pytest.approx(8.14)]
    assert any("they take longer than later ones" in str(problem) for problem in alone.problems)


def test_an_item_every_so_many_seconds_agrees_with_the_rate_for_items_of_two_sizes(tmp_path):
    """Each group makes a small item, then a large one. The large ones alone have an item before them."""
    Start(steps=10, items=2, groups=2, sizes=((832, 480, 81), (1280, 720, 81))).write(tmp_path)
    (row,) = make_study(read_traces([tmp_path])).throughput
    assert row.figures.item_interval_s / 2 == pytest.approx(3600.0 / row.items_per_hour)
    phases = row.figures.run.phases
    true_s = phases[phases["phase"] == "denoise"].groupby(["group", "item"])["wall_s"].first().mean()
    assert row.figures.phase_seconds["denoise"] == pytest.approx(true_s)


def test_a_run_without_a_finished_item_has_no_phases_of_items(tmp_path):
    Start(steps=10, items=2, killed_after=(0, 5)).write(tmp_path)
    (figures,) = make_study(read_traces([tmp_path])).figures
    assert figures.phase_seconds == {}
    assert math.isnan(figures.item_interval_s)
