"""Folders as people and machines leave them: damaged records, copies, full disks, Ctrl-C. No traceback, and nothing is lost in silence."""

import json
import resource
import shutil
from pathlib import Path

import pytest
from synthetic1 import Start
from wan_analysis.cli import main
from wan_analysis.study_record import StartRecord, StudyCase, StudyError, StudyRecord, read_record
from wan_analysis.trace_file import read_traces
from wan_analysis.whole_file import write_whole

LINE = {"case": "gpus_1", "number": 1, "folder": "gpus_1/start_1", "exit_code": 0, "wall_s": 1.0, "began": ""}


@pytest.fixture
def study(tmp_path):
    """A study of three starts on one GPU."""
    folder = tmp_path / "a study's \"folder\""
    folder.mkdir()
    record = StudyRecord("wan_bench", [StudyCase("gpus_1", 1)], [], 1, 3, 3, 0.01)
    record.write_settings(folder)
    for number in (1, 2, 3):
        Start(f"20260101T00000{number}Z-{number}", attributes={"program": "wan_bench"}).write(folder / f"gpus_1/start_{number}")
        record.add(folder, StartRecord("gpus_1", number, f"gpus_1/start_{number}", 0, 2.0, "now"))
    return folder


def lines_of(study):
    return (study / "starts.jsonl").read_text().splitlines()


@pytest.mark.parametrize("change", [{"number": float("inf")}, {"exit_code": float("-inf")}, {"number": "x"}, {"folder": "../../etc"},
                                    {"folder": "/etc"}, {"folder": "a\0b"}])
def test_a_line_that_cannot_be_true_is_no_start(study, change):
    with (study / "starts.jsonl").open("a") as lines:
        lines.write(json.dumps(LINE | {"folder": "gpus_1/start_9"} | change) + "\n")
    assert [start.number for start in read_record(study).starts] == [1, 2, 3]


@pytest.mark.parametrize(("key", "value"), [("seed", float("inf"))] + [
    ("cases", [{"name": name, "ranks": 1, "options": []}]) for name in ("/gpus_1", "", "..", "a\0b")])
def test_a_record_that_cannot_be_true_is_no_study(study, key, value):
    values = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(values | {key: value}))
    with pytest.raises(StudyError, match="cannot be read as a study"):
        read_record(study)
    assert len(read_traces([study]).groups) == 3  # of the folder, whatever the record says


@pytest.mark.parametrize("file", ["study.json", "starts.jsonl"])
def test_a_record_nested_without_end_gives_no_traceback(study, file):
    (study / file).write_text("[" * 100_000 + "\n")
    assert len(read_traces([study]).groups) == (3 if file == "study.json" else 0)


def test_a_study_that_is_its_own_start_is_read_once(study):
    (study / "starts.jsonl").write_text(json.dumps(LINE | {"folder": "."}) + "\n")
    assert read_traces([study]).groups == []


def test_a_line_that_is_there_twice_counts_once(study):
    (study / "starts.jsonl").write_text("\n".join(lines_of(study) * 2) + "\n")
    assert [start.number for start in read_record(study).starts] == [1, 2, 3]


@pytest.mark.parametrize("kept", [[], [0], [0, 2]])
def test_starts_that_the_record_has_lost_are_named(study, kept):
    lines = lines_of(study)
    (study / "starts.jsonl").write_text("".join(lines[place] + "\n" for place in kept))
    found = read_traces([study])
    assert len(found.groups) == len(kept)
    (problem,) = found.problems
    assert problem.where == str(study / "starts.jsonl")
    assert problem.what.startswith(f"has no line of {3 - len(kept)} start")
    assert "gpus_1/start_2" in problem.what


def test_a_study_without_a_good_start_says_so(study):
    (study / "starts.jsonl").write_text("".join(json.dumps(json.loads(line) | {"exit_code": 1}) + "\n" for line in lines_of(study)))
    (problem,) = read_traces([study]).problems
    assert (problem.where, problem.what) == (str(study), "holds a study none of whose starts ended well")


def bench(tmp_path):
    """A stand-in of wan_bench, which leaves no trace."""
    script = tmp_path / "wan_bench"
    script.write_text("#!/bin/bash\nexit 0\n")
    script.chmod(0o755)
    return script


def test_a_study_that_lost_lines_goes_on_beside_what_is_there(study, tmp_path):
    """Start 1 has neither a line nor a trace; 3 starts are wanted, and number 3 is taken."""
    (study / "starts.jsonl").write_text("".join(line + "\n" for line in lines_of(study)[1:]))
    shutil.rmtree(study / "gpus_1/start_1" / "trace")
    main(["study", "-o", str(study), "--case", "1", "--starts", "3", "--most-starts", "3", "--launch", "1 env", "--", str(bench(tmp_path))])
    assert [start.number for start in read_record(study).starts] == [2, 3, 4]


def test_folders_that_the_study_did_not_make_are_left_alone(study, tmp_path):
    for name in ("start_1_copy", "start_mine", "start_"):
        (study / "gpus_1" / name).mkdir()
        (study / "gpus_1" / name / "notes.txt").write_text("mine")
    main(["study", "-o", str(study), "--case", "1", "--starts", "3", "--most-starts", "3", "--launch", "1 env", "--", str(bench(tmp_path))])
    assert len(list(study.glob("gpus_1/*/notes.txt"))) == 3


def test_a_full_disk_leaves_the_earlier_file_and_is_named(tmp_path):
    page = tmp_path / "report.html"
    write_whole(page, "earlier")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_whole(page, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(page)
    assert page.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_file_that_is_no_regular_one_is_written_to(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(Path("/dev/full"), "x")
    assert caught.value.filename == "/dev/full"
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    write_whole(tmp_path / "link", "x")
    assert target.read_text() == "x" and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("words", [["report", "-o", "/dev/full"], ["model", "--json", "/dev/full"],
                                   ["export", "--perfetto", "/dev/full"]])
def test_a_full_disk_is_told_with_the_file(study, capsys, words):
    command, *options = words
    assert main([command, str(study), *options]) == 1
    assert "wan_analysis: error: /dev/full: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--csv", "--perfetto"])
def test_a_full_disk_leaves_the_earlier_export(study, tmp_path, capsys, option):
    out = tmp_path / ("tables" if option == "--csv" else "timeline.json")
    assert main(["export", str(study), option, str(out)]) == 0
    earlier = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.parent in (tmp_path, out)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        assert main(["export", str(study), option, str(out)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"wan_analysis: error: {out}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in earlier} == earlier
    assert not list(tmp_path.rglob("*.new"))


def test_ctrl_c_ends_with_one_line(study, tmp_path, capsys, monkeypatch):
    def interrupted(paths):
        raise KeyboardInterrupt

    monkeypatch.setattr("wan_analysis.cli.read_traces", interrupted)
    assert main(["report", str(study), "-o", str(tmp_path / "page.html")]) == 130
    assert capsys.readouterr().err == "wan_analysis: interrupted\n"


def test_ctrl_c_leaves_no_half_page(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "page.html", "x")
    assert list(tmp_path.iterdir()) == []
