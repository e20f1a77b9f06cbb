"""The page of a study with repetitions: every figure has median, interval and number of starts, and the broken rules are named."""

import json
import re

import h5py
import numpy as np
import pytest
from synthetic1 import ONE_GPU_PARTS_S, Start
from wan_analysis.answers_repeated import repeated_answers
from wan_analysis.cli import main
from wan_analysis.intervals import median_interval, ratio_interval
from wan_analysis.measured import measured_values
from wan_analysis.study import make_study
from wan_analysis.study_rules import judge_rules, rules_section
from wan_analysis.trace_file import read_traces

LAYOUTS = {1: "cfg1 x ulysses1", 2: "cfg2 x ulysses1", 4: "cfg2 x ulysses2"}


def write_study(folder, counts, starts=6, program="wan_batch", **options):
    """Interleaved starts of each count; returns the factors of their times."""
    factors = {}
    for number in range(starts):
        for gpus in counts:
            place = number * 8 + gpus
            factor = 1 + 0.01 * np.random.default_rng(place).standard_normal()
            factors.setdefault(gpus, []).append(factor)
            parts_s = {part: seconds * factor / gpus for part, seconds in ONE_GPU_PARTS_S.items()}
            begun = {"name": f"20260101T00{place:02}00Z-{place:08x}", "started": f"2026-01-01T00:{place:02}:00.000000Z"}
            Start(group_size=gpus, parts_s=parts_s, items=2, steps=3, layout=LAYOUTS[gpus], seed=place, program=program,
                  **(begun | {name: value(number) if callable(value) else value for name, value in options.items()}),
                  ).write(folder / f"gpus_{gpus}" / f"start_{number + 1}")
    return factors


def page_of(tmp_path, *folders):
    html, numbers = tmp_path / "r.html", tmp_path / "r.json"
    assert main(["report", *map(str, folders), "-o", str(html), "--json", str(numbers)]) == 0
    return html.read_text(encoding="utf-8"), json.loads(numbers.read_text(encoding="utf-8"))


