"""The model of a step: its intervals against machines whose truth is known, what it refuses, and the layouts that wan_batch takes.

200 machines of each noise with WAN_NIGHTLY=1, a twentieth by default.
"""

import json
import math
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import synthetic
from machine import Machine, a_constant_per_kernel, drawn
from wan_analysis.cli import main
from wan_analysis.cost_model import Prediction, Predictor, Refusal, starts_of, unknown_parts
from wan_analysis.cost_parts import Measurements, Start, estimate
from wan_analysis.layouts import Layout, divisions, group_layouts
from wan_analysis.operations import heads_of
from wan_analysis.series import Layout as SeriesLayout
from wan_analysis.study import make_study
from wan_analysis.trace_file import read_traces

NIGHTLY = bool(os.environ.get("WAN_NIGHTLY"))
DRAWS = 200 if NIGHTLY else 10
PROGRAM = Path(os.environ.get("WAN_BATCH", Path(__file__).resolve().parents[2] / "build" / "bin" / "wan_batch"))
ONE, CFG2, ULYSSES2, FOUR, EIGHT = Layout(1, 1), Layout(2, 1), Layout(1, 2), Layout(2, 2), Layout(2, 4)


def study_of(tmp_path, counts, **options):
    for gpus in counts:
        synthetic.scaled_run(gpus, items=1, steps=20, **options).write(tmp_path / str(gpus))
    return make_study(read_traces([tmp_path / str(gpus) for gpus in counts]))


def starts_on(machine, layouts, count=5):
    return [start for layout in layouts for start in machine.starts(layout, count)]


def slower(start, factor):
    return Start(start.layout, factor * start.step_s, {part: factor * seconds for part, seconds in start.parts_s.items()})


@pytest.mark.parametrize("noise", [0.005, 0.01])
def test_the_interval_holds_a_new_run_on_8(noise):
    """5 starts each of 1, 2 and 4 GPUs; in half of the draws the rates fall, in a way that is drawn too."""
    random = np.random.default_rng(24)
    held, widths, missed = 0, [], []
    for draw in range(DRAWS):
        machine = drawn(random, noise, falls=draw % 2 == 1)
        answer = Predictor(starts_on(machine, (ONE, CFG2, FOUR))).predict(EIGHT)
        new_s = machine.start(EIGHT).step_s
        held += answer.low_s <= new_s <= answer.high_s
        widths.append(answer.half_width)
        missed.append(answer.step_s / new_s - 1.0)
    print(f"noise {noise}: held {held} of {DRAWS}; half-width mean {np.mean(widths):.4f}, 95 % {np.quantile(widths, 0.95):.4f}, "
          f"greatest {max(widths):.4f}; error mean {np.mean(missed):+.4f}, deviation {np.std(missed):.4f}")
    assert held / DRAWS >= (0.91 if NIGHTLY else 0.9)
    assert np.quantile(widths, 0.95) <= 0.05
    assert abs(np.mean(missed)) <= 0.02


@pytest.mark.parametrize("asked", [Layout(1, 1), Layout(2, 1), Layout(1, 3), Layout(1, 4), Layout(1, 5), Layout(1, 8), Layout(2, 8)])
def test_other_layouts_are_held_too(asked):
    random = np.random.default_rng(7)
    held, draws = 0, 3 * DRAWS
    for draw in range(draws):
        machine = drawn(random, 0.005, falls=draw % 2 == 1)
        known = [layout for layout in (ONE, CFG2, ULYSSES2, FOUR, EIGHT) if layout != asked]
        answer = Predictor(starts_on(machine, known), node_gpus=16).predict(asked)
        held += answer.low_s <= machine.start(asked).step_s <= answer.high_s
    assert held / draws >= 0.91, held / draws


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize(("known", "asked"), [((ONE, CFG2, FOUR), EIGHT), ((ONE, CFG2, ULYSSES2, EIGHT), FOUR), ((ONE, CFG2, FOUR), FOUR),
                                              ((CFG2, FOUR, EIGHT), ONE)])
