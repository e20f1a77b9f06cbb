"""Results of the nightly benchmark that cannot be true: each is refused with its reason, and none becomes a night."""

import json
import os
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from nightly_world import RESULT, histories, record, write_history
from wan_analysis.cli import main
from wan_analysis.nightly import run_benchmark
from wan_analysis.nightly_history import FACTS
from wan_analysis.nightly_result import NightlyError, benchmark_key, check_result, metrics_of, parse_result

GOOD = {name: value for name, value in RESULT.items() if name != "manifest_s"}
LINE = json.dumps(GOOD)


def changed(**fields):
    return json.dumps(GOOD | fields)


def without(*names):
    return json.dumps({name: value for name, value in GOOD.items() if name not in names})


def with_parts(**parts):
    return changed(parts_s={part: seconds for part, seconds in (GOOD["parts_s"] | parts).items() if seconds is not None})


def times(factor):
    """Every time and the memory, times a factor."""
    scaled = {name: factor * value for name, value in GOOD.items() if name.endswith("_s") and isinstance(value, float)}
    parts = {part: factor * seconds for part, seconds in GOOD["parts_s"].items()}
    return changed(**scaled, s_per_step=factor * 1.4, step_s=[factor * 1.4], parts_s=parts)


#: Kind -> (the last line that the benchmark prints, a part of the reason).
BROKEN = {
    "not a number": (changed(s_per_step=float("nan")), "the result holds NaN"),
    "infinite": (changed(text_s=float("inf")), "the result holds Infinity"),
    "too large for a number": (LINE.replace('"text_s": 0.02', '"text_s": 1e999'), "'text_s' is not finite"),
    "negative": (changed(vae_decode_s=-0.77), "'vae_decode_s' is -0.77"),
    "a step of no time": (changed(s_per_step=0.0), "'s_per_step' is 0"),
    "no step": (without("s_per_step"), "lacks 's_per_step'"),
    "no parts": (without("parts_s"), "lacks 'parts_s'"),
    "parts not measured": (changed(parts_s=None), "holds no parts"),
    "a part is missing": (with_parts(linear=None), "'parts_s' lacks linear"),
    "a part is missing that was there": (with_parts(all_to_all=None), "lacks 'parts_s/all_to_all', which the nights before have"),
    "a part that is unknown": (with_parts(thinking=0.1), "thinking, which is no part"),
    "a negative part": (with_parts(attention=-0.73), "'parts_s/attention' is -0.73"),
    "parts above the step": (with_parts(attention=1.9), "the parts add up to"),
    "parts far below the step": (with_parts(attention=0.03), "the parts add up to"),
    "a stage is missing": (without("vae_decode_s"), "lacks 'vae_decode_s', which the nights before have"),
    "a stage became null": (changed(vae_encode_s=None), "lacks 'vae_encode_s', which the nights before have"),
    "1,000 times too fast": (times(1e-3), "is impossible"),
    "1,000 times too slow": (times(1e3), " times more than before"),
    "one stage 1,000 times too fast": (changed(text_s=2e-5), "'text_s' is 2e-05, 9"),
    "memory 1,000 times too small": (changed(peak_vram_bytes=64_000_000), " times less than before"),
    "a text in place of a number": (changed(s_per_step="1.4"), "'s_per_step' must be a number and is str"),
    "a truth value in place of a number": (changed(fill_s=True), "'fill_s' must be a number and is bool"),
    "a number in place of a text": (changed(model=14), "'model' must be a text"),
    "steps that are no list": (changed(step_s=1.4), "'step_s' must be a list"),
    "another median": (changed(step_s=[14.0, 14.1]), "is not the median of 'step_s'"),
    "half a GPU": (changed(gpus=0.5), "'gpus' must be a whole number"),
    "an unknown unit": (changed(vae_decode_ms=770.0), "the unit of 'vae_decode_ms' is unknown"),
    "a value with a unit": (changed(text_s={"value": 0.02, "unit": "minute"}), "has the unit \"minute\""),
    "a key twice": (LINE.replace("{", '{"s_per_step": 1.3, ', 1), "'s_per_step' more than once"),
    "a part twice": (LINE.replace('"linear": 0.57', '"linear": 0.57, "linear": 0.5'), "'linear' more than once"),
    "cut JSON": (LINE[:-40], "is no JSON"),
    "no object": ("[1.4]", "is no JSON object"),
    "deep JSON": ("[" * 100_000, "cannot be read as JSON"),
    "nothing": ("", "printed nothing"),
    "another layout": (changed(layout="cfg2 x ulysses2, fsdp4"), "is of another benchmark"),
    "another GPU model": (changed(gpu_model="NVIDIA H100"), "is of another benchmark"),
    "other options": (changed(arguments=["--t5-cpu"]), "is of another benchmark"),
}


