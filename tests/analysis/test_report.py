"""Every number of the report against the trace it came from, computed here from the bare HDF5 columns."""

import json
import re
from html import unescape
from pathlib import Path

import h5py
import numpy as np
import pytest
import synthetic
from wan_analysis.cli import main

PROJECT = Path(__file__).resolve().parents[2]
COMMUNICATION = ("all_to_all", "weight_gather", "wait")
GIB = 2**30
DATA = re.compile(r'<data value="([^"]+)" data-key="([^"]+)">([^<]*)</data>')


def report(tmp_path: Path, *arguments: object) -> dict[str, float]:
    """The page's numbers by their names. The JSON file must have the same ones, and every chart."""
    page, numbers = tmp_path / "report.html", tmp_path / "report.json"
    assert main(["report", *map(str, arguments), "-o", str(page), "--json", str(numbers)]) == 0
    html = page.read_text(encoding="utf-8")
    found: dict[str, tuple[float, str]] = {}
    for value, key, text in DATA.findall(html):
        assert found.setdefault(unescape(key), (float(value), text))[0] == float(value), key  # a key names one value
    for key, (value, text) in found.items():
        assert float(text) == pytest.approx(value, rel=6e-3, abs=1e-9), key  # what is shown is the value, rounded
    stored = json.loads(numbers.read_text(encoding="utf-8"))
    assert stored["values"] == {key: value for key, (value, _) in found.items()}
    assert set(stored["charts"]) == {unescape(key) for key in re.findall(r'<figure data-key="([^"]+)">', html)}
    assert len(re.findall(r"<figure", html)) == len(stored["charts"])
    assert all(chart["series"] for chart in stored["charts"].values())
    return stored["values"]


def columns(path: Path) -> dict[str, dict[str, np.ndarray]]:
    with h5py.File(path, "r") as file:
        return {table: {name: dataset[:] for name, dataset in file[table].items()} for table in file}


