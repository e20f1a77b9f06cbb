"""Killed anywhere, nothing is lost and nothing is asked twice. The output appears in one step and is never somebody else's."""

import json
import os
import subprocess
from collections import Counter

import pytest

import killed_run
from prompts.problems import UsageProblem
from prompts_case import CHECKPOINT, DONE, PROGRAM, SOME_KEPT, STOPPED, StandIn, extend_prompts, journal

KILLED = -9
NEVER = 10_000


def start(case, moment: int) -> int:
    words = [case.folder / "rows.csv", "-o", case.output, "--model", case.model, "--tokenizer", CHECKPOINT, "--target-lang", "en",
             "--wan-batch", case.folder / "wan_batch"]
    return killed_run.start([str(word) for word in words], moment, case.folder / "events")


def fast_reader(case, rows: int) -> None:
    """Stands in for `wan_batch --list-rows`, which takes a second to start: the answers of the real one for both files."""
    prompts = [f"cat {n}" for n in range(rows)]
    case.write("prompt\n" + "".join(f"{prompt}\n" for prompt in prompts))
    whole = case.folder / "whole.csv"
    assert case.run(case.folder / "rows.csv", output=whole).code == DONE
    for name in ("rows.csv", "whole.csv"):
        done = subprocess.run([PROGRAM, "--list-rows", case.folder / name], capture_output=True, check=True)
        (case.folder / f"{name}.listed").write_bytes(done.stdout)
    program = case.folder / "wan_batch"
    program.write_text(f'#!/bin/sh\ncase $2 in */rows.csv) cat "{case.folder}/rows.csv.listed";; '
                       f'*) cmp "$2" "{whole}" || exit 1; cat "{whole}.listed";; esac\n')
    program.chmod(0o755)


def test_killed_at_every_moment_nothing_is_lost_or_asked_twice(case):
    fast_reader(case, 3)
    wanted = (case.folder / "whole.csv").read_bytes()
    events = case.folder / "events"
    ends, moment = [], 0
    while not ends or ends[-1] == KILLED:
        # One kill each, then a start that ends: every moment is tried from the same state.
        for left in (case.output, events):
            left.unlink(missing_ok=True)
        for path in (case.folder / "longer.csv.rows").glob("*"):
            path.unlink()
        ends.append(start(case, moment))
        assert not case.output.exists() or case.output.read_bytes() == wanted
        assert start(case, NEVER) == DONE
        assert case.output.read_bytes() == wanted
        asked = Counter(events.read_text().split("\n"))
        assert sum(asked.values()) - 1 <= 3 + (ends[-1] == KILLED), "the row in hand at most"
        moment += 1
    assert ends[-1] == DONE
    assert len(ends) > 20, "moments"


def test_kill_after_kill_goes_on(case):
    """Each start gets one moment further than the one before."""
    fast_reader(case, 6)
    ends = []
    while not ends or ends[-1] == KILLED:
        ends.append(start(case, 3 + len(ends)))
    assert ends[-1] == DONE and len(ends) > 5
    assert case.output.read_bytes() == (case.folder / "whole.csv").read_bytes()
    asked = Counter((case.folder / "events").read_text().split("\n"))
    assert sum(asked.values()) - 1 <= 6 + len(ends) - 1


def test_a_signal_stops_and_the_same_command_goes_on(case, monkeypatch):
    rows = case.write("prompt\ncat\ndog\nbird\n")
    answer = StandIn.answer

    def stopping(self, system, user, image, **options):
        if user == "dog":
            os.kill(os.getpid(), extend_prompts.signal.SIGTERM)
        return answer(self, system, user, image, **options)

    monkeypatch.setattr(StandIn, "answer", stopping)
    result = case.run(rows)
    assert result.code == STOPPED and "stopped by SIGTERM" in result.err and not case.output.exists(), result
    monkeypatch.setattr(StandIn, "answer", answer)
    StandIn.asked.clear()
    assert case.run(rows).code == DONE
    assert [asked[0] for asked in StandIn.asked] == ["dog", "bird"]
    StandIn.asked.clear()
    result = case.run(rows)
    assert "it was complete already" in result.out and not StandIn.asked


