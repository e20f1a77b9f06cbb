"""Manifests in, manifests out: all other cells come back unchanged, and wan_batch reads the result as it should."""

import csv
import io
import json
import random
import subprocess

import pytest
from PIL import Image

from prompts_case import DONE, PROGRAM, SOME_KEPT, StandIn

ADDED = ["original_prompt", "extend_model", "extend_model_sha256", "extend_settings", "extend_seed", "extend_status"]


def odd_text(source: random.Random) -> str:
    pieces = ['"', '""', "\n", "\r\n", ",", ";", "🐈", "e\u0301", "猫", "\\", "'", "\t", "  ", "=1+1", "<|im_end|>", "a cat", "NaN"]
    return "x" + "".join(source.choice(pieces) for _ in range(source.randrange(1, 9)))


@pytest.mark.parametrize(("delimiter", "count"), [(",", 1000), (";", 50), ("#", 50)])
def test_a_thousand_odd_rows_come_back_unchanged(case, delimiter, count):
    source = random.Random(7)
    names = ["", "id", "image", "prompt", "negative_prompt", "seed", "size"]
    rows = [[str(n), f"row {n}", "good.png" if n % 3 else " good.png ", odd_text(source), source.choice(["", odd_text(source)]),
             source.choice(["", "7", " 7 ", "-1", "NaN"]), source.choice(["", "480p", "832 × 480"])] for n in range(count)]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows([names, *rows])
    declared = f"sep={delimiter}\r\n" if delimiter == "#" else ""
    (case.folder / "good.png").write_bytes(b"an image")
    result = case.run(case.write("\ufeff" + declared + text.getvalue()))
    assert result.code == DONE, result
    content = case.output.read_bytes().decode()
    assert content.startswith(declared.strip())
    written = list(csv.reader(io.StringIO(content.removeprefix("sep=#\n"), newline=""), delimiter=delimiter))
    assert written[0] == names + ADDED
    for old, new in zip(rows, written[1:], strict=True):
        assert new[3] != old[3] and old[3] in new[3]
        assert new[7] == old[3], "the original prompt"
        assert (new[12], new[8], len(new[9])) == ("extended", "model", 64)
        assert new[:3] + new[4:7] == old[:3] + old[4:7]
    before, after = case.listed(case.folder / "rows.csv"), case.listed(case.output)
    for old, new in zip(before, after, strict=True):
        assert (old["id"], old["image"], old["error"]) == (new["id"], new["image"], new["error"])
        origin = new["values"].pop("prompt_extension")
        assert old["values"] == new["values"] and origin["original_prompt"] == old["prompt"]


def test_unquoted_cells_stay_unquoted(case):
    """Blanks around a file's name belong to it only in quotes."""
    manifest = case.write('image,prompt,seed\n a.png ,cat, 7 \n" a.png ","dog",\n')
    for name in ("a.png", " a.png "):
        (case.folder / name).write_bytes(name.encode())
    assert case.run(manifest).code == DONE
    lines = case.output.read_text().splitlines()
    assert lines[1].startswith(' a.png ,"The answer')
    assert [line for line in lines if line.startswith('" a.png ","The')]


@pytest.mark.parametrize(("shape", "name"), [("lines", "longer.jsonl"), ("list", "longer.csv")])
def test_json_manifests(case, shape, name):
    objects = [{"id": f"n{n}", "text": f'a "cat" {n}\n🐈', "seed": n, "sample_shift": 2.5, "size": None} for n in range(20)]
    objects[3] = {"prompt": "plain"}
    text = json.dumps(objects) if shape == "list" else "".join(json.dumps(row) + "\n" for row in objects)
    manifest = case.write(text, "rows.json" if shape == "list" else "rows.jsonl")
    result = case.run(manifest, output=case.folder / name)
    assert result.code == DONE, result
    before, after = case.listed(manifest), case.listed(case.folder / name)
    for old, new in zip(before, after, strict=True):
        assert new["values"].pop("prompt_extension")["original_prompt"] == old["prompt"]
        assert new["values"] == old["values"]
        assert new["prompt"].startswith("The answer") and old["prompt"] in new["prompt"]
    assert [row["id"] for row in after][:3] == ["n0", "n1", "n2"]


def test_rows_that_cannot_be_extended_keep_everything_and_say_why(case):
    manifest = case.write(b'id,image,prompt,seed\n'
                          b'a,,cat,no\n'            # wrong seed
                          b'b,,,1\n'                # neither prompt nor image
                          b'c,gone.png,dog,2\n'     # no such image
                          b'd,,caf\xe9,3\n'         # not UTF-8
                          b'z,/dev/zero,cat,4\n'   # has no end
                          b'e,,bird,4\n')
    result = case.run(manifest)
    assert result.code == SOME_KEPT, result
    assert "6 rows, 1 extended, 5 kept" in result.out
    rows = {row["id"]: row for row in case.rows()}
    assert "rows.csv:2:8: seed: 'no' is not a whole number" in rows["a"]["extend_status"]
    assert rows["b"]["extend_status"] == "kept: the prompt is empty"
    assert "gone.png cannot be read: No such file" in rows["c"]["extend_status"]
    assert rows["z"]["extend_status"] == "kept: the image /dev/zero is no regular file"
    assert "is not UTF-8" in rows["d"]["extend_status"]
    assert [rows[name]["prompt"] for name in "abc"] == ["cat", "", "dog"]
    assert b'd,,caf\xe9,3,' in case.output.read_bytes()
    assert rows["e"]["extend_status"] == "extended"