def test_noisy_starts_keep_the_level_and_no_interval_reaches_0(noise, known, asked):
    """Starts of CPU ranks on busy cores differ by tens of percent. 5 starts of each known layout."""
    random = np.random.default_rng(11)
    held, below, to_each_side, beyond_0, draws = 0, 0, 0, 0, (5 if NIGHTLY else 2) * DRAWS
    for draw in range(draws):
        machine = drawn(random, noise, falls=draw % 2 == 1)
        answer = Predictor(starts_on(machine, known)).predict(asked)
        assert 0.0 < answer.low_s < answer.step_s < answer.high_s
        new_s = machine.start(asked).step_s
        held += answer.low_s <= new_s <= answer.high_s
        below += new_s < answer.low_s
        to_each_side += abs(new_s / answer.step_s - 1.0) <= answer.spread
        beyond_0 += answer.spread >= 1.0
    print(f"noise {noise}, {len(known)} layouts, {asked.short}: held {held} of {draws}, {below} below; the same width to each side would "
          f"hold {to_each_side}, {beyond_0} of them reach 0")
    assert held / draws >= (0.92 if NIGHTLY else 0.85)
    assert below / draws <= (0.05 if NIGHTLY else 0.15)


def test_starts_that_differ_by_a_factor_have_an_interval_above_0():
    starts = [slower(start, factor) for layout in (ONE, CFG2, FOUR) for start, factor in
              zip(Machine(np.random.default_rng(1), 0.0).starts(layout, 2), (0.02, 1.98), strict=True)]
    for asked in (FOUR, EIGHT):
        answer = Predictor(starts).predict(asked)
        assert 0.0 < answer.low_s < answer.step_s / 10 and answer.step_s * 10 < answer.high_s < math.inf


def test_layouts_that_contradict_one_another_give_no_step_below_0():
    machine = Machine(np.random.default_rng(1), 0.0)
    starts = [slower(start, factor) for layout, factor in ((ONE, 0.01), (CFG2, 0.1), (ULYSSES2, 1.0), (FOUR, 0.01))
              for start in machine.starts(layout, 2)]
    refusal = Predictor(starts).predict(EIGHT)
    assert isinstance(refusal, Refusal) and refusal.missing == EIGHT
    assert "the step is not known, because by the measured layouts, which contradict one another" in refusal.text
    assert Predictor([*starts, *machine.starts(EIGHT)]).predict(EIGHT).starts == 5


def test_a_measured_layout_is_answered_by_its_own_starts():
    machine = Machine(np.random.default_rng(1), 0.005)
    starts = starts_on(machine, (ONE, CFG2, FOUR), 6)
    own = [start.step_s for start in starts if start.layout == FOUR]
    answer = Predictor(starts).predict(FOUR)
    assert (answer.step_s, answer.starts) == (pytest.approx(np.mean(own)), 6)
    held = [answer.low_s <= machine.start(FOUR).step_s <= answer.high_s for _ in range(200)]
    assert 0.85 <= np.mean(held) <= 1.0


def test_falling_rates_are_in_the_prediction():
    """Rates that fall by 4 % with a constant of each kernel: 8 GPUs need 12 % more than an eighth, not 0."""
    machine = Machine(np.random.default_rng(2), 0.001, {"attention": 0.04, "linear": 0.04}, a_constant_per_kernel)
    answer = Predictor(starts_on(machine, (ONE, CFG2, FOUR))).predict(EIGHT)
    eighth = machine.start(CFG2).step_s / 4
    assert answer.step_s > 1.07 * eighth
    assert answer.parts_s["linear"] > 1.06 * machine.start(CFG2).parts_s["linear"] / 4
    assert answer.parts_s["elementwise"] < 1.02 * machine.start(CFG2).parts_s["elementwise"] / 4
    assert sum(answer.parts_s.values()) == pytest.approx(answer.step_s)


def test_more_starts_and_less_noise_make_it_narrower():
    def width(noise, count):
        machine = Machine(np.random.default_rng(3), noise)
        return Predictor(starts_on(machine, (ONE, CFG2, FOUR), count)).predict(EIGHT).half_width

    widths = {(noise, count): width(noise, count) for noise in (0.005, 0.02) for count in (3, 12)}
    assert widths[0.005, 12] < widths[0.005, 3] < widths[0.02, 3]
    assert widths[0.02, 12] < widths[0.02, 3]


