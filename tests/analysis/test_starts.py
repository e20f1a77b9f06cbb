"""Which traces belong to one start of the program: a row of the page for every start, and none twice."""

import re
import shutil
from pathlib import Path

import h5py
import pytest
import synthetic
from wan_analysis.cli import main
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces

DATA = re.compile(r'<data value="([^"]+)" data-key="([^"]+)">')


def scaling_rows(tmp_path: Path, *traces: Path) -> list[tuple[int, int, float]]:
    """GPUs, groups and speed-up of every row of the page's first table."""
    page = tmp_path / "report.html"
    assert main(["report", *map(str, traces), "-o", str(page)]) == 0
    rows: dict[str, dict[str, float]] = {}
    for value, key in DATA.findall(page.read_text(encoding="utf-8")):
        table, name, *what = key.split("/")
        if table == "scaling":
            rows.setdefault(name, {})[what[0]] = float(value)
    return [(int(row["gpus"]), int(row["groups"]), round(row["speedup"], 2)) for row in rows.values()]


def old_bench(folder: Path, gpus: int, *, groups: int = 1, started: str = "2026-01-01T00:00:00Z", **options: object) -> Path:
    """A trace as wan_bench 0.1.0 wrote it: called "bench", its layout empty."""
    run = synthetic.scaled_run(gpus, steps=4, name="bench", groups=groups, attributes={"started": started, "task": "i2v-A14B"}, **options)
    run.layout = ""
    run.write(folder)
    return folder


def test_old_traces_that_are_all_called_bench_are_rows_of_their_own(tmp_path):
    folders = [old_bench(tmp_path / f"gpus_{gpus}", gpus) for gpus in (1, 2, 4)]
    rows = scaling_rows(tmp_path, *folders)
    assert [row[:2] for row in rows] == [(1, 1), (2, 1), (4, 1)]
    assert rows[0][2] == 1.0
    assert 1.8 < rows[1][2] < 2.0 < 3.0 < rows[2][2] < 4.0


def test_groups_of_an_old_bench_stay_together(tmp_path):
    assert [row[:2] for row in scaling_rows(tmp_path, old_bench(tmp_path / "out", 1, groups=4))] == [(4, 4)]


def test_what_an_earlier_old_bench_left_in_the_folder_is_kept_apart(tmp_path):
    folder = old_bench(tmp_path / "out", 1, groups=4)
    old_bench(folder, 1, groups=2, started="2026-01-02T00:00:00Z", seed=5)  # replaces the files of groups 0 and 1
    runs = gather_runs(read_traces([folder]).groups)
    assert sorted((run.gpus, len(run.groups)) for run in runs) == [(2, 2), (4, 2)]  # all ranks of a start count
    assert len({run.name for run in runs}) == 2
    assert any("only 2 of its 4 groups" in str(problem) for run in runs for problem in run.problems)


def test_two_starts_in_one_folder_are_one_batch_on_the_same_gpus(tmp_path):
    for start in range(2):
        run = synthetic.scaled_run(2, steps=4, name=f"20260101T00000{start}Z-0000000{start}", seed=start)
        run.attributes["started"] = f"2026-01-01T0{start}:00:00Z"
        run.write(tmp_path / "out")
    runs = gather_runs(read_traces([tmp_path / "out"]).groups)
    assert [run.gpus for run in runs] == [2, 2]
    assert [row[0] for row in scaling_rows(tmp_path, tmp_path / "out")] == [2]


@pytest.mark.parametrize("name", ["bench", "20260101T000000Z-00000001"])
def test_a_copied_folder_counts_once(tmp_path, capsys, name):
    synthetic.scaled_run(2, steps=4, name=name).write(tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    synthetic.scaled_run(1, steps=4).write(tmp_path / "base")
    rows = scaling_rows(tmp_path, tmp_path / "out", tmp_path / "copy", tmp_path / "base")
    assert [row[:2] for row in rows] == [(1, 1), (2, 1)]
    assert "is a copy of" in capsys.readouterr().err


def test_of_a_copy_made_while_the_run_went_on_the_longer_one_counts(tmp_path):
    synthetic.scaled_run(2, steps=8, name="20260101T000000Z-00000001").write(tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "early")
    with h5py.File(next((tmp_path / "early" / "trace").glob("*.h5")), "a") as file:
        for dataset in file["steps"].values():
            dataset.resize(6, axis=0)  # three steps of two ranks
    (run,) = gather_runs(read_traces([tmp_path / "early", tmp_path / "out"]).groups)
    assert len(run.steps) == 8


def test_the_same_id_with_other_steps_is_another_start(tmp_path):
    for place in range(2):
        synthetic.scaled_run(2, steps=4, name="20260101T000000Z-00000001", seed=place, noise=0.01).write(tmp_path / str(place))
    runs = gather_runs(read_traces([tmp_path / "0", tmp_path / "1"]).groups)
    assert [run.name for run in runs] == ["20260101T000000Z-00000001 (0)", "20260101T000000Z-00000001 (1)"]


def test_many_starts_have_labels_of_their_own(tmp_path):
    for start in range(30):
        synthetic.scaled_run(1, steps=1, samples=False, name=f"20260101T000000Z-{start:08x}", seed=start).write(tmp_path / "out")
    assert len({run.label for run in gather_runs(read_traces([tmp_path / "out"]).groups)}) == 30