ENDS = {  # prompt: (draws, status)
    "empty 3": (3, "kept: the answer is empty, in each of 3 draws"),
    "empty 2": (3, "extended"),
    "empty 1": (2, "extended"),
    "chinese 3": (3, "kept: the answer is not in English script, in each of 3 draws"),
    "long 3": (3, "umT5 tokens, more than 512, in each of 3 draws"),
    "nul 3": (3, "kept: the answer holds the character U+0000, in each of 3 draws"),
    "broken 3": (3, "kept: the answer holds the character U+FFFD, in each of 3 draws"),
    "late 1": (1, "kept: not done in 60 s"),
    "cat": (1, "extended"),
}


def test_an_answer_that_is_not_taken_is_drawn_again_twice(case):
    result = case.run(case.write("prompt\n" + "".join(f"{prompt}\n" for prompt in ENDS)))
    assert result.code == SOME_KEPT, result
    for row, (prompt, (draws, status)) in zip(case.rows(), ENDS.items(), strict=True):
        asked = [(seed, draw) for user, _, seed, draw in StandIn.asked if user == prompt]
        assert [draw for _, draw in asked] == list(range(1, draws + 1))
        assert len({seed for seed, _ in asked}) == draws, "each draw has a seed of its own"
        assert status in row["extend_status"]
        assert row["original_prompt"] == prompt
        assert f"draw={draws} " in row["extend_settings"]
        assert row["prompt"].startswith(f"The answer number {draws}") if status == "extended" else row["prompt"] == prompt


def test_the_language_is_that_of_the_option(case):
    manifest = case.write("prompt\nchinese 3\n")
    case.run(manifest, language="zh")
    row, = case.rows()
    assert (row["extend_status"], row["prompt"]) == ("extended", "一只猫在湖边慢慢地走")
    assert "target_lang=zh" in row["extend_settings"]


def test_extended_rows_stay_and_new_ones_are_added(case):
    case.run(case.write("prompt,seed\ncat,1\nempty 3,2\n"))
    first = case.output.read_text()
    StandIn.asked.clear()
    again = case.write(first + ",".join(["dog", "3"] + [""] * 6) + "\n", "more.csv")
    result = case.run(again, output=case.folder / "more-longer.csv")
    assert {asked[0] for asked in StandIn.asked} == {"empty 3", "dog"}
    assert "3 rows, 1 extended, 1 extended before, 1 kept" in result.out
    assert (case.folder / "more-longer.csv").read_text().splitlines()[1:3] == first.splitlines()[1:3]


def test_an_image_alone_gets_a_prompt(case):
    Image.new("RGB", (60, 40)).save(case.folder / "a.png")
    manifest = case.write("image,seed\na.png,7\n")
    assert case.run(manifest).code == DONE
    (user, image, _, _), = StandIn.asked
    assert user == "" and image.name == "a.png"
    row, = case.listed(case.output)
    assert row["error"] is None and row["prompt"].startswith("The answer")


def test_equal_rows_are_asked_once_and_images_count_by_content(case):
    (case.folder / "a.png").write_bytes(b"one")
    (case.folder / "b.png").write_bytes(b"one")
    (case.folder / "c.png").write_bytes(b"two")
    case.run(case.write("image,prompt,seed\na.png,cat,1\nb.png,cat,2\nc.png,cat,3\n,cat,4\n"))
    assert len(StandIn.asked) == 3
    assert len({row["prompt"] for row in case.rows()}) == 3


def test_wan_batch_takes_the_result_as_it_is(case):
    from prompts_case import CHECKPOINT

    Image.new("RGB", (60, 40)).save(case.folder / "a.png")
    assert case.run(case.write("id,image,prompt\none,a.png,A white cat\n")).code == DONE
    out = case.folder / "out"
    command = [PROGRAM, "--device", "cpu", "--ckpt-dir", CHECKPOINT, "--output-dir", out, "--size", "64*64", "--frame-num", "5",
               "--sample-steps", "1", "--base-seed", "7", case.output]
    environment = {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PATH": "/usr/bin:/bin",
                   "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "HOME": str(case.folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "one.json").read_text())
    row, = case.rows()
    assert record["parameters"]["prompt"] == row["prompt"]
    assert record["prompt_extension"] == {name: row[name] for name in ADDED}
    assert record["prompt_extension"]["original_prompt"] == "A white cat"
