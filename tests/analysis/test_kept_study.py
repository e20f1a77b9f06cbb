"""The study of two H200s in analysis/docs: its traces still give the page that is kept, and analysis/README.md quotes it."""

import json
import re
import tarfile
from pathlib import Path

import pytest
from wan_analysis.cli import main

ANALYSIS = Path(__file__).resolve().parents[2] / "analysis"
KEPT = ANALYSIS / "docs" / "study_2xh200"


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with tarfile.open(KEPT / "traces.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def page_of(folder, arguments):
    assert main(["report", *arguments, "-o", str(folder / "page.html"), "--json", str(folder / "page.json")]) == 0
    return json.loads((folder / "page.json").read_text())


@pytest.fixture(scope="module")
def page(traces):
    return page_of(traces, [str(traces / "bench"), str(traces / "batch_2x1"), "--videos", "500"])


def test_the_kept_numbers_are_those_of_the_traces(page):
    kept = json.loads((KEPT / "report.json").read_text())
    assert page["answers"] == kept["answers"]
    assert page["values"].keys() == kept["values"].keys()
    for key, value in kept["values"].items():
        assert page["values"][key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), key
    assert f"{kept['values']['answer/scaling/speedup']:.3f}" in (KEPT / "report.html").read_text()


def test_the_readme_quotes_the_study(page, traces):
    told = re.sub(r"\s+", " ", (ANALYSIS / "README.md").read_text(encoding="utf-8"))
    values = page["values"]
    speedup = [values[f"answer/scaling/speedup{end}"] for end in ("", "/low", "/high")]
    assert "{:.3f} [{:.3f}, {:.3f}] times as fast".format(*speedup) in told
    assert page["advice"][0].split(". Type: ")[0] in told
    busy = page_of(traces, [str(traces / "busy.h5")])
    named = next(answer for answer in busy["answers"] if "rank 1" in answer)
    assert re.search(r"rank 1 \(vm\) is slow in linear, [\d.]+ % over the median", named).group() in told