def test_shares_make_the_same_file_and_the_last_one_writes_it(case, monkeypatch):
    rows = case.write("prompt\n" + "".join(f"cat {n}\n" for n in range(7)))
    whole = case.folder / "whole.csv"
    case.run(rows, output=whole)
    StandIn.asked.clear()
    result = case.run(rows, "--shard", "2/3")
    assert result.code == DONE and "rows of other shares are not" in result.err and not case.output.exists(), result
    assert [asked[0] for asked in StandIn.asked] == ["cat 2", "cat 5"]
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    for task in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", task)
        assert case.run(rows).code == DONE
    assert case.output.read_bytes() == whole.read_bytes()
    assert len(StandIn.asked) == 7


def test_a_row_without_time_or_memory_is_tried_again_by_the_next_start(case):
    rows = case.write("prompt\nlate 3\nempty 3\n")
    assert case.run(rows).code == SOME_KEPT
    StandIn.asked.clear()
    assert case.run(rows).code == SOME_KEPT
    assert [asked[0] for asked in StandIn.asked] == ["late 3"]


def test_an_output_of_somebody_else_is_never_replaced(case):
    rows = case.write("prompt\ncat\n")
    case.output.write_text("mine")
    case.refused(case.run(rows), "longer.csv exists, and extend_prompts.py did not write it")
    assert case.output.read_text() == "mine" and not StandIn.asked
    case.output.unlink()
    assert case.run(rows).code == DONE
    first = case.output.read_text()
    # Our own, unchanged: another seed may replace it, and going back asks nobody.
    assert case.run(rows, "--seed", "1").code == DONE
    assert case.output.read_text() != first
    StandIn.asked.clear()
    assert case.run(rows).code == DONE
    assert case.output.read_text() == first and not StandIn.asked
    # Ours, and edited since.
    case.output.write_text(first.replace("lake", "sea"))
    case.refused(case.run(rows, "--seed", "1"), "it was edited since")
    assert "sea" in case.output.read_text()
    case.output.unlink()
    case.output.symlink_to(case.folder / "elsewhere")
    case.refused(case.run(rows), "is no plain file")


def test_a_file_that_appears_while_the_model_works_stays(case, monkeypatch):
    rows = case.write("prompt\ncat\n")
    answer = StandIn.answer

    def meanwhile(self, *arguments, **options):
        case.output.write_text("mine")
        return answer(self, *arguments, **options)

    monkeypatch.setattr(StandIn, "answer", meanwhile)
    case.refused(case.run(rows), "did not write it")
    assert case.output.read_text() == "mine"


def test_a_file_that_appears_at_the_last_moment_stays(tmp_path):
    output = tmp_path / "longer.csv"
    book = journal.Journal(output)
    with pytest.raises(UsageProblem, match="did not write it"):
        book.publish(b"ours", lambda _temporary: output.write_text("mine"))
    assert output.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_journal_counts_only_its_whole_lines(tmp_path):
    book = journal.Journal(tmp_path / "longer.csv")
    done = journal.Done("k", "long", "extended", "s", True, True, 2, 0.5, ("no",))
    book.add(done)
    path, = book.folder.glob("rows-*.jsonl")
    whole = path.read_bytes()
    other = json.loads(whole) | {"key": "j"}
    torn = json.dumps(other | {"key": "torn"}).encode()
    path.write_bytes(whole + b'[1]\n{"key": 1}\n\xff\n"x"\n' + json.dumps(other).encode() + b"\n" + torn)
    assert journal.Journal(tmp_path / "longer.csv").read() == {"k": done, "j": journal.Done(**other | {"refused": ("no",)})}


@pytest.mark.parametrize("what", ["full disk", "read-only folder"])
def test_no_room_is_said_and_nothing_is_lost(case, monkeypatch, what):
    rows = case.write("prompt\ncat\ndog\n")
    real = os.fsync

    def full(handle):
        if StandIn.asked:
            raise OSError(28, "No space left on device", str(case.folder / "x"))
        return real(handle)

    if what == "full disk":
        monkeypatch.setattr(os, "fsync", full)
        result = case.run(rows)
        assert result.code == 1 and "No space left on device" in result.err and "run again to continue" in result.err, result
        monkeypatch.setattr(os, "fsync", real)
        assert case.run(rows).code == DONE
    else:
        (case.folder / "longer.csv.rows").write_text("in the way")
        case.refused(case.run(rows), "longer.csv.rows: cannot be made")