@pytest.fixture
def folder(tmp_path):
    values = histories(np.random.default_rng(3), 1, 0.005, 12)[0]
    write_history(tmp_path / "history", [{name: value for name, value in record(column, night).items() if name != "manifest_s"}
                                         for night, column in enumerate(values.T)])
    return tmp_path / "history"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_result_is_refused_with_its_reason(folder, tmp_path, capsys, monkeypatch, kind):
    line, reason = BROKEN[kind]
    monkeypatch.setattr("wan_analysis.nightly.trend_page", lambda *_: "")  # drawn in one test of its own
    (tmp_path / "line").write_text(line)
    code = main(["nightly", "--history", str(folder), "--", sys.executable, "-c", f"print(open({str(tmp_path / 'line')!r}).read())"])
    assert code == 1
    assert reason in capsys.readouterr().err
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["exit_code"] == 1
    assert verdict["night"] is None
    (failure,) = verdict["failures"]
    assert reason in failure["reason"]
    (case,) = ET.parse(folder / "junit.xml").getroot().iter("testcase")
    assert (case.get("name"), case.find("failure").text) == (failure["name"], failure["reason"])
    assert "refused" in json.loads((folder / "history.jsonl").read_text().splitlines()[-1])


def test_16_kinds_and_more_are_tried():
    assert len(BROKEN) >= 16


def test_a_refused_result_is_no_night_and_is_on_the_page(folder, capsys, monkeypatch):
    def call(line, code=0):
        return main(["nightly", "--history", str(folder), "--", sys.executable, "-c", f"print({line!r}); raise SystemExit({code})"])

    with monkeypatch.context() as quickly:
        quickly.setattr("wan_analysis.nightly.trend_page", lambda *_: "")
        assert call(BROKEN["negative"][0]) == 1
        assert call(LINE, code=7) == 1
    assert "exit code 7" in capsys.readouterr().err
    assert call(LINE) == 0
    assert json.loads((folder / "verdict.json").read_text())["night"] == 13
    page = (folder / "trend.html").read_text()
    assert re.search("&#x27;vae_decode_s&#x27; is -0.77", page)
    assert "exit code 7" in page


def test_broken_lines_of_a_history_are_left_out_and_named(folder, capsys, monkeypatch):
    monkeypatch.setattr("wan_analysis.nightly.trend_page", lambda *_: "")
    with (folder / "history.jsonl").open("a") as file:
        file.write(json.dumps({"time": "2026-10-01T02:00:00+00:00"} | json.loads(BROKEN["negative"][0])) + "\n")
        file.write(json.dumps({"time": "yesterday"} | GOOD) + "\n" + json.dumps({"time": None} | GOOD) + "\n")
    assert main(["nightly", "--history", str(folder), "--", sys.executable, "-c", f"print({LINE!r})"]) == 0
    out = capsys.readouterr().out
    for line, reason in ((13, "'vae_decode_s' is -0.77"), (14, "yesterday"), (15, "it has no time")):
        assert re.search(f"history.jsonl, line {line}: .*{reason}", out)


@pytest.mark.parametrize("content", ['{"k": 1}', '{"k": {"s_per_step": [1.4, "low", null, "s"]}}',
                                     '{"k": {"s_per_step": [1.4, null, 0.03, "fortnight"]}}',
                                     '{"k": {"s_per_step": [NaN, null, 0.03, "s"]}}', "{"])
def test_malformed_bounds_are_named(tmp_path, capsys, content):
    key = "i2v-A14B 832*480 81 frames, 4 GPUs, bf16, cfg2 x ulysses2"
    (tmp_path / "ref.json").write_text(content.replace('"k"', json.dumps(key)))
    assert main(["nightly", "--history", str(tmp_path / "history"), "--references", str(tmp_path / "ref.json"), "--", sys.executable, "-c",
                 f"print({LINE!r})"]) == 1
    assert "ref.json" in capsys.readouterr().err


def test_good_results_pass():
    check_result(parse_result(LINE))
    check_result(parse_result(without("reference_s", "step_s", "text_s")))
    check_result(parse_result(with_parts(all_to_all=None, weight_gather=None)))
    with pytest.raises(NightlyError, match="more than once"):
        parse_result('{"a": 1, "a": 1}')


@pytest.mark.skipif("WAN_BENCH" not in os.environ, reason="WAN_BENCH names no wan_bench")
def test_results_of_wan_bench_pass_and_hold_what_a_night_needs():
    toy = Path(__file__).resolve().parents[1] / "data" / "parity" / "i2v_landscape" / "ckpt" / "high_noise_model" / "config.json"
    result = run_benchmark([os.environ["WAN_BENCH"], "--model", str(toy), "--size", "64*48", "--frame-num", "5", "--steps", "3"])
    check_result(result)
    assert {"reference_s", "text_s", "vae_decode_s", "fill_s"} <= metrics_of(result).keys()
    assert all(isinstance(result[fact], str) for fact in (*FACTS, "revision"))
    assert result["ranks"][0]["host"]
    assert benchmark_key(result).endswith("head chunks 4"), "no option is left over"
