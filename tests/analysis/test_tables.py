"""The data frames of `wan_analysis.load`: their columns are those of the documents, and their numbers those of the files."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import step_tables
import wan_analysis
from synthetic1 import Join, Slow, Start
from wan_analysis.table_columns import TABLES

PROJECT = Path(__file__).resolve().parents[2]
FORMATS = [PROJECT / "tests" / "data" / "traces" / f"format{number}.h5" for number in range(3)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two starts: one rank, and two groups of two of which group 0 takes group 1 into its team. Rank 2 is slow."""
    folder = tmp_path_factory.mktemp("tables")
    Start(name="r1", items=2, steps=4, seed=1).write(folder / "one")
    Start(name="r2", group_size=2, groups=2, items=2, steps=5, clocks_s={1: 0.5, 3: 1.0}, ranks_per_host=2, noise=0.01,
          joins=(Join(0, (0, 1), 1, 3),), slow=(Slow(2, "linear", 1.2),)).write(folder / "four")
    return wan_analysis.load(folder / "one", str(folder / "four")), folder


def check_columns(study):
    for name, columns in TABLES.items():
        table = getattr(study, name)
        assert list(table.columns) == [column.name for column in columns], name
        assert [str(table[column.name].dtype) for column in columns] == [column.dtype for column in columns], name
        assert list(table.index) == list(range(len(table)))


def test_every_table_has_the_columns_and_dtypes_that_are_promised(study):
    check_columns(study[0])
    assert study[0].problems == []


@pytest.mark.parametrize("path", [*FORMATS, *step_tables.REAL_TRACES], ids=lambda path: path.stem)
def test_traces_of_every_format_have_the_same_columns(path):
    check_columns(wan_analysis.load(path))


def test_the_page_lists_every_column():
    page = (PROJECT / "analysis" / "data_frames.md").read_text(encoding="utf-8")
    listed = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in page.splitlines() if line.startswith("| `")]
    described = wan_analysis.columns()
    expected = [(f"`{row.table}`", f"`{row.column}`", row.dtype, row.unit, row.meaning) for row in described.itertuples()]
    assert listed == expected
    assert not described.duplicated(["table", "column"]).any()
    for row in described.itertuples():
        unit = {"s": "_s", "byte": "_bytes", "pixel": "_pixel", "W": "_w", "degC": "_c", "MHz": "_mhz"}.get(row.unit, "")
        assert row.column.endswith(unit), row.column


def test_stable_names_are_there():
    assert wan_analysis.__all__ == ["StudyTables", "__version__", "columns", "load"]
    assert all(hasattr(wan_analysis, name) for name in wan_analysis.__all__)
    assert set(TABLES) <= set(vars(wan_analysis.StudyTables))


def test_steps_are_those_of_the_files(study):
    tables, folder = study
    for run, name in (("r1", "one"), ("r2", "four")):
        own = tables.steps[tables.steps["run"] == run]
        wall = attention = rows = sent = 0.0
        for path in (folder / name / "trace").iterdir():
            with h5py.File(path) as file:
                wall += file["steps/wall_s"][:].sum()
                attention += file["steps/gpu_attention_s"][:].sum()
                sent += file["steps/sent_bytes"][:].sum()
                rows += len(file["steps/step"])
        assert (len(own), own["sent_bytes"].sum()) == (rows, sent)
        assert own["wall_s"].sum() == pytest.approx(wall, rel=1e-12)
        assert own["attention_s"].sum() == pytest.approx(attention, rel=1e-12)
    assert set(tables.steps.loc[tables.steps["team_width"] == 2, "item_id"]) == {"g0-item1"}


def test_times_of_all_ranks_are_on_one_clock(study):
    steps = study[0].steps
    begins = steps.groupby(["run", "group", "item", "step"])["start_s"].agg(["min", "max"])
    assert (begins["max"] - begins["min"]).max() < 1e-6


def test_tables_join_by_their_common_columns(study):
    tables, _ = study
    joined = tables.steps.merge(tables.ranks[["run", "world_rank", "gpu_uuid"]], on=["run", "world_rank"], validate="many_to_one")
    assert len(joined) == len(tables.steps)
    joined = tables.phases.dropna(subset="item").merge(tables.items, on=["run", "group", "item"], validate="many_to_one")
    assert (joined["item_id_x"] == joined["item_id_y"]).all()
    of_run = tables.phases[tables.phases["phase"] == "load"]
    assert of_run["item"].isna().all()
    assert len(of_run) == 5


def test_runs_agree_with_the_other_tables(study):
    tables, _ = study
    runs = tables.runs.set_index("run")
    assert list(runs["ranks"]) == [1, 4]
    assert list(runs["group_size"]) == [1, 2]
    assert list(runs["items_done"]) == [2, 4]
    for run, row in runs.iterrows():
        items = tables.items[(tables.items["run"] == run)]
        seconds = items["end_s"].max() - items["start_s"].min()
        assert row["items_s"] == pytest.approx(seconds, rel=1e-12)
        assert row["items_per_hour"] == pytest.approx(3600 * row["items_done"] / seconds, rel=1e-12)
        assert row["rank_s_per_item"] == pytest.approx(row["ranks"] * seconds / row["items_done"], rel=1e-12)
        factors = tables.factors[tables.factors["run"] == run]
        assert len(factors) == 7
        assert factors["value"].prod() == pytest.approx(row["efficiency"], rel=1e-12)
        spans = tables.ranks[tables.ranks["run"] == run]
        assert row["wall_s"] == (spans["end_s"] - spans["start_s"]).max()
        lost = (1 - row["efficiency"]) * (spans["end_s"] - spans["start_s"]).sum()
        assert factors["lost_rank_s"].sum() == pytest.approx(lost, rel=1e-9)


def test_a_value_that_is_not_known_is_missing_and_never_a_number():
    study = wan_analysis.load(PROJECT / "analysis" / "results" / "wan_batch_4xh200.h5")
    steps = study.steps
    assert steps["solver"].isna().all()
    assert steps["passes"].isna().all()
    assert not steps["wall_s"].isna().any()
    assert study.ranks["numa_node"].isna().all()
    for row in wan_analysis.columns().itertuples():
        values = getattr(study, row.table)[row.column]
        if row.dtype == "Int64" and row.column != "seed":
            assert not (values.dropna() < 0).any(), row
        if row.dtype == "string":
            assert not (values.dropna() == "unknown").any(), row


def test_a_part_that_cannot_be_read_is_a_problem_and_nothing_is_an_error(tmp_path):
    Start(name="r1", steps=2).write(tmp_path / "good")
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    tables = wan_analysis.load(tmp_path / "good", tmp_path / "bad.h5")
    assert len(tables.runs) == 1
    assert any("bad.h5" in problem for problem in tables.problems)
    with pytest.raises(ValueError, match=r"bad\.h5"):
        wan_analysis.load(tmp_path / "bad.h5")
    with pytest.raises(ValueError, match="no path was given"):
        wan_analysis.load()


def test_a_start_that_was_killed_before_its_first_step_is_a_row(tmp_path):
    Start(name="r1", steps=3, killed_after=(0, 0)).write(tmp_path)
    tables = wan_analysis.load(tmp_path)
    check_columns(tables)
    assert len(tables.steps) == 0
    assert tables.runs.loc[0, "items_done"] == 0
    assert np.isnan(tables.runs.loc[0, "items_per_hour"])
    assert tables.runs.loc[0, "exit_reason"] is pd.NA
