"""The example notebook: its own cells run on a study whose truth is known. With WAN_NIGHTLY=1 nbclient runs it in test_package.py."""

import json
from pathlib import Path

import matplotlib as mpl
import pytest
from synthetic1 import Slow, Start

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOK = PROJECT / "analysis" / "examples" / "three_questions.ipynb"
PARTS = {"attention": 2.66, "linear": 2.24, "elementwise": 0.21, "weight_gather": 0.0, "host_copy": 0.02, "wait": 0.0}
ITEMS, STEPS, LONGER = 2, 5, 1.1


def write_study(folder: Path, *, slow: bool = True) -> None:
    """One group of 1, 2 and 4 ranks. Ranks above the first exchange 0.3 s a step; of 4 ranks, rank 2 computes longer in linear."""
    for ranks in (1, 2, 4):
        parts_s = {part: seconds / ranks for part, seconds in PARTS.items()} | {"all_to_all": 0.0 if ranks == 1 else 0.3}
        late = (Slow(2, "linear", LONGER),) if slow and ranks == 4 else ()
        Start(name=f"r{ranks}", seed=ranks, group_size=ranks, items=ITEMS, steps=STEPS, parts_s=parts_s, noise=0.001, slow=late,
              layout=f"cfg{min(ranks, 2)} x ulysses{max(1, ranks // 2)}").write(folder / f"outputs_{ranks}gpu")


def run_cells(folder: Path, monkeypatch) -> dict:
    """The notebook's names after its last cell."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    mpl.use("Agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict = {}
    for number, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
    mpl.pyplot.close("all")
    return names


def test_the_cells_answer_the_three_questions(tmp_path, monkeypatch, capsys):
    write_study(tmp_path)
    names = run_cells(tmp_path, monkeypatch)
    choice, account, late, runs = (names[name] for name in ("choice", "account", "late", "runs"))
    assert list(runs["ranks"]) == [1, 2, 4]
    for run, row in choice.iterrows():
        rate = runs.loc[run, "items_done"] / runs.loc[run, "items_s"]
        assert row["hours"] == pytest.approx((20.0 + 500 / rate) / 3600, rel=1e-9)  # 0.5 s of start-up and 19.5 s of load
        assert row["rank_hours"] == pytest.approx(row["hours"] * row["ranks"])
    assert choice["rank_hours"].is_monotonic_increasing
    for column, run in zip(account, runs.index, strict=True):
        spans = names["spans"][names["spans"]["run"] == run]
        assert account[column].sum() == pytest.approx(spans["rank_s"].sum() / ITEMS, rel=1e-9)
    assert account["1"]["transfer"] == 0
    assert account["2"]["transfer"] == pytest.approx(2 * 0.3 * STEPS, rel=0.01)
    (gpu,) = late.itertuples()
    assert (gpu.run, gpu.world_rank, gpu.gpu_uuid) == ("r4", 2, "GPU-0004-0002")
    computing = sum(PARTS[part] for part in ("attention", "linear", "elementwise"))
    assert gpu.later == pytest.approx((LONGER - 1) * PARTS["linear"] / computing, abs=0.003)
    said = capsys.readouterr().out
    assert "on 1 GPU: 500 videos in" in said
    assert "Look at rank 2 of r4: host node1, GPU-0004-0002. It computes 4." in said


def test_equal_gpus_are_not_blamed(tmp_path, monkeypatch, capsys):
    write_study(tmp_path, slow=False)
    assert run_cells(tmp_path, monkeypatch)["late"].empty
    assert "No rank computes more than 3 % longer" in capsys.readouterr().out


def test_the_notebook_is_small_and_has_no_outputs():
    assert NOTEBOOK.stat().st_size < 12_000
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in notebook["cells"] if cell["cell_type"] == "code")
