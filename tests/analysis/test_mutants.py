"""Damaged traces: each is read or refused in one line; nothing crashes, hangs or asks for much memory.

100 mutations by default, 2,000 with WAN_NIGHTLY=1.
"""

import os
import shutil
import time
import warnings
from collections import Counter
from pathlib import Path

import h5py
import mutants
import numpy as np
import pytest
import synthetic1
from wan_analysis import reader_process
from wan_analysis.cli import main
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces

NIGHTLY = bool(os.environ.get("WAN_NIGHTLY"))
COUNT, REPORTS = (2000, 200) if NIGHTLY else (100, 4)
#: A file that makes HDF5 run for ever is given up after some seconds of CPU; the machine may be busy.
LONGEST_S = 90


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return mutants.originals(tmp_path_factory.mktemp("good"))


def test_no_mutation_stops_the_reader(good, tmp_path):
    read, lines = 0, 0
    for seed in range(COUNT):
        name = mutants.mutate(good[seed // len(mutants.MUTATIONS) % len(good)], tmp_path / "m", seed)
        begun_s = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            traces = read_traces([tmp_path / "m"])
            runs = gather_runs(traces.groups)
            for run in runs:
                tables = (run.rank_steps, run.steps, run.items, run.phases, run.stretches, run.samples, run.rank_info)
                assert all(len(table) < 1e6 for table in tables), (seed, name)
                walls = run.rank_walls()
                assert np.isfinite(walls).all(), (seed, name)
                assert run.gpus >= run.group_size >= 1, (seed, name)
                assert np.isfinite(run.rank_steps[["start_s", "wall_s"]]).all(axis=None), (seed, name)
        assert time.monotonic() - begun_s < LONGEST_S, (seed, name)
        said = Counter(problem.where for problem in traces.problems)
        assert max(said.values(), default=0) <= 1, (seed, name)
        assert all(str(problem).isprintable() and len(str(problem)) <= 2000 for problem in traces.problems), (seed, name)
        read, lines = read + bool(runs), lines + bool(traces.problems)
        shutil.rmtree(tmp_path / "m")
    assert COUNT * 0.4 < read < COUNT  # most damage leaves something to read
    assert COUNT * 0.3 < lines < COUNT


def test_no_mutation_stops_the_page(good, tmp_path, capfd):
    for seed in range(0, REPORTS * 7, 7):
        name = mutants.mutate(good[seed % len(good)], tmp_path / "m", seed)
        code = main(["report", str(tmp_path / "m"), "-o", str(tmp_path / "report.html")])
        said = capfd.readouterr().err
        assert code in (0, 1), (seed, name)
        assert all(line.startswith("wan_analysis: ") for line in said.splitlines()), (seed, name, said)
        shutil.rmtree(tmp_path / "m")


def test_texts_of_a_trace_are_only_texts_on_the_page(tmp_path):
    for number, text in enumerate(mutants.TEXTS):
        told = text.replace("\x00", "")
        start = synthetic1.Start(name=f"r{number}", seed=number, steps=1, samples_every_s=0, layout=told, ids=(told,))
        start.stretch, start.attributes = {"placement": told, "attention": told}, {"task": told, "host": told}
        start.write(tmp_path / "out")
    assert main(["report", str(tmp_path / "out"), "-o", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert not set(page) & {"\x1b", "\r", "\N{RIGHT-TO-LEFT OVERRIDE}"}


def read_one(path: Path) -> str:
    """The line about a file of which nothing can be read."""
    traces = read_traces([path])
    assert traces.groups == []
    (problem,) = traces.problems
    return str(problem)


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.h5")
    (tmp_path / "folder.h5" / "trace").mkdir(parents=True)
    (tmp_path / "device.h5").symlink_to("/dev/zero")
    (tmp_path / "nothing.h5").symlink_to("absent")
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    assert read_one(tmp_path / "fifo.h5").endswith("is a FIFO, not a trace")
    assert read_one(tmp_path / "device.h5").endswith("is a device, not a trace")
    assert read_one(tmp_path / "nothing.h5").endswith("is a link to nothing")
    assert "cannot be looked at" in read_one(tmp_path / "loop.h5")
    assert len(read_traces([tmp_path]).problems) == 5


@pytest.mark.parametrize("target", ["/dev/zero", "../outside.h5", "/etc/passwd"])
def test_an_index_does_not_lead_out_of_its_folder(tmp_path, target):
    synthetic1.Start(steps=2).write(tmp_path / "outside")
    (tmp_path / "out").mkdir()
    shutil.copy(next((tmp_path / "outside" / "trace").iterdir()), tmp_path / "outside.h5")
    with h5py.File(tmp_path / "out" / "trace.h5", "w") as index:
        index["away"] = h5py.ExternalLink(target, "/")
    assert "outside its folder; not followed" in read_one(tmp_path / "out")


def test_an_index_of_indices_is_not_followed(tmp_path):
    for number in range(700):
        with h5py.File(tmp_path / f"{number}.h5", "w") as index:
            index["next"] = h5py.ExternalLink(f"{number + 1}.h5", "/")
    assert "1.h5: is an index, and so is 0.h5, which links to it; not followed" in read_one(tmp_path / "0.h5")


def killed(*_: object) -> None:
    os.kill(os.getpid(), 11)


def endless(*_: object) -> None:
    while True:
        pass


def hungry(*_: object) -> object:
    return [bytearray(1 << 28) for _ in range(64)]


@pytest.mark.parametrize(("behaviour", "said"), [
    (killed, "HDF5 crashed on it (SIGSEGV)"), (endless, "HDF5 worked on it for more than 1 s")])
def test_a_file_that_breaks_hdf5_costs_one_line_and_the_next_file_is_read(tmp_path, monkeypatch, behaviour, said):
    for number in range(2):
        synthetic1.Start(name=f"r{number}", steps=2).write(tmp_path / "out")
    real = reader_process.read_raw
    monkeypatch.setattr(reader_process, "read_raw", lambda path: behaviour() if "r0" in path.name else real(path))
    monkeypatch.setattr(reader_process, "CPU_S", 1)
    traces = read_traces([tmp_path / "out"])
    assert [group.run for group in traces.groups] == ["r1"]
    (problem,) = traces.problems
    assert said in str(problem)


def test_a_file_that_wants_all_memory_is_refused(tmp_path, monkeypatch):
    from wan_analysis import raw_file
    synthetic1.Start(steps=2).write(tmp_path)
    monkeypatch.setattr(raw_file, "_read_tables", hungry)
    assert "asks for more memory than a trace of its size needs" in read_one(tmp_path)


def test_columns_that_claim_more_rows_than_the_file_can_hold_are_not_read(tmp_path):
    synthetic1.Start(steps=2).write(tmp_path)
    with h5py.File(next((tmp_path / "trace").iterdir()), "a") as trace:
        for column in trace["samples"].values():
            column.resize(10**12, axis=0)
    begun_s = time.process_time()
    traces = read_traces([tmp_path])
    assert time.process_time() - begun_s < 5
    assert "/samples: column 'time_s' says that it has 1000000000000 rows, more than fit into the file" in str(traces.problems[0])
    assert len(traces.groups[0].steps) == 2
