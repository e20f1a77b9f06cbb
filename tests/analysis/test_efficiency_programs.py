"""Efficiency of the real program on CPU ranks: idle ranks count, other work is named, other ways of computing are series of their own."""

import os
import shutil
import subprocess
from pathlib import Path

import h5py
import pytest
from wan_analysis.study import make_study
from wan_analysis.trace_file import read_traces

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("WAN_BATCH", PROJECT / "build" / "bin" / "wan_batch"))
MPIEXEC = os.environ.get("WAN_MPIEXEC") or shutil.which("mpirun")
NIGHTLY = bool(os.environ.get("WAN_NIGHTLY"))
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}

pytestmark = pytest.mark.skipif(not PROGRAM.exists() or MPIEXEC is None, reason="wan_batch is not built, or there is no mpirun")


def run(folder: Path, ranks: int, *options: str, prompt: str = "a cat", steps: int = 3) -> Path:
    """One item on so many ranks; its output folder."""
    folder.mkdir()
    (folder / "rows.csv").write_text(
        f"image,prompt,size,frame_num,sample_steps\n{PROJECT}/inputs/toy/images/cat_on_beach.png,{prompt},96*64,5,{steps}\n")
    launcher = [MPIEXEC, "--oversubscribe", "-np", str(ranks)] if ranks > 1 else []
    command = [*launcher, PROGRAM, "--ckpt-dir", PROJECT / "inputs/toy/checkpoint", "--device", "cpu", "--base-seed", "1", "--log-level",
               "quiet", "--output-dir", folder / "out", *options, folder / "rows.csv"]
    subprocess.run(list(map(str, command)), env=os.environ | ENVIRONMENT, check=True, timeout=300)
    return folder / "out"


def item_seconds(out: Path) -> float:
    """From the first row of the item to its end, from the bare columns of the file that has them."""
    for path in sorted((out / "trace").glob("*.h5")):
        with h5py.File(path) as trace:
            of_item = trace["phases/item"][:] >= 0
            if of_item.any():
                return float(trace["item_ends/time_s"][0] - min(trace["phases/start_s"][of_item].min(), trace["stretches/start_s"][0]))
    raise AssertionError(f"{out}: no item")


def test_three_idle_ranks_of_four(tmp_path):  # A3
    steps = 400 if NIGHTLY else 3
    alone = run(tmp_path / "alone", 1, steps=steps)
    idle = run(tmp_path / "idle", 4, "--group-size", "1", "--join-groups", "off", steps=steps)
    base, row = make_study(read_traces([alone, idle])).scaling
    assert (base.figures.gpus, row.figures.gpus, row.figures.groups) == (1, 4, 4)
    assert row.efficiency == pytest.approx(item_seconds(alone) / item_seconds(idle) / 4, rel=0.01)
    assert row.efficiency_with_load < 1
    if NIGHTLY:  # the other tests may take the cores away from a short item
        assert 0.20 <= row.efficiency <= 0.28


def test_other_work_and_other_ways_of_computing(tmp_path):  # A5, A6
    outs = [run(tmp_path / "plain", 2), run(tmp_path / "sharded", 2, "--dit-fsdp", "on")]
    others = [run(tmp_path / "guidance", 2, "--sample-guide-scale", "1")]
    if NIGHTLY:
        outs += [run(tmp_path / "reference", 2, "--attention", "reference"), run(tmp_path / "alone", 1)]
        others.append(run(tmp_path / "manifest", 2, prompt="a dog"))
    study = make_study(read_traces([*outs, *others]))
    names = {row.figures.run.groups[0].path.parents[2].name: row.figures.layouts for row in study.scaling}
    assert names.keys() == {out.parent.name for out in outs}
    assert len({str(layouts) for layouts in names.values()}) == len(outs)
    assert "sharded over 2" in names["sharded"][0]
    said = "\n".join(str(problem) for problem in study.problems)
    assert "did other work: passes of a step: 1 (guidance 1" in said
    if NIGHTLY:
        assert "attention reference" in names["reference"][0]
        assert "did other work: manifest: 1 items" in said