def test_it_says_how_many_starts_would_be_enough():
    """Noise of 2 %: the number that most predictors ask for makes the interval about as narrow as it is wanted."""
    machine = Machine(np.random.default_rng(3), 0.02)

    def predictors(count):
        return [Predictor(starts_on(machine, (ONE, CFG2, FOUR), count)) for _ in range(15)]

    few = predictors(4)
    needed = int(np.median([one.starts_needed(EIGHT) or 40 for one in few]))
    assert needed > 4 and np.mean([one.predict(EIGHT).half_width for one in few]) > 0.055
    assert np.mean([one.predict(EIGHT).half_width for one in predictors(needed)]) == pytest.approx(0.05, abs=0.006)
    assert Predictor(starts_on(Machine(np.random.default_rng(3), 0.04), (ONE, CFG2, FOUR), 3)).starts_needed(EIGHT) is None


@pytest.mark.parametrize(("known", "asked", "unknown", "missing"), [
    ((ONE, CFG2), EIGHT, ("all to all", "the rate of attention and linear with fewer heads and rows"), ULYSSES2),
    ((ONE, ULYSSES2), EIGHT, ("the exchange of the two passes",), CFG2),
    ((ONE,), EIGHT, ("all to all", "the exchange of the two passes", "the rate of attention and linear with fewer heads and rows"), FOUR),
    ((ONE, CFG2, FOUR), Layout(2, 4, sharded=True), ("the gather of weights",), Layout(2, 1, sharded=True)),
    ((ONE, CFG2, FOUR), Layout(2, 4, offloaded=True), ("the copies from the host",), Layout(1, 1, offloaded=True)),
    ((ONE, CFG2, FOUR), Layout(2, 8, spans=True), ("the network between nodes",), Layout(2, 8, spans=True)),
    ((FOUR,), EIGHT, ("the rate of attention and linear with fewer heads and rows",), ONE)])
def test_what_no_run_determines_is_refused_with_the_missing_run(known, asked, unknown, missing):
    machine = Machine(np.random.default_rng(4), 0.005)
    starts = starts_on(machine, known)
    refusal = Predictor(starts).predict(asked)
    assert isinstance(refusal, Refusal)
    assert (refusal.unknown, refusal.missing) == (unknown, missing)
    assert all(name in refusal.text for name in unknown)
    assert f"Run wan_bench on {missing.short}" in refusal.text
    settled = Predictor([*starts, *machine.starts(missing)]).predict(asked)
    assert isinstance(settled, Prediction)


def test_the_refusal_says_what_to_run():
    refusal = Predictor(starts_on(Machine(np.random.default_rng(4), 0.005), (ONE, CFG2))).predict(EIGHT)
    assert "all to all is not known, because no run had an exchange between the ranks of a pass" in refusal.text
    assert refusal.text.endswith("Run wan_bench on 2 GPUs as ulysses 2: "
                                 "mpirun -np 2 wan_bench --group-size 2 --cfg-size 1 --ulysses-size 2")


def test_a_group_that_spans_nodes_is_predicted_only_if_one_was_measured():
    machine = Machine(np.random.default_rng(5), 0.005)
    starts = starts_on(machine, (ONE, CFG2, FOUR, EIGHT))
    assert Predictor(starts).choice(64).layout == EIGHT
    wide = machine.starts(Layout(2, 8, spans=True))
    predictor = Predictor([*starts, *wide])
    assert isinstance(predictor.predict(Layout(2, 20, spans=True)), Prediction)
    assert unknown_parts(Layout(2, 20, spans=True), [ONE, FOUR]) == [("the network between nodes", "no run had a group that spans nodes")]


def test_leaving_a_layout_out():
    predictor = Predictor(starts_on(Machine(np.random.default_rng(6), 0.005), (ONE, CFG2, FOUR)))
    left = {entry.measured.layout: entry for entry in predictor.leave_one_out()}
    assert set(left) == {ONE, CFG2, FOUR}
    assert isinstance(left[FOUR].predicted, Refusal) and math.isnan(left[FOUR].error)
    assert all(abs(left[layout].error) < 0.02 and left[layout].is_held for layout in (ONE, CFG2))
    assert predictor.doubts() == []


