"""The page as a whole: texts of files are shown letter by letter, many runs and ranks fit, and the answers have numbers."""

import io
import json
import os
import re
import resource
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from synthetic1 import Slow, Start
from wan_analysis.blocks import count, number
from wan_analysis.chart_style import new_figure
from wan_analysis.cli import main
from wan_analysis.html_page import figure_bytes, table
from wan_analysis.texts import chart_text, printable

HOSTILE = r"$\frac{1$ _x^ <script>alert(1)</script> & \"quoted\" a" + "\x00\x1b[31m\n\u202e"
PARTS = {"attention": 0.35, "linear": 0.3, "elementwise": 0.03, "all_to_all": 0.02, "weight_gather": 0.0, "host_copy": 0.002, "wait": 0.005}
#: Counts of 100 and more run with a twentieth here, in full under the label nightly.
SHARE = 1 if os.environ.get("WAN_NIGHTLY") else 20


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)


def report(tmp_path, *traces):
    page, numbers = tmp_path / "r.html", tmp_path / "r.json"
    assert main(["report", *map(str, traces), "-o", str(page), "--json", str(numbers)]) == 0
    return page.read_text(encoding="utf-8"), json.loads(numbers.read_text(encoding="utf-8"))


def test_texts_of_files_are_shown_letter_by_letter(tmp_path):
    clean = HOSTILE.replace("\x00", "")  # an attribute of HDF5 ends at a NUL
    told = {"layout": clean, "placement": clean, "attention": clean, "solver": clean, "guidance": clean}
    start = Start(name="20260101T000000Z-00000001", items=2, steps=6, group_size=2, stretch=told, ids=(clean, clean + "2"),
                  attributes={"host": clean, "task": clean, "command": clean, "revision": clean, "gpu_model": clean})
    start.write(tmp_path / "one")
    Start(name="20260102T000000Z-00000001", items=2, steps=6).write(tmp_path / "two")
    page, stored = report(tmp_path, tmp_path / "one", tmp_path / "two")
    seen = Tags()
    seen.feed(page)
    assert "script" not in seen.tags
    assert "&lt;script&gt;" in page
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", page)
    assert stored["values"]


def test_labels_of_charts_hold_no_formulas():
    assert chart_text("$a_b^c$") == r"\$a_b^c\$"
    assert chart_text("_hidden") == " _hidden"
    assert printable("a\x00b\nc\u202ed") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}d"
    assert len(printable("x" * 10_000)) == 400


def test_a_chart_is_the_same_drawing_in_fewer_bytes():
    figure, axes = new_figure(1, 1, 5, 3)
    axes[0, 0].plot([0, 1, 2], [1 / 3, 2 / 7, 1.5e-3], label="half - a_chart")
    axes[0, 0].legend()
    plain = io.BytesIO()
    figure.savefig(plain, format="svg")
    short = figure_bytes(figure, "svg")
    assert len(short) < 0.85 * len(plain.getvalue())
    drawn = [[element for element in ET.fromstring(text).iter() if element.tag.endswith(("}path", "}use"))]
             for text in (plain.getvalue(), short)]
    assert len(drawn[0]) == len(drawn[1]) > 40
    for before, after in zip(*drawn, strict=True):
        for name in ("d", "x", "y"):
            old, new = ([float(value) for value in re.findall(r"-?\d+(?:\.\d+)?", one.get(name, ""))] for one in (before, after))
            assert new == pytest.approx(old, abs=0.00501)
        assert re.findall(r"scale\(.*?\)", before.get("transform", "")) == re.findall(r"scale\(.*?\)", after.get("transform", ""))


@pytest.mark.parametrize(("value", "shown"), [
    (0.0, "0.00"), (-1e-12, "0.00"), (1234.5, "1234"), (0.00123456, "0.00123"), (1.5e-8, "1.50e-08"), (float("nan"), "–"), (99.86, "99.9")])
