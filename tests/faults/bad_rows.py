"""A manifest with good rows, and bad rows of twenty kinds between them. Each bad row has the place and reason of its expected message."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ["id", "image", "prompt", "size", "frame_num", "sample_steps", "sample_shift", "sample_guide_scale", "sample_solver",
           "boundary", "seed"]


@dataclass
class BadRow:
    kind: str
    line: int
    column: int
    reason: str  # a regular expression


@dataclass
class Kind:
    """How a row is spoilt: one value of it, or (column "") the text of the whole row."""

    column: str
    spoil: Callable[[list[str]], str] | str
    reason: str




KINDS = {
    "image missing": Kind("image", "absent.png", "absent.png"),
    "image truncated": Kind("image", "truncated.png", "truncated.png"),
    "image empty": Kind("image", "zero.png", "zero.png"),
    "image is text": Kind("image", "text.png", "text.png"),
    "image is a folder": Kind("image", "folder.png", "folder.png"),
    "image is a pipe": Kind("image", "pipe.png", "pipe.png"),
    "image is a loop of links": Kind("image", "loop.png", "loop.png"),
    "prompt of spaces": Kind("prompt", "   ", "prompt"),
    "prompt empty when cleaned": Kind("prompt", "&nbsp;", "prompt"),
    "id with a path": Kind("id", "../escape", "escape"),
    "size off the grid": Kind("size", "100*64", "multiples of 16"),
    "size without a star": Kind("size", "huge", "not a size"),
    "frames not 4n+1": Kind("frame_num", "6", "4n\\+1"),
    "steps not a number": Kind("sample_steps", "two", "whole number"),
    "shift of zero": Kind("sample_shift", "0", "not above 0"),
    "guidance not finite": Kind("sample_guide_scale", "inf", "between|number"),
    "solver unknown": Kind("sample_solver", "magic", "not a solver"),
    "boundary above one": Kind("boundary", "1.5", "between 0"),
    "seed too large": Kind("seed", "99999999999999999999", "number|between"),
    "values missing": Kind("", lambda values: ",".join(values[:2]), "2 values"),
}


def spoil_folder(folder: Path) -> None:
    """Makes the files that the bad image values name."""
    (folder / "truncated.png").write_bytes((folder / "good.png").read_bytes()[:40])
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.png").write_text("this is not an image\n" * 20)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")


def write_manifest(folder: Path, rows: int, bad: int) -> list[BadRow]:
    """Writes rows.csv and returns its bad rows: every (rows / bad)-th one, the kinds in turn."""
    spoil_folder(folder)
    kinds = list(KINDS.items())
    lines, expected = [",".join(COLUMNS)], []
    for number in range(rows):
        values = [f"row{number}", "good.png", f"A cat, number {number}".replace(",", ""), *[""] * (len(COLUMNS) - 3)]
        if number % (rows // bad) == 1:
            name, kind = kinds[len(expected) % len(kinds)]
            column = 1
            if kind.column:
                place = COLUMNS.index(kind.column)
                values[place] = str(kind.spoil)
                column = len(",".join(values[:place])) + 1 + (place > 0)
                text = ",".join(values)
            else:
                text = kind.spoil(values)
            expected.append(BadRow(name, number + 2, column, kind.reason))
            lines.append(text)
        else:
            lines.append(",".join(values))
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    assert len(expected) == bad, f"{len(expected)} bad rows"
    return expected
