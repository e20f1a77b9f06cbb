"""Tables and timelines for other programs hold the trace's seconds, rank by rank and part by part."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import synthetic
import synthetic1
from wan_analysis.cli import main
from wan_analysis.trace_format import PARTS

PROJECT = Path(__file__).resolve().parents[2]
H200 = PROJECT / "analysis" / "results" / "wan_batch_4xh200.h5"


def team(folder: Path) -> Path:
    """A team of two groups on two hosts, whose clocks differ."""
    parts_s = synthetic.scaled_parts(2, cfg=2, ulysses=1, fsdp=False)
    synthetic1.Start(group_size=2, groups=2, items=2, steps=5, clocks_s={1: 0.5, 2: -0.25, 3: 1.0}, ranks_per_host=2, noise=0.01,
                     joins=(synthetic1.Join(0, (0, 1), 1, 3),), parts_s=parts_s).write(folder)
    return folder


def seconds(*files: Path) -> dict[tuple[int, str], float]:
    """Seconds by rank and part, from the bare columns; the parts of the GPU."""
    found: dict[tuple[int, str], float] = {}
    for file in files:
        with h5py.File(file) as trace:
            ranks = trace["steps/world_rank"][:]
            for part in PARTS:
                values = trace[f"steps/gpu_{part}_s"][:]
                for rank in np.unique(ranks):
                    found[int(rank), part] = found.get((int(rank), part), 0.0) + float(values[ranks == rank].sum())
    return found


def export(tmp_path: Path, *traces: Path) -> tuple[dict[str, pd.DataFrame], list[dict]]:
    code = main(["export", *map(str, traces), "--csv", str(tmp_path / "csv"), "--perfetto", str(tmp_path / "timeline.json")])
    assert code == 0
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "csv").iterdir()}
    timeline = json.loads((tmp_path / "timeline.json").read_text(encoding="utf-8"))
    assert timeline["displayTimeUnit"] == "ms"
    return tables, timeline["traceEvents"]


@pytest.mark.parametrize("which", ["team", "h200"])
def test_seconds_by_rank_and_part_are_the_traces(tmp_path, which):
    source = H200 if which == "h200" else team(tmp_path / "out")
    expected = seconds(*([H200] if which == "h200" else sorted((source / "trace").iterdir())))
    tables, events = export(tmp_path, source)
    sums = tables["steps"].groupby("world_rank")[[f"{part}_s" for part in PARTS]].sum()
    shown: dict[tuple[int, str], float] = {}
    threads = {(event["pid"], event["tid"]): event["args"]["name"] for event in events if event["name"] == "thread_name"}
    for event in events:
        if event["ph"] == "X" and event["cat"] == "part of a step":
            rank = int(threads[event["pid"], event["tid"]].split(",")[0].removeprefix("rank "))
            shown[rank, event["name"]] = shown.get((rank, event["name"]), 0.0) + event["dur"] / 1e6
    for (rank, part), value in expected.items():
        assert sums.loc[rank, f"{part}_s"] == pytest.approx(value, rel=1e-12)
        assert shown.get((rank, part), 0.0) == pytest.approx(value, abs=1e-7)


def test_the_timeline_is_a_chrome_trace(tmp_path):
    _, events = export(tmp_path, team(tmp_path / "out"))
    for event in events:
        assert event["ph"] in "XMCbe"
        assert isinstance(event["pid"], int)
        assert isinstance(event["name"], str)
        assert event["ph"] == "M" or (isinstance(event["ts"], float) and event["ts"] > -2e6)  # a clock began before rank 0's
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert isinstance(event["tid"], int)
        if event["ph"] in "be":
            assert {"id", "cat"} <= event.keys()
        if event["ph"] == "C":
            assert all(isinstance(value, float) for value in event["args"].values())
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == ["node1, start 20260101T000000Z-00000001", "node2, start 20260101T000000Z-00000001"]
    threads = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert threads == [f"rank {rank}, NVIDIA H200, GPU-0000-{rank:04x}" for rank in range(4)]
    counters = {event["name"] for event in events if event["ph"] == "C"}
    assert {"rank 3: memory [GiB]", "rank 3: power [W]", "rank 3: SM clock [MHz]"} <= counters
    items = [event["name"] for event in events if event["ph"] == "b"]
    assert sorted(items) == ["g0-item0", "g0-item1", "g0-item1", "g1-item0", "g1-item1"]


def test_slices_of_a_thread_nest(tmp_path):
    for source in (team(tmp_path / "out"), H200):
        _, events = export(tmp_path, source)
        of_thread: dict[tuple[int, int], list[tuple[float, float, str]]] = {}
        for event in events:
            if event["ph"] == "X":
                of_thread.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"], event["cat"]))
        inside = 0
        for slices in of_thread.values():
            stack: list[tuple[float, float, str]] = []
            for begin, end, kind in slices:
                while stack and stack[-1][1] <= begin + 0.01:
                    stack.pop()
                assert not stack or end <= stack[-1][1] + 2.01, (kind, begin, end, stack[-1])
                inside += kind == "part of a step" and bool(stack) and stack[-1][2] == "step"
                stack.append((begin, end, kind))
        assert inside > 0.9 * sum(event["ph"] == "X" and event["cat"] == "part of a step" for event in events)


def test_two_starts_lie_at_their_times_of_day(tmp_path):
    for number, started in enumerate(("2026-01-01T00:00:00.250000Z", "2026-01-01T01:00:00.750000Z")):
        synthetic1.Start(name=f"r{number}", seed=number, started=started, steps=2, samples_every_s=0).write(tmp_path / "out")
    tables, events = export(tmp_path, tmp_path / "out")
    begins = sorted(event["ts"] for event in events if event["ph"] == "X" and event["name"] == "start_up")
    assert begins == pytest.approx([0.0, 3600.5e6])
    assert set(tables["starts"]["campaign"]) == {"1 out"}


def test_every_column_of_a_table_is_explained(tmp_path):
    tables, _ = export(tmp_path, team(tmp_path / "out"))
    described = tables.pop("columns")
    assert set(zip(described["file"], described["column"], strict=True)) == {
        (f"{name}.csv", column) for name, table in tables.items() for column in table}
    assert described[["unit", "meaning"]].notna().all(axis=None)
    units = dict(zip(described["column"], described["unit"], strict=True))
    assert (units["wall_s"], units["sent_bytes"], units["width_pixel"], units["steps_rank_s"]) == ("s", "byte", "pixel", "rank-second")
    assert tables["steps"]["start_s"].groupby([tables["steps"]["item_id"], tables["steps"]["step"]]).nunique().max() <= 2


def test_the_kernel_of_a_stretch_is_not_called_a_time(tmp_path):
    stretches = export(tmp_path, team(tmp_path / "out"))[0]["stretches"]
    assert "attention_s" not in stretches
    assert set(stretches["attention_backend"]) == {"cudnn"}


def test_what_is_not_known_is_an_empty_cell(tmp_path):
    export(tmp_path, H200)
    with (tmp_path / "csv" / "steps.csv").open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert (row["passes"], row["placement"], row["solver"], row["layout"]) == ("", "", "", "cfg2 x ulysses2")


def test_nothing_is_written_without_a_trace_or_a_place(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--csv", str(tmp_path / "csv")]) == 1
    assert not (tmp_path / "csv").exists()
    assert main(["export", str(H200)]) == 2
    (tmp_path / "file").write_text("")
    assert main(["export", str(H200), "--csv", str(tmp_path / "file" / "csv")]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_no_name_becomes_a_formula_of_a_spreadsheet(tmp_path):
    synthetic1.Start(items=3, steps=2, ids=("=1+2", "@SUM(A1)", "plain")).write(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--csv", str(tmp_path / "csv")]) == 0
    with (tmp_path / "csv" / "items.csv").open(newline="", encoding="utf-8") as file:
        assert [row["item_id"] for row in csv.DictReader(file)] == ["'=1+2", "'@SUM(A1)", "plain"]
    with (tmp_path / "csv" / "steps.csv").open(newline="", encoding="utf-8") as file:
        assert {row["item_id"] for row in csv.DictReader(file)} == {"'=1+2", "'@SUM(A1)", "plain"}


def test_digests_keep_all_their_bits_beside_one_that_is_not_known(tmp_path):
    synthetic1.Start(steps=5, digests={1: -5, 2: -1, 3: 2**62 + 1}).write(tmp_path)
    assert main(["export", str(tmp_path), "--csv", str(tmp_path / "csv")]) == 0
    with (tmp_path / "csv" / "steps.csv").open() as file:
        found = [row["latent_digest"] for row in csv.DictReader(file)]
    assert found == ["1000003", "-5", "", str(2**62 + 1), "5000015"]