def expected_of_run(name: str, ranks: int, trace: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    """The figures of a run of one group and one size without a first step that counts, by other means than the package's."""
    raw = trace["steps"]
    steps = sorted({(int(item), int(step)) for item, step in zip(raw["item"], raw["step"], strict=True)})[1:]
    rows = [np.flatnonzero((raw["item"] == item) & (raw["step"] == step)) for item, step in steps]
    end = raw["start_s"] + raw["wall_s"]
    wall = np.array([end[row].max() - raw["start_s"][row].min() for row in rows])
    parts = {part: np.array([raw[f"gpu_{part}_s"][row].sum() for row in rows]).mean() for part in synthetic.PARTS}
    parts["other"] = ranks * wall.mean() - sum(parts.values())
    gaps = [raw["start_s"][after].min() - end[before].max() for (item, _), before, (next_item, _), after
            in zip(steps, rows, steps[1:], rows[1:], strict=False) if item == next_item]
    parts["between_steps"] = ranks * np.maximum(gaps, 0).mean()
    sent = np.array([raw["sent_bytes"][row].astype(float).mean() for row in rows]).mean()
    phases = trace["phases"]
    of_item = phases["item"] >= 0
    decoded = [i for i in np.flatnonzero(of_item) if phases["phase"][i] == b"decode"]
    seconds = max(phases["start_s"][i] + phases["wall_s"][i] for i in decoded) - phases["start_s"][of_item].min()
    communication_s = sum(parts[part] for part in COMMUNICATION) / ranks
    result = {f"scaling/{name}/gpus": ranks, f"scaling/{name}/groups": 1, f"scaling/{name}/seconds": seconds,
              f"scaling/{name}/seconds_with_load": seconds + phases["start_s"][of_item].min(), f"scaling/{name}/items": len(decoded),
              f"communication/{name}/seconds": communication_s,
              f"communication/{name}/share_percent": 100 * communication_s / wall.mean(), f"communication/{name}/sent_gb": sent / 1e9,
              f"steps/{name}/count": len(steps), f"steps/{name}/step_s": wall.mean(), f"steps/{name}/gpus": ranks, f"steps/{name}/teams": 1,
              f"steps/{name}/median_s": np.median(wall), f"steps/{name}/fastest_s": wall.min(), f"steps/{name}/slowest_s": wall.max(),
              f"steps/{name}/gpu_s": ranks * wall.mean(), f"items/{name}/done": len(decoded), f"items/{name}/begun": len(decoded)}
    result |= {f"parts/{name}/{part}": value for part, value in parts.items()}
    result[f"parts/{name}/sum"] = sum(parts.values())
    if sent and communication_s > 0:
        result[f"communication/{name}/achieved_gb_per_s"] = sent / communication_s / 1e9
    for phase in {p.decode() for p in phases["phase"][of_item]}:
        chosen = (phases["item"] >= 1) & (phases["phase"] == phase.encode())
        result[f"items/{name}/{phase}_s"] = phases["wall_s"][chosen].mean()
    for rank in sorted(set(raw["world_rank"].tolist())):
        result[f"memory/{name}/{rank}/rank"] = rank
        result[f"memory/{name}/{rank}/allocator_gib"] = raw["vram_peak_bytes"][raw["world_rank"] == rank].max() / GIB
        samples = trace["samples"]
        result[f"memory/{name}/{rank}/device_gib"] = samples["vram_used_bytes"][samples["rank"] == rank].max() / GIB
    return result


def with_scaling(expected: dict[str, float], runs: list[tuple[str, int]]) -> dict[str, float]:
    base, base_ranks = runs[0]
    for name, ranks in runs:
        more_items = expected[f"scaling/{name}/items"] / expected[f"scaling/{base}/items"]
        for key, of_load in (("", ""), ("_with_load", "_with_load")):
            speedup = more_items * expected[f"scaling/{base}/seconds{of_load}"] / expected[f"scaling/{name}/seconds{of_load}"]
            expected[f"scaling/{name}/efficiency{key}_percent"] = 100 * speedup * base_ranks / ranks
        expected[f"scaling/{name}/speedup"] = expected[f"scaling/{name}/efficiency_percent"] / 100 / base_ranks * ranks
        expected[f"steps/{name}/speedup"] = expected[f"steps/{base}/step_s"] / expected[f"steps/{name}/step_s"]
        expected[f"steps/{name}/efficiency_percent"] = 100 * expected[f"steps/{base}/gpu_s"] / expected[f"steps/{name}/gpu_s"]
    expected |= {"base/scaling/gpus": base_ranks, "base/scaling/seconds": expected[f"scaling/{base}/seconds"],
                 "base/scaling/amount": expected[f"scaling/{base}/items"], "base/steps/0/gpus": base_ranks,
                 "base/steps/0/step_s": expected[f"steps/{base}/step_s"]}
    return expected


def assert_same(found: dict[str, float], expected: dict[str, float]) -> None:
    """The same keys in every table that `expected` has, with the same values."""
    tables = {key.split("/")[0] for key in expected}
    assert {key for key in found if key.split("/")[0] in tables} == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key


def test_a_study_of_1_2_and_4_gpus(tmp_path):
    runs = [synthetic.scaled_run(gpus, noise=0.01, items=2, steps=12, switch=5) for gpus in (1, 2, 4)]
    folders = [tmp_path / str(run.group_size) for run in runs]
    expected: dict[str, float] = {}
    for run, folder in zip(runs, folders, strict=True):
        run.write(folder)
        expected |= expected_of_run(run.name, run.group_size, columns(folder / "trace" / f"{run.name}-g00.h5"))
    with_scaling(expected, [(run.name, run.group_size) for run in runs])
    assert_same(report(tmp_path, *folders), expected)


def test_a_real_trace_of_four_h200s(tmp_path):
    file = PROJECT / "analysis" / "results" / "wan_batch_4xh200.h5"
    with h5py.File(file) as trace:
        name = trace.attrs["run"]
    found = report(tmp_path, file)
    assert_same(found, with_scaling(expected_of_run(name, 4, columns(file)), [(name, 4)]))
    assert found[f"outliers/{name}/0/step"] == 0  # the first step pays for the libraries' start


def test_an_outlier_names_its_part(tmp_path):
    run = synthetic.scaled_run(2, noise=0.002, steps=20, slow_steps={13: ("linear", 0.9)})
    run.write(tmp_path / "out")
    raw = columns(tmp_path / "out" / "trace" / f"{run.name}-g00.h5")["steps"]
    found = {key: value for key, value in report(tmp_path, tmp_path / "out").items() if key.startswith("outliers/")}
    key = f"outliers/{run.name}/0"
    assert found.keys() == {f"{key}/{what}" for what in ("step", "wall_s", "median_s", "part_growth_s")}
    linear = np.array([raw["gpu_linear_s"][raw["step"] == step].mean() for step in range(20)])
    walls = np.array([raw["wall_s"][raw["step"] == step].max() for step in range(20)])
    assert found[f"{key}/step"] == 13
    assert found[f"{key}/wall_s"] == pytest.approx(walls[13])
    assert found[f"{key}/median_s"] == pytest.approx(np.median(walls))
    assert found[f"{key}/part_growth_s"] == pytest.approx(linear[13] - np.median(linear))
    assert ">linear<" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_peaks_are_held_against_a_plan(tmp_path):
    run = synthetic.scaled_run(2)
    run.write(tmp_path / "out")
    plan = tmp_path / "plan.txt"
    plan.write_text("ranks            2 in 1 group of 2\nmemory per rank\n  at most together                20.5 GiB\n")
    found = report(tmp_path, tmp_path / "out", "--plan", plan)
    for rank in (0, 1):
        key = f"memory/{run.name}/{rank}"
        peak = max(found[f"{key}/allocator_gib"], found[f"{key}/device_gib"])
        assert found[f"{key}/plan_gib"] == pytest.approx(20.5)
        assert found[f"{key}/over_plan_gib"] == pytest.approx(peak - 20.5)


def test_the_page_loads_nothing_and_names_its_units(tmp_path):
    folders = []
    for gpus in (1, 2):
        synthetic.scaled_run(gpus, steps=6).write(tmp_path / str(gpus))
        folders.append(tmp_path / str(gpus))
    report(tmp_path, *folders, "--png", tmp_path / "png")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://", re.sub(r'src="data:[^"]*"', "", page))
    assert {path.name for path in (tmp_path / "png").iterdir()} == {
        f"{name}.png" for name in ("advice", "scaling", "step_scaling", "account", "timeline", "parts", "communication", "items", "steps",
                                  "vram_peaks", "vram_timeline")}


def test_every_axis_has_a_unit():
    from wan_analysis.report import Report
    from wan_analysis.study import make_study
    from wan_analysis.trace_file import read_traces

    charts = Report(make_study(read_traces([PROJECT / "analysis" / "results" / "wan_batch_4xh200.h5"])), {}, "title").charts
    assert len(charts) == 8
    for chart in charts:
        for axis in chart.figure.axes:
            assert re.search(r"\[.+\]", axis.get_ylabel()), axis.get_title()
        assert re.search(r"\[.+\]|rank|run", chart.figure.axes[-1].get_xlabel())


def test_steps_of_several_sizes_have_keys_of_their_own(tmp_path):
    run = synthetic.scaled_run(2, items=2, steps=4, sizes=((832, 480, 81), (1280, 720, 81)))
    run.write(tmp_path / "out")
    found = report(tmp_path, tmp_path / "out")
    for size in ("832x480x81", "1280x720x81"):
        keys = [f"{table}/{run.name}/{size}/cfg2 x ulysses1, sharded over 2" for table in ("steps", "parts", "factors")]
        assert found[f"{keys[0]}/gpu_s"] == pytest.approx(found[f"{keys[1]}/sum"] - found[f"{keys[1]}/between_steps"])
        assert found[f"{keys[2]}/efficiency_percent"] == pytest.approx(100)


@pytest.mark.parametrize(("precisions", "compared"), [(("exact", "bf16"), 2), (("fp32", "bf16"), 1)])
def test_the_earlier_word_for_bf16_is_the_same_precision(tmp_path, precisions, compared):
    from wan_analysis.study import make_study
    from wan_analysis.trace_file import read_traces

    folders = [tmp_path / precision for precision in precisions]
    for gpus, (folder, precision) in enumerate(zip(folders, precisions, strict=True), 1):
        run = synthetic.scaled_run(gpus, steps=3)
        run.attributes["precision"] = precision
        run.write(folder)
    assert len(make_study(read_traces([folder / "trace.h5" for folder in folders])).scaling) == compared


def damaged(tmp_path: Path, how: str) -> list[object]:
    """A good run and one that is damaged in the way named; the arguments for the report."""
    good, bad = synthetic.scaled_run(1, steps=6), synthetic.scaled_run(2, steps=6)
    good.write(tmp_path / "good")
    if how == "mixed models":
        bad.attributes["task"] = "t2v-A14B"
    if how == "mixed sizes":
        bad.sizes = ((1280, 720, 81),)
    bad.write(tmp_path / "bad")
    file = tmp_path / "bad" / "trace" / f"{bad.name}-g00.h5"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:3000])
    elif how == "no HDF5":
        file.write_text("nothing\n")
    elif how == "missing":
        file.unlink()
    elif how == "another version":
        with h5py.File(file, "a") as trace:
            del trace["steps/wall_s"]
    elif how == "one rank":
        with h5py.File(file, "a") as trace:
            keep = trace["steps/world_rank"][:] == 0
            for name in list(trace["steps"]):
                values = trace["steps"][name][:][keep]
                kind = trace["steps"][name].dtype
                del trace["steps"][name]
                trace["steps"].create_dataset(name, data=values, dtype=kind)
    elif how == "killed in mid-item":
        with h5py.File(file, "a") as trace:
            keep = trace["phases/phase"][:] != b"decode"
            for name in list(trace["phases"]):
                values = trace["phases"][name][:][keep]
                del trace["phases"][name]
                trace["phases"].create_dataset(name, data=values)
    return [tmp_path / "good", tmp_path / "bad"]


@pytest.mark.parametrize(("how", "said"), [
    ("truncated", "truncated"), ("no HDF5", "cannot be read as an HDF5 file"), ("missing", "does not exist"),
    ("another version", "lacks the columns 'wall_s'"), ("one rank", "steps of 1 of 2 ranks only"),
    ("killed in mid-item", "stopped after 6 of 6 steps"), ("mixed models", "left out of the scaling"),
    ("mixed sizes", "left out of the scaling")])
def test_what_is_wrong_is_named_and_the_rest_reported(tmp_path, capsys, how, said):
    found = report(tmp_path, *damaged(tmp_path, how))
    assert said in capsys.readouterr().err
    assert "To know before reading on" in (tmp_path / "report.html").read_text(encoding="utf-8")
    good = synthetic.scaled_run(1).name
    assert found[f"items/{good}/done"] == 1


def test_nothing_to_report_is_an_error(tmp_path, capsys):
    assert main(["report", str(tmp_path / "absent"), "-o", str(tmp_path / "r.html")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