def rules(folder):
    study = make_study(read_traces([folder]))
    return {rule.number: rule for rule in judge_rules(study.cases, study.strong, study.step_tables, None)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    factors = write_study(folder, (1, 2))
    html, stored = page_of(tmp_path_factory.mktemp("page"), folder)
    return folder, factors, html, stored


def test_a_folder_of_starts_is_read_and_each_case_is_one_row(study):
    _, _, html, stored = study
    rows = re.findall(r'data-key="scaling/([^"/]+)/gpus"', html)
    assert rows == ["1 GPU, cfg1 x ulysses1", "2 GPUs, cfg2 x ulysses1"]
    assert stored["values"]["scaling/2 GPUs, cfg2 x ulysses1/starts"] == 6


def test_speed_up_and_gpu_hours_are_those_of_the_medians(study):
    _, factors, _, stored = study
    step_s = {gpus: [sum(ONE_GPU_PARTS_S.values()) * factor / gpus + 0.01 for factor in found] for gpus, found in factors.items()}
    item_s = {gpus: [2 * (3 * step + 4.65) for step in found] for gpus, found in step_s.items()}
    values, key = stored["values"], "scaling/2 GPUs, cfg2 x ulysses1"
    for name, interval in {"seconds": median_interval(item_s[2]), "speedup": ratio_interval(item_s[1], item_s[2]),
                           "efficiency_percent": ratio_interval(item_s[1], item_s[2], 50.0),
                           "gpu_hours": median_interval([2 * (seconds + 20.0) / 3600 for seconds in item_s[2]])}.items():
        assert [values[f"{key}/{name}{end}"] for end in ("", "/low", "/high")] == pytest.approx(
            [interval.median, interval.low, interval.high], rel=1e-6), name
    steps = median_interval(step_s[2])
    assert values["steps/2 GPUs, cfg2 x ulysses1/step_s"] == pytest.approx(steps.median, rel=1e-6)
    assert values["speed/1 GPU, cfg1 x ulysses1/precision_percent"] == pytest.approx(
        100 * median_interval([7200 / seconds for seconds in item_s[1]]).half_width, rel=1e-6)


def test_figures_that_vary_have_intervals_and_every_row_has_its_starts(study):
    _, _, html, stored = study
    values = stored["values"]
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        if "2 GPUs, cfg2" not in table:
            continue
        for row in re.findall(r"<tr><td.*?</tr>", table, re.DOTALL):
            assert re.search(r'data-key="[^"]*/starts"', row), row
    varied = [key for key in values if key.startswith("parts/") and key.endswith(("/attention", "/linear"))]
    assert len(varied) == 4
    assert all(values[f"{key}/low"] < values[key] < values[f"{key}/high"] for key in varied)


def test_values_of_page_and_json_are_equal_to_the_last_digit(study):
    _, _, html, stored = study
    shown = {key: float(value) for value, key in re.findall(r'<data value="([^"]+)" data-key="([^"]+)">', html)}
    assert shown == stored["values"]
    assert len(shown) > 200


def test_every_start_is_drawn_and_lines_join_one_series(study):
    *_, stored = study
    drawn = stored["charts"]["chart/distributions"]["series"]
    assert {name: len(series["value"]) for name, series in drawn.items()} == {
        "1 GPU, cfg1 x ulysses1": 6, "2 GPUs, cfg2 x ulysses1": 6}
    points = stored["charts"]["chart/step_scaling"]["series"]
    assert [series["gpus"] for series in points.values()] == [[1, 2]]
    assert points["cfg2 x ulysses"]["speedup_low"][1] < points["cfg2 x ulysses"]["speedup"][1]


def test_the_measured_cases_are_in_the_json(study):
    _, factors, _, stored = study
    one, two = stored["measured"]
    assert (one["gpus"], two["gpus"], two["cfg"], two["ulysses"], two["groups"]) == (1, 2, 2, 1, 1)
    found = median_interval([sum(ONE_GPU_PARTS_S.values()) * factor / 2 + 0.01 for factor in factors[2]])
    assert [two["step_s"][name] for name in ("median", "low", "high", "n")] == pytest.approx([found.median, found.low, found.high, 6])
    assert two["phases_s"]["decode"]["median"] == pytest.approx(2.7)
    assert (two["steps"], two["width"]) == (3, 832)


def test_answers_have_intervals_and_advice_stands_before_them(study):
    _, _, html, stored = study
    assert html.index('<ul class="advice">') < html.index('<ul class="answers">') < html.index("Speed of each case")
    assert [text.split(":")[0] for text in stored["advice"]] == ["Soonest", "Cheapest"]
    speed, limit, scaling = stored["answers"]
    assert re.match(r"2 GPUs \(cfg2 x ulysses1\): [\d.]+ \[[\d.]+, [\d.]+\] videos an hour, 6 starts; 1 GPU ", speed)
    assert " % of their GPU-seconds" in limit
    assert re.search(r"instead of 1 \(6 starts\): [\d.]+ \[[\d.]+, [\d.]+\] times as fast, efficiency ", scaling)


def test_all_rules_are_kept_by_interleaved_starts_on_one_host(study):
    folder, *_ = study
    assert [rule.number for rule in rules(folder).values() if not rule.is_kept] == []


def test_a_study_of_one_start_breaks_the_rule_of_intervals(tmp_path):
    write_study(tmp_path / "s", (1, 2), starts=1)
    found = rules(tmp_path / "s")
    assert (found[5].is_kept, found[7].is_kept) == (False, False)
    assert "an interval needs 6 starts of each case (1 GPU, cfg1 x ulysses1: 1 start" in found[5].why
    _, table, _ = rules_section(list(found.values()))
    assert table.rows[4][:2] == ["5. say whether values are deterministic; give intervals of those that are not", "NOT KEPT"]


@pytest.mark.parametrize(("counts", "said"), [((2,), "there is no base: all starts are on 2 GPUs"), ((2, 4), "the base has 2 GPUs")])
def test_a_study_without_a_base_breaks_the_rule_of_the_base(tmp_path, counts, said):
    write_study(tmp_path, counts, starts=2)
    found = rules(tmp_path)
    assert not found[1].is_kept
    assert said in found[1].why


def test_mixed_hosts_break_the_rule_of_factors(tmp_path):
    write_study(tmp_path, (1, 2), starts=2, attributes=lambda number: {"host": f"node{number}"})
    for path in tmp_path.glob("*/*/trace/*.h5"):
        with h5py.File(path, "a") as trace:
            hosts = trace["ranks/host"]
            hosts[:] = [trace.attrs["host"]] * len(hosts)
    found = rules(tmp_path)
    assert not found[9].is_kept
    assert found[9].why.startswith("hosts are mixed: starts ran on node0 and node1")


def test_cases_that_ran_one_after_the_other_break_the_rule_of_measuring(tmp_path):
    write_study(tmp_path, (1,), starts=2)
    write_study(tmp_path, (2,), starts=2, started=lambda number: f"2026-01-02T00:0{number}:00.000000Z")
    found = rules(tmp_path)
    assert not found[10].is_kept
    assert "jobs/study.sh interleaves them" in found[10].why


def test_a_benchmark_study_counts_with_its_median_step(tmp_path):
    write_study(tmp_path, (1, 2), starts=2, program="wan_bench")
    study = make_study(read_traces([tmp_path]))
    (said,) = repeated_answers(study, study.cases, [])
    texts = ["".join(part if isinstance(part, str) else part.text for part in entry.parts) for entry in said.entries]
    assert "s a step, 2 starts" in texts[0]
    assert measured_values(study.cases, study.step_tables)[0]["steps"] is None