def test_one_start_of_each_has_no_interval():
    predictor = Predictor(starts_on(Machine(np.random.default_rng(6), 0.005), (ONE, CFG2, FOUR), 1))
    answer = predictor.predict(EIGHT)
    assert answer.step_s > 0 and math.isnan(answer.low_s) and math.isnan(answer.high_s)
    assert "no layout was run twice" in predictor.doubts()[0]
    once = Machine(np.random.default_rng(6), 0.005)
    only_two = Predictor([*starts_on(once, (ONE, FOUR), 1), *once.starts(CFG2)])  # without those of 2 GPUs, none is repeated
    assert only_two.doubts() == []


def test_a_law_that_does_not_hold_is_doubted():
    machine = Machine(np.random.default_rng(8), 0.002)
    starts = starts_on(machine, (ONE, CFG2, FOUR))
    slow = [slower(start, 1.5) if start.layout == FOUR else start for start in starts]
    assert "do not trust" in " ".join(Predictor(slow).doubts())
    eight = [slower(start, 1.1) for start in machine.starts(EIGHT)]
    assert any("without the runs of 8 GPUs" in doubt for doubt in Predictor([*starts, *eight]).doubts())


@pytest.mark.parametrize(("seen", "left_out"), [((1, 2, 4), 8), ((1, 2, 8), 4), ((2, 4, 8), 1)])
def test_predicts_a_count_of_traces_that_was_left_out_within_3_percent(tmp_path, seen, left_out):
    predictor = Predictor(starts_of(study_of(tmp_path / "seen", seen, noise=0.01).steps))
    (rest,) = starts_of(study_of(tmp_path / "rest", [left_out], noise=0.01).steps)
    answer = predictor.predict(rest.layout)
    assert answer.step_s == pytest.approx(rest.step_s, rel=0.03)
    assert min(answer.parts_s.values()) >= 0


def test_heads_are_those_of_the_traces_model(tmp_path):
    for gpus in (1, 2):
        synthetic.scaled_run(gpus, steps=4, attributes={"task": "t2v-1.3B"}).write(tmp_path / str(gpus))
    predictor = Predictor(starts_of(make_study(read_traces([tmp_path / "1", tmp_path / "2"])).steps))
    assert predictor.heads == 12
    assert [str(predictor.choice(gpus)) for gpus in (3, 5)] == ["cfg1 x ulysses3, sharded over 3", "cfg1 x ulysses5, sharded over 5"]


def test_layouts_are_those_of_the_program():
    # As `wan_batch --plan --gpus N` lists them: each rank has one of 40 heads at least.
    taken = [gpus for gpus in range(1, 101) if group_layouts(gpus, 40, guided=True)]
    assert taken == [*range(1, 41), *range(42, 81, 2)]
    assert [str(way) for way in divisions(6, 40)] == [
        "cfg2 x ulysses3", "cfg1 x ulysses6", "2 groups of cfg1 x ulysses3", "3 groups of cfg2 x ulysses1", "3 groups of cfg1 x ulysses2",
        "6 groups of cfg1 x ulysses1"]
    assert str(divisions(8, 40, sharded=True)[0]) == "cfg2 x ulysses4, sharded over 8"
    assert str(divisions(5, 40, guided=False)[0]) == "cfg1 x ulysses5"
    assert [way.groups for way in divisions(7, 40)] == [1, 7]
    assert [way.layout.spans for way in divisions(10, 40)] == [True, True, True, False, False, False]
    assert (heads_of("i2v-A14B"), heads_of("t2v-1.3B"), heads_of("ti2v-5B"), heads_of(None)) == (40, 12, 24, 40)


def test_attention_takes_as_long_as_on_the_rank_with_the_most_heads():
    assert [round(Layout(1, ulysses).uneven(40), 3) for ulysses in (1, 2, 3, 6, 7)] == [1.0, 1.0, 1.05, 1.05, 1.05]
    starts = starts_on(Machine(np.random.default_rng(9), 0.005), (ONE, CFG2, FOUR))
    parts = {heads: estimate(Measurements(starts, heads), Layout(1, 3)).parts_s for heads in (40, 42)}
    assert parts[40]["attention"] == pytest.approx(1.05 * parts[42]["attention"])
    assert parts[40]["all_to_all"] == pytest.approx(1.05 * parts[42]["all_to_all"])
    assert parts[40]["linear"] == parts[42]["linear"]


