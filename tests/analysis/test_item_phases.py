"""The figures of an item's phases that the planner takes, against the bare columns of the traces."""

import h5py
import numpy as np
import pytest
import synthetic
from wan_analysis.item_phases import item_phases_s
from wan_analysis.measured import measured_values
from wan_analysis.study import make_study
from wan_analysis.trace_file import read_traces


def study_of(*paths):
    return make_study(read_traces(list(paths)))


def test_the_first_item_is_left_out_and_other_sizes_too(tmp_path):
    run = synthetic.Synthetic(items=6, steps=3, noise=0.2, sizes=((832, 480, 81), (1280, 720, 81)))
    run.write(tmp_path)
    study = study_of(tmp_path)
    with h5py.File(tmp_path / "trace" / f"{run.name}-g00.h5") as trace:
        names, items, walls = (trace[f"phases/{name}"][:] for name in ("phase", "item", "wall_s"))
    rows = {row.work.size: row for table in study.step_tables for row in table.rows}
    for size, places in (((832, 480, 81), (2, 4)), ((1280, 720, 81), (3, 5))):
        phases = item_phases_s(rows[size])
        wanted = [walls[(names == b"encode") & (items == place)].sum() for place in places]
        assert phases["encode"] == pytest.approx(np.median(wanted))
        assert "decode" not in phases  # format 0: the video was written within it


def test_writing_is_a_figure_of_its_own():
    study = study_of(synthetic.Path(__file__).resolve().parents[1] / "data" / "traces" / "format2.h5")
    (entry,) = measured_values(study.cases, study.step_tables)
    assert set(entry["item_phases_s"]) == {"text", "encode", "decode", "write"}
    assert entry["item_phases_s"]["write"]["median"] > 1e-3 > entry["phases_s"].get("write", {"median": 0})["median"]
    assert (entry["nodes"], entry["item_phases_s"]["write"]["n"]) == (1, 1)
