"""Shared by the tests of jobs/extend_prompts.py: runs of the program in this process, with a stand-in for the language model."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "jobs")]

import extend_prompts  # noqa: E402  (needs the path)
from prompts import journal, manifest  # noqa: E402, F401  (for the tests)
from prompts.problems import TimeUp  # noqa: E402

PROGRAM = Path(os.environ.get("WAN_BATCH", PROJECT / "build" / "bin" / "wan_batch"))
#: The toy checkpoint of the demo has a umT5 tokenizer in the official layout.
CHECKPOINT = PROJECT / "inputs" / "toy" / "checkpoint"
DONE, FAILURE, USAGE, SOME_KEPT, STOPPED = 0, 1, 2, 3, 85


#: Answers of the stand-in that are not taken.
WRONG = {"empty": " \n", "chinese": "一只猫在湖边慢慢地走", "nul": "a cat\0", "broken": "a cat \ufffd", "long": "lake " * 600, "late": ""}


class StandIn:
    """In the model's place. A prompt may say how the answer goes wrong, and in which draws: "empty 1", "late 3"."""

    asked: list = []  # of this process: (prompt, image, seed, draw)

    def __init__(self, _model, _device, _most_tokens):
        pass

    def settings(self):
        return "device=none"

    def answer(self, system, user, image, *, seed, draw, deadline_s):
        assert system and seed >= 0 and deadline_s > 0
        StandIn.asked.append((user, image, seed, draw))
        kind, _, draws = user.partition(" ")
        if kind in WRONG and draw <= int(draws):
            if kind == "late":
                raise TimeUp("the time is over", final=False)
            return WRONG[kind]
        return f'The answer number {draw}: "{user}", and the light falls\non the lake, {seed}.'


def make_folder(folder: Path, **config) -> Path:
    """A model's folder that passes every check, for the stand-in."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"} | config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}))
    return folder


@dataclass
class Result:
    code: int
    out: str
    err: str

    def __str__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Case:
    """A folder with a manifest, and runs of the program."""

    def __init__(self, folder: Path, model: Path, capture):
        self.folder, self.model, self.capture = folder, model, capture
        self.output = folder / "longer.csv"

    def write(self, text: str | bytes, name: str = "rows.csv") -> Path:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def run(self, rows: Path, *words, output: Path | None = None, language: str = "en") -> Result:
        self.capture.readouterr()
        arguments = [rows, "-o", output or self.output, "--model", self.model, "--tokenizer", CHECKPOINT, "--target-lang", language,
                     "--wan-batch", PROGRAM, "--device", "cpu", *words]
        try:
            code = extend_prompts.main([str(word) for word in arguments])
        except SystemExit as error:  # argparse
            code = error.code
        said = self.capture.readouterr()
        return Result(code, said.out, said.err)

    def rows(self, path: Path | None = None) -> list[dict]:
        """The rows of the output, read by Python's own csv."""
        with (path or self.output).open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return list(csv.DictReader(stream))

    def listed(self, path: Path) -> list[dict]:
        """The rows as wan_batch reads them."""
        done = subprocess.run([PROGRAM, "--list-rows", path], capture_output=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()][1:]

    def refused(self, result: Result, *fragments: str) -> None:
        """Exit 2 with one line that holds the fragments, and no output."""
        assert result.code == USAGE, result
        lines = [line for line in result.err.splitlines() if "error:" in line]
        assert len(lines) == 1, result
        for fragment in fragments:
            assert fragment in lines[0], result
        assert "Traceback" not in result.err