@pytest.mark.skipif(not PROGRAM.exists(), reason="wan_batch is not built")
@pytest.mark.parametrize("task", ["i2v-A14B", "t2v-1.3B"] if NIGHTLY else ["i2v-A14B"])
def test_the_plan_accepts_every_layout_of_every_count(task):
    """By default the largest groups of each count, which a count's answer is about; with WAN_NIGHTLY=1 all divisions."""
    predictor = Predictor(starts_on(Machine(np.random.default_rng(9), 0.005), (ONE, CFG2, FOUR)), heads=heads_of(task))
    for gpus in range(1, 9):
        assert isinstance(predictor.predict(predictor.choice(gpus).layout), Prediction)
        for way in predictor.divisions(gpus) if NIGHTLY else [predictor.choice(gpus)]:
            assert isinstance(predictor.predict(way.layout), Prediction)
            command = [PROGRAM, "--plan", "--task", task, "--gpus", str(gpus), "--gpu-memory", "139GiB", "--size", "832*480",
                       *way.layout.options.split()]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, (command, done.stderr)
            assert re.search(rf"(?m)^ranks +{gpus} in {way.groups} groups? of {way.layout.gpus}$", done.stdout), done.stdout


def test_the_command_prints_measured_and_asked_layouts(tmp_path, capsys):
    study_of(tmp_path, (1, 2, 4), noise=0.005)
    page = tmp_path / "model.json"
    assert main(["model", *(str(tmp_path / str(gpus)) for gpus in (1, 2, 4)), "--gpus", "8,3,16", "--json", str(page)]) == 0
    said = capsys.readouterr()
    assert [int(row.split()[0]) for row in said.out.splitlines()[2:8]] == [1, 2, 4, 8, 3, 16]
    assert re.search(r"8  cfg2 x ulysses4, sharded over 8 +none", said.out)
    assert re.search(r"3  cfg1 x ulysses3, sharded over 3 +none.*--group-size 3 --cfg-size 1 --ulysses-size 3", said.out)
    assert re.search(r"16  2 groups of cfg2 x ulysses4", said.out)
    assert re.search(r"4  cfg2 x ulysses2, sharded over 4 .*unknown: all to all", said.out)
    assert "start each one 5 times" in said.err
    values = json.loads(page.read_text())
    assert [entry["groups"] for entry in values["predicted"]] == [1, 1, 2]
    assert values["predicted"][0]["low_s"] is None
    assert values["left_out"][2]["unknown"][0] == "all to all"


def test_the_command_takes_repeated_starts_and_gives_intervals(tmp_path, capsys):
    paths = []
    for gpus in (1, 2, 4):
        for seed in range(3):
            run = synthetic.scaled_run(gpus, items=1, steps=5, noise=0.01, seed=10 * gpus + seed, name=f"20260101-0000{gpus}{seed}-7")
            paths.append(str(run.write(tmp_path / f"{gpus}-{seed}")))
    assert main(["model", *paths, "--gpus", "8"]) == 0
    said = capsys.readouterr()
    measured, predicted = (re.search(rf"(?m)^ +{gpus}  cfg2.*$", said.out)[0] for gpus in (4, 8))
    assert re.search(r" 3 +[\d.]+ +[\d.]+ to [\d.]+", measured)
    assert re.search(r"none +[\d.]+ +[\d.]+ to [\d.]+", predicted)
    assert "5 times" not in said.err


