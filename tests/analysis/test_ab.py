"""ab runs two programs in turn and ends with the verdict of compare. At night, wan_bench against itself."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import synthetic
import synthetic1
from wan_analysis.cli import main

HERE = Path(__file__).resolve().parent
NIGHTLY = bool(os.environ.get("WAN_NIGHTLY") and os.environ.get("WAN_BENCH"))


def programs(tmp_path, factor):
    """Two programs that write traces: the second one's linear part takes `factor` times as long. Steps of starts differ by about 0.1 %."""
    for seed, (side, number) in enumerate([("old", 1), ("old", 2), ("new", 1), ("new", 2)]):
        varied = 1 + 0.001 * np.random.default_rng(seed).standard_normal()
        parts_s = {part: seconds * varied for part, seconds in synthetic.ONE_GPU_PARTS_S.items()}
        parts_s["linear"] *= factor if side == "new" else 1.0
        synthetic1.Start(name=f"20260101T000000Z-{seed:08}", seed=seed, steps=4, parts_s=parts_s).write(tmp_path / f"{side}-{number}")
    return [["bash", "-c", f'cp -r "{tmp_path}/${{1##*/}}/." "$1"; echo "done with $1"', side, "{out}"] for side in ("old", "new")]


def test_the_slower_program_is_found(tmp_path, capsys):
    out = tmp_path / "runs"
    old, new = programs(tmp_path, 1.5)
    code = main(["ab", "--runs", "2", "-o", str(out), "--seed", "1", "--json", str(tmp_path / "found.json"), "--", *old, "--", *new])
    captured = capsys.readouterr()
    assert code == 3, captured.err
    assert "2 starts against 2: " in captured.out
    assert "), by linear\n" in captured.out
    assert [line.split(": ")[0] for line in captured.err.splitlines()[:4]] == [f"run {number} of 4" for number in (1, 2, 3, 4)]
    assert {file.name for file in out.iterdir()} == {f"{side}-{number}{end}" for side in ("old", "new") for number in (1, 2)
                                                     for end in ("", ".log")}
    assert (out / "new-2.log").read_text() == f"done with {out}/new-2\n"
    assert json.loads((tmp_path / "found.json").read_text())["method"] == "intervals"


def test_both_programs_run_in_each_pair_in_random_order():
    from wan_analysis.ab_command import _order
    order = _order(100, 3)
    pairs = [tuple(order[place:place + 2]) for place in range(0, 200, 2)]
    assert set(pairs) == {("old", "new"), ("new", "old")}
    assert 30 < pairs.count(("old", "new")) < 70
    assert _order(100, 3) == order


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "ab needs two programs: ab -- OLD ... -- NEW ...; it got 0"),
    (["--", "old", "{out}"], "it got 1"),
    (["--", "old", "{out}", "--", "new", "{out}", "--", "more"], "it got 3"),
    (["--", "old", "{out}", "--"], "it got 1"),
    (["--", "old", "{out}", "--", "new", "--trace", "t.h5"], "the new program's command does not name {out}")])
def test_wrong_command_lines(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(["ab", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "ab").exists()


def test_nothing_is_replaced(tmp_path, capsys):
    (tmp_path / "kept").write_text("")
    assert main(["ab", "-o", str(tmp_path), "--", "true", "{out}", "--", "true", "{out}"]) == 2
    assert "is there and not an empty folder; name a new one with --output" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["ab", "--runs", "1", "--", "true", "{out}", "--", "true", "{out}"])
    assert left.value.code == 2
    assert "1 runs of each program give no interval; at least 2 do" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "said"), [
    (["bash", "-c", "echo no room; exit 7", "{out}"], "bash ended with exit code 7. Its output is in "),
    (["bash", "-c", "echo no room; kill -9 $$", "{out}"], "bash ended with signal 9. Its output is in "),
    (["no/such/program", "{out}"], "no/such/program cannot be started: No such file or directory"),
    (["true", "{out}"], "there is no trace with a step to compare")])
def test_programs_that_fail(tmp_path, capsys, command, said):
    assert main(["ab", "--runs", "2", "-o", str(tmp_path / "runs"), "--", *command, "--", *command]) == 1
    error = capsys.readouterr().err
    assert said in error
    if "bash" in command:
        assert error.rstrip().endswith("it ends with: no room")


def test_other_commands_keep_their_arguments():
    from wan_analysis.ab_command import split_programs
    assert split_programs(["nightly", "--", "wan_bench", "--", "x"]) == (["nightly", "--", "wan_bench", "--", "x"], [])
    assert split_programs([]) == ([], [])


@pytest.mark.skipif(not NIGHTLY, reason="runs at night, with the program that WAN_BENCH names")
def test_a_real_program_against_itself_raises_few_alarms(tmp_path):
    """6 and 6 runs on a CPU rank, 20 times: at most 3 alarms."""
    model = HERE.parent / "data" / "parity" / "i2v_landscape" / "ckpt" / "high_noise_model" / "config.json"
    bench = [os.environ["WAN_BENCH"], "--device", "cpu", "--model", str(model), "--size", "64*64", "--frame-num", "5", "--steps", "40",
             "--warmup", "2", "--trace", "{out}/trace.h5"]
    codes = [main(["ab", "-o", str(tmp_path / f"{time}"), "--seed", str(time), "--", *bench, "--", *bench]) for time in range(20)]
    assert set(codes) <= {0, 3}
    assert codes.count(3) <= 3
