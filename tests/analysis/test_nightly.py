"""The nightly benchmark with a stand-in for wan_bench: nights, repeats, changes, acceptance, and what it writes."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from nightly_world import METRICS, VALUES, histories, ranks, record, write_history
from wan_analysis.cli import main

PROJECT = Path(__file__).resolve().parents[2]
STEP = METRICS.index("s_per_step")
LINEAR = METRICS.index("parts_s/linear")


class Nights:
    """A folder of a history, and a stand-in that prints one result after the other."""

    def __init__(self, folder):
        self.folder, self.stand_in, self.results = folder / "history", folder / "bench.py", folder / "results"
        self.stand_in.write_text("import pathlib, sys\nfiles = sorted(pathlib.Path(sys.argv[1]).iterdir())\nprint('a table')\n"
                                 "print(files[0].read_text())\nif len(files) > 1:\n    files[0].unlink()\n")

    def call(self, *results, arguments=()):
        """The exit code of a call of the nightly whose runs of the benchmark print `results`; the last one is printed again and again."""
        self.results.mkdir(exist_ok=True)
        for old in self.results.iterdir():
            old.unlink()
        for number, result in enumerate(results):
            (self.results / f"{number:03}").write_text(result if isinstance(result, str) else json.dumps(result))
        return main(["nightly", "--project", str(self.folder.parent), "--history", str(self.folder), *map(str, arguments), "--",
                     sys.executable, str(self.stand_in), str(self.results)])

    def accept(self, night, why, *arguments):
        return main(["nightly", "--history", str(self.folder), "--accept", str(night), why, *arguments])

    def verdict(self):
        return json.loads((self.folder / "verdict.json").read_text())

    def lines(self):
        return [json.loads(line) for line in (self.folder / "history.jsonl").read_text().splitlines()]

    def page(self):
        return (self.folder / "trend.html").read_text()


@pytest.fixture
def drawn():
    """For a test that looks at the page."""


@pytest.fixture
def nights(tmp_path, request, monkeypatch):
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("wan_analysis.nightly.trend_page", lambda *_: "")  # a page takes two seconds
    return Nights(tmp_path)


def result_of(values, **facts):
    """A result as the benchmark prints it: a record without a time."""
    return {name: value for name, value in record(values, 0, **facts).items() if name not in ("time", "manifest_s")}


def quiet(seed=1, nights=30, noise=0.004):
    return histories(np.random.default_rng(seed), 1, noise, nights)[0]


def slower(values, night, factor=1.03):
    """The step and its linear layers, by the same seconds."""
    values = values.copy()
    grown = values[STEP, night:] * (factor - 1)
    values[LINEAR, night:] += grown
    values[STEP, night:] += grown
    return values


def kept(values, **facts):
    return [record(column, night, **facts) for night, column in enumerate(values.T)]


def test_a_night_like_the_last_ones_passes_and_is_kept(nights, capsys):
    write_history(nights.folder, kept(quiet()))
    assert nights.call(result_of(VALUES)) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert len(nights.lines()) == 31
    verdict = nights.verdict()
    assert (verdict["exit_code"], verdict["failures"], verdict["night"]) == (0, [], 31)


def test_a_change_is_reported_with_date_size_interval_part_driver_and_revisions(nights, capsys):
    values = slower(quiet(), 20)
    lines = [record(column, night, driver="580.1" if night >= 20 else "570.2", revision=f"{night // 10:012x}", **ranks("GPU-1"))
             for night, column in enumerate(values.T)]
    write_history(nights.folder, lines)
    assert nights.call(result_of(values[:, -1], driver="580.1", revision=f"{2:012x}", **ranks("GPU-1"))) == 3
    out = capsys.readouterr().out
    (change,) = (one for one in nights.verdict()["changes"] if "s_per_step" in one["metrics"])
    step = change["metrics"]["s_per_step"]
    assert abs(change["night"] - 21) <= 1
    assert step["low_percent"] < 3.0 < step["high_percent"]
    assert step["high_percent"] - step["low_percent"] < 1.5
    assert [part["part"] for part in change["parts"]] == ["linear"]
    assert change["changed"] == {"driver": ["570.2", "580.1"]}
    assert change["revisions"] == ["000000000001", "000000000002"]
    assert "stood still: the build" in change["cause"]
    assert "a step's time grew in: linear" in out
    assert "changed with it: driver 570.2 -> 580.1" in out


@pytest.mark.parametrize(("moves", "said"), [(True, "the reference load moved with it: driver"), (False, "stood still: the build")])
def test_the_reference_load_tells_machine_from_build(nights, moves, said):
    values = quiet(noise=0.002)
    slow = [name.startswith(("s_per", "parts")) or (moves and name == "reference_s") for name in METRICS]
    values[slow, 20:] *= 1.03
    write_history(nights.folder, [record(column, night, driver=str(night >= 20)) for night, column in enumerate(values.T)])
    nights.call(result_of(values[:, -1], driver="True"))
    (change,) = (one for one in nights.verdict()["changes"] if "s_per_step" in one["metrics"])
    assert said in change["cause"]


def test_without_a_reference_load_it_says_so(nights):
    lines = kept(slower(quiet(), 20))
    for line in lines:
        del line["reference_s"]
    write_history(nights.folder, lines)
    last = {name: value for name, value in lines[-1].items() if name != "time"}
    assert nights.call(last, arguments=["--manifest-command", "true"]) in (1, 3)
    nights.call({name: value for name, value in last.items() if name != "manifest_s"})
    assert "no reference load" in nights.verdict()["changes"][0]["cause"]


def test_exit_code_json_and_junit_name_the_same_failures(nights, tmp_path):
    values = slower(quiet(), 20)
    values[METRICS.index("peak_vram_bytes"), 22:] *= 1.1
    write_history(nights.folder, kept(values))
    code = nights.call(result_of(values[:, -1]), arguments=["--json", tmp_path / "v.json", "--junit", tmp_path / "j.xml"])
    verdict = json.loads((tmp_path / "v.json").read_text())
    names = [failure["name"] for failure in verdict["failures"]]
    assert code == verdict["exit_code"] == 3
    assert {name.split(" since ")[0] for name in names} == {"s_per_step", "parts_s/linear", "peak_vram_bytes"}
    suite = ET.parse(tmp_path / "j.xml").getroot()
    failed = {case.get("name"): case.find("failure").text for case in suite.iter("testcase") if case.find("failure") is not None}
    assert failed == {failure["name"]: failure["reason"] for failure in verdict["failures"]}
    assert int(suite.get("failures")) == len(names)
    assert int(suite.get("tests")) == len(list(suite.iter("testcase"))) > len(names)
    assert verdict == nights.verdict()


def test_a_bad_night_is_run_again_and_called_an_outlier(nights, capsys):
    write_history(nights.folder, kept(quiet()))
    assert nights.call(result_of(1.1 * VALUES), result_of(VALUES)) == 0
    assert "night 31 is an outlier" in capsys.readouterr().out
    first, repeat = nights.lines()[-2:]
    assert repeat["repeat_of"] == repeat["clears"]["time"] == first["time"]
    assert "s_per_step" in repeat["clears"]["metrics"]
    assert {"time": first["time"], "metric": "s_per_step"} in nights.verdict()["outliers"]
    assert nights.call(result_of(VALUES)) == 0
    assert len(nights.lines()) == 33, "a good night is not run again"


def test_a_bad_night_whose_repeat_is_bad_is_no_outlier(nights, capsys):
    write_history(nights.folder, kept(quiet()))
    assert nights.call(result_of(1.025 * VALUES)) == 0
    assert "a repeat at once was off too" in capsys.readouterr().out
    assert "clears" not in nights.lines()[-1]
    assert nights.call(result_of(1.025 * VALUES)) == 3, "two nights and two repeats"


def test_a_large_fall_in_a_night_and_its_repeat_is_reported_at_once(nights):
    write_history(nights.folder, kept(quiet()))
    assert nights.call(result_of(1.2 * VALUES)) == 3
    assert "s_per_step of nights 31 and 32" in [failure["name"] for failure in nights.verdict()["failures"]]


def test_two_cards_in_turn_are_no_change_and_are_shown(nights):
    values = quiet(nights=40)
    values[:, 1::2] *= 1.03
    write_history(nights.folder, [record(column, night, **ranks(f"GPU-{night % 2}")) for night, column in enumerate(values.T)])
    assert nights.call(result_of(VALUES, **ranks("GPU-0"))) == 0
    base, other = nights.verdict()["cards"]
    assert (base["card"], other["card"]) == ("GPU-0", "GPU-1")
    assert other["low_percent"] < 3.0 < other["high_percent"]


def test_a_card_that_comes_for_good_is_no_change_of_the_build(nights):
    values = quiet(nights=40)
    values[:, 25:] *= 1.03
    write_history(nights.folder, [record(column, night, **ranks(f"GPU-{int(night >= 25)}")) for night, column in enumerate(values.T)])
    assert nights.call(result_of(1.03 * VALUES, **ranks("GPU-1"))) == 0


def test_an_accepted_change_is_silent_and_a_later_one_is_not(nights, capsys):
    values = slower(quiet(nights=30), 20)
    write_history(nights.folder, kept(values))
    assert nights.call(result_of(values[:, -1])) == 3
    night = nights.verdict()["changes"][0]["night"]
    assert nights.accept(7, "why") == 1
    assert f"night {night} " in capsys.readouterr().err
    assert nights.accept(night, " ") == 1
    assert nights.accept(night, "the new solver costs that") == 0
    assert nights.call(result_of(values[:, -1])) == 0
    assert nights.verdict()["changes"][0]["accepted"] == "the new solver costs that"
    assert nights.accept(night, "again") == 1, "it is not open"
    later = slower(slower(quiet(nights=45), 20), 36)
    (nights.folder / "history.jsonl").unlink()
    write_history(nights.folder, kept(later))
    assert nights.call(result_of(later[:, -1])) == 3
    states = {change["night"]: change["state"] for change in nights.verdict()["changes"]}
    assert sorted(states.values()) == ["accepted", "open"]
    assert all("since night 3" in failure["name"] for failure in nights.verdict()["failures"])


@pytest.mark.parametrize("distance", [1, 2, 4])
def test_a_larger_change_soon_after_an_accepted_one_is_reported(nights, distance):
    values = slower(quiet(nights=26), 20)
    write_history(nights.folder, kept(values))
    nights.call(result_of(values[:, -1]))
    assert nights.accept(nights.verdict()["changes"][0]["night"], "why") == 0
    later = slower(slower(quiet(nights=32), 20), 20 + distance, 1.06)
    write_history(nights.folder, kept(later))
    assert nights.call(result_of(later[:, -1])) == 3


def test_a_change_that_was_taken_back_fails_no_more(nights):
    values = slower(quiet(nights=45), 20)
    values[:, 32:] = quiet(nights=45)[:, 32:]
    write_history(nights.folder, kept(values))
    assert nights.call(result_of(VALUES)) == 0
    assert nights.verdict()["changes"][0]["state"] == "reverted"


def test_a_history_that_was_cut_off_goes_on(nights):
    write_history(nights.folder, kept(quiet()))
    with (nights.folder / "history.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    assert nights.call(result_of(VALUES)) == 0
    assert nights.verdict()["night"] == 31
    assert any("line 31" in note for note in nights.verdict()["notes"])


def test_the_page_has_every_metric_dates_changes_cards_and_reasons(nights, drawn):
    values = slower(quiet(), 20)
    values[:, 1::2] *= 1.03
    write_history(nights.folder, [record(column, night, **ranks(f"GPU-{night % 2}")) for night, column in enumerate(values.T)])
    with (nights.folder / "history.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    nights.call(result_of(values[:, -2], **ranks("GPU-0")))
    nights.accept(nights.verdict()["changes"][0]["night"], "the new solver costs that")
    page = nights.page()
    assert "the new solver costs that" in page
    assert "GPU-1" in page
    assert "line 31" in page
    assert len(re.findall(r'<figure data-key="chart/trend/', page)) == len(METRICS)
    assert all(f'data-key="chart/trend/{metric}"' in page for metric in METRICS)
    assert "2026-09-21" in page
    assert "30 nights" not in page
    assert "31 nights from 2026-09-01" in page


def test_bounds_hold_for_the_first_nights(nights, tmp_path, capsys):
    references = ["--references", tmp_path / "ref.json"]
    assert nights.call(result_of(VALUES), arguments=[*references, "--update"]) == 0
    (entries,) = json.loads((tmp_path / "ref.json").read_text()).values()
    assert entries["s_per_step"] == [1.4, -0.03, 0.03, "s"]
    assert entries["peak_vram_bytes"][3] == "byte"
    assert "parts_s/host_copy" not in entries
    values = VALUES.copy()
    values[[STEP, LINEAR]] += 0.08
    assert nights.call(result_of(values), arguments=references) == 3
    out = capsys.readouterr().out
    assert "a step's time grew in: linear\n" in out
    assert "FAILED: s_per_step: 1.48 s is above its bound" in out
    assert "2 of the 10 nights" in out


def test_a_run_of_wan_batch_is_timed(nights, tmp_path):
    sleep = shlex.join([sys.executable, "-c", "import time; time.sleep(0.1)"])
    assert nights.call(result_of(VALUES), arguments=["--manifest-command", sleep]) == 0
    assert nights.lines()[0]["manifest_s"] > 0.1
    failing = shlex.join([sys.executable, "-c", "raise SystemExit(3)"])
    assert nights.call(result_of(VALUES), arguments=["--manifest-command", failing]) == 1
    assert "the manifest's run ended with exit code 3" in nights.verdict()["failures"][0]["reason"]


def test_the_earlier_word_for_bf16_is_the_same_work(nights):
    assert nights.call(result_of(VALUES, precision="exact")) == 0
    assert nights.call(result_of(VALUES)) == 0
    assert nights.verdict()["night"] == 2


def test_options_that_change_nothing_are_not_in_the_key(nights):
    assert nights.call(result_of(VALUES, arguments=["--size", "832*480", "--trace", "a.h5"])) == 0
    assert nights.call(result_of(VALUES, arguments=["--size=832*480", "--trace=b.h5"])) == 0
    assert nights.verdict()["night"] == 2
    assert nights.call(result_of(VALUES, arguments=["--t5-cpu"])) == 1
    assert "--t5-cpu" in nights.verdict()["failures"][0]["reason"]
    assert nights.call(result_of(VALUES, arguments=["--t5-cpu"]), arguments=["--new-key"]) == 0
    assert nights.verdict()["night"] == 1
    assert nights.call(result_of(VALUES)) == 0
    assert nights.verdict()["night"] == 3


def test_the_users_manifest_command_is_the_one_that_is_timed(tmp_path):
    """Also where the script has a manifest of its own: on a machine with GPUs and without a command after --."""
    tools = tmp_path / "bin"
    tools.mkdir()
    body = f"case $* in *--version*) exit;; *wan_batch*) exit 9;; esac\necho {shlex.quote(json.dumps(result_of(VALUES)))}"
    for name, text in (("nvidia-smi", "echo 'GPU 0: H200'"), ("mpirun", body)):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)

    def run(*arguments):
        return subprocess.run([PROJECT / "jobs" / "nightly.sh", "--history", tmp_path / "history", "--references", tmp_path / "ref.json",
                               "--update", *arguments], capture_output=True, text=True, check=False,
                              env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"})

    touched = tmp_path / "a folder" / "touched"
    touched.parent.mkdir()
    done = run("--manifest-command", shlex.join(["touch", str(touched)]))
    assert done.returncode == 0, done
    assert touched.exists()
    assert "the manifest's run ended with exit code 9" in run().stderr, "without one, the demo's manifest is timed"


def test_a_change_is_accepted_by_the_script_too(tmp_path):
    values = slower(quiet(), 20)
    write_history(tmp_path / "history", kept(values))
    done = subprocess.run([PROJECT / "jobs" / "nightly.sh", "--history", tmp_path / "history", "--accept", "2026-09-21", "a reason"],
                          capture_output=True, text=True, check=False)
    assert (done.returncode, "accepted: s_per_step" in done.stdout) == (0, True), done
    assert json.loads((tmp_path / "history" / "verdict.json").read_text())["exit_code"] == 0


def test_results_of_the_same_night_have_one_repeat_only(nights):
    write_history(nights.folder, kept(quiet()))
    nights.call(result_of(1.1 * VALUES), result_of(1.1 * VALUES), result_of(VALUES))
    assert len(nights.lines()) == 32