def test_the_page_has_measured_and_predicted_layouts(tmp_path):
    paths = [synthetic.scaled_run(gpus, items=1, steps=4, noise=0.01, seed=10 * gpus + seed, name=f"20260101-0000{gpus}{seed}-7").write(
        tmp_path / f"{gpus}-{seed}") for gpus in (1, 2, 4) for seed in range(2)]
    page, values = tmp_path / "page.html", tmp_path / "page.json"
    assert main(["report", *map(str, paths), "-o", str(page), "--json", str(values)]) == 0
    stored = json.loads(values.read_text())["values"]
    predictor = Predictor(starts_of(make_study(read_traces(paths)).steps))
    eight = predictor.predict(Layout(2, 4, sharded=True))
    key = f"model/{eight.layout}"
    assert [stored[f"{key}/{name}"] for name in ("step_s", "low_s", "high_s")] == [eight.step_s, eight.low_s, eight.high_s]
    assert f"{key}/starts" not in stored
    one, *_, four = predictor.leave_one_out()
    assert stored[f"model/{one.measured.layout}/left_out/error_percent"] == 100 * one.error
    assert stored[f"model/{four.measured.layout}/starts"] == 2
    assert f"model/{four.measured.layout}/left_out/error_percent" not in stored
    assert "unknown: all to all, the rate of attention and linear with fewer heads and rows" in page.read_text()


@pytest.mark.parametrize("counts", [(1, 2), (2,)])
def test_the_command_refuses_with_the_missing_run(tmp_path, capsys, counts):
    study_of(tmp_path, counts, noise=0.005)
    assert main(["model", *(str(tmp_path / str(count)) for count in counts), "--gpus", "8"]) == 1
    said = capsys.readouterr()
    assert "all to all is not known, because no run had an exchange" in said.err
    assert "Run wan_bench on 2 GPUs as ulysses 2: mpirun -np 2 wan_bench" in said.err
    assert re.search(r"8  cfg2 x ulysses4, sharded over 8 +unknown", said.out)


def test_the_command_says_so_when_it_does_not_fit(tmp_path, capsys):
    parts = synthetic.scaled_parts(4, cfg=2, ulysses=2, fsdp=True)
    parts["attention"] *= 3
    for gpus in (1, 2):
        synthetic.scaled_run(gpus, items=1, steps=10).write(tmp_path / str(gpus))
    synthetic.scaled_run(4, items=1, steps=10, parts_s=parts).write(tmp_path / "4")
    assert main(["model", *(str(tmp_path / str(gpus)) for gpus in (1, 2, 4))]) == 0
    assert "do not trust" in capsys.readouterr().err


def test_traces_without_a_step_and_impossible_counts_are_refused(tmp_path, capsys):
    assert main(["model", str(tmp_path)]) == 1
    assert "none of the traces holds a step" in capsys.readouterr().err
    for counts in ("0", "8,-1", "x", "100000"):
        with pytest.raises(SystemExit, match="2"):
            main(["model", str(tmp_path), "--gpus", counts])


def test_the_largest_group_is_predicted_from_smaller_ones_only():
    machine = drawn(np.random.default_rng(3), 0.005, falls=True)
    starts = starts_on(machine, (ONE, CFG2, FOUR, EIGHT))
    (left,) = Predictor(starts).largest_from_fewer()
    assert (left.measured.layout, left.measured.starts) == (EIGHT, 5)
    assert left.predicted == Predictor(starts[:15]).predict(EIGHT)
    assert left.predicted.low_s < left.measured.step_s < left.predicted.high_s
    slow = [*starts[:15], *(slower(start, 1.5) for start in starts[15:])]
    (left,) = Predictor(slow).largest_from_fewer()
    assert not left.is_held
    assert left.error < -0.25
    assert Predictor(starts[:5]).largest_from_fewer() == []
    (refused,) = Predictor(starts_on(machine, (ONE, CFG2))).largest_from_fewer()
    assert isinstance(refused.predicted, Refusal)


def test_slower_head_chunks_do_not_count_for_their_layout(tmp_path):
    def row(name, chunks, step_s):
        run, work = SimpleNamespace(name=name, rank_info=pd.DataFrame()), SimpleNamespace(task="i2v-A14B")
        return SimpleNamespace(layout=SeriesLayout(4, 2, 2, "whole", "hopper", chunks), median_s=step_s, step_s=step_s,
                               parts_s={"linear": step_s}, run=run, work=work)

    said = []
    starts = starts_of([row("a", 1, 1.5), row("b", 2, 1.4), row("c", 2, 1.41), row("d", 1, 1.39)], said)
    assert [start.name for start in starts] == ["b", "c"]
    assert [problem.where for problem in said] == ["run a", "run d"]