def test_numbers_are_shown_with_three_digits(value, shown):
    assert number("a/b", value).text == shown


def test_a_cell_may_hold_several_numbers():
    html = table([("lost", "% (s)")], [[(number("a", 1.25), " (", count("b", 3), ")")]])
    assert re.sub("<[^>]*>", "", html).split() == ["lost", "%", "(s)", "1.25", "(3)"]
    assert re.findall(r'data-key="([^"]+)"', html) == ["a", "b"]


def test_the_answers_say_what_limits_a_run(tmp_path):
    slow = Slow(rank=1, part="attention", factor=1.3)
    phases_s = {"text": 0.1, "denoise": 0.0, "decode": 60.0}
    start = Start(items=4, steps=8, group_size=4, layout="cfg2 x ulysses2", slow=(slow,), phases_s=phases_s)
    start.write(tmp_path / "out")
    _, stored = report(tmp_path, tmp_path / "out")
    speed, limit, loss = stored["answers"]
    assert re.fullmatch(r"On 4 GPUs, one group \(cfg2 x ulysses2\) makes an item every [\d.]+ s, [\d.]+ s of it denoising\.", speed)
    assert limit.startswith("Run 4 is limited by decoding videos: ")
    assert "rank 1 (node1) is slow in attention, 30.0 % over the median" in loss
    values = stored["values"]
    step_s = 1.3 * 2.66 + 2.24 + 0.21 + 0.02 + 0.01
    assert values["answer/speed/0/interval_s"] == pytest.approx(8 * step_s + 60.1)
    assert values["answer/limit/percent"] == pytest.approx(100 * 240 / (20.1 + 4 * (8 * step_s + 60.1)))


@pytest.mark.parametrize("what", ["items", "starts", "gpus", "study"])
def test_many_items_starts_and_gpus_fit_on_a_page(tmp_path, what):
    """The limits hold for the full counts: 1,000 items x 40 steps x 8 ranks, and 200 starts."""
    if what == "items":
        start = Start(items=1000 // SHARE, steps=40, group_size=8, layout="cfg2 x ulysses4", parts_s=PARTS, noise=0.003)
        traces = [start.write(tmp_path / "a")]
    elif what == "gpus":
        start = Start(items=2, steps=6, groups=8, group_size=8, layout="cfg2 x ulysses4", parts_s=PARTS, noise=0.003)
        traces = [start.write(tmp_path / "a")]
    else:
        traces = []
        for place in range(200 // SHARE):
            size = 2 if what == "starts" else (1, 2, 4, 8)[place % 4]
            begun = {"name": f"20260101T{place // 60:02}{place % 60:02}00Z-{place:08x}",
                     "started": f"2026-01-01T{place // 60:02}:{place % 60:02}:00.000000Z", "seed": place}
            ids = (f"v{2 * place}", f"v{2 * place + 1}") if what == "starts" else ("v0", "v1")
            layout = {1: "cfg1 x ulysses1", 2: "cfg2 x ulysses1", 4: "cfg2 x ulysses2", 8: "cfg2 x ulysses4"}[size]
            start = Start(items=2, steps=10, group_size=size, ids=ids, layout=layout, parts_s=PARTS, noise=0.003, **begun)
            traces.append(start.write(tmp_path / ("a" if what == "starts" else str(place))))
    begin_s, before_kb = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    page, stored = report(tmp_path, *dict.fromkeys(traces))
    limit_bytes, limit_s = (1e6, 10) if what in ("items", "gpus") else (2e6, 20)
    assert len(page) <= limit_bytes
    assert time.process_time() - begin_s <= limit_s * 3  # the machine of the tests is shared; analysis/README.md has the measured times
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb <= 1e6
    assert len(stored["values"]) < 3000
    assert {"items": 1, "gpus": 1, "starts": 1, "study": 4}[what] <= len(
        {key for key in stored["values"] if key.startswith("account/") and key.endswith("/sum")})
