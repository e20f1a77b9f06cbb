"""Reads a manifest through wan_batch's own reader, and writes one with longer prompts and all other cells as they were."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .problems import UsageProblem, one_line

#: The columns that extend_prompts.py fills in (src/manifest/manifest_format.h has the same).
EXTENSION_COLUMNS = ("original_prompt", "extend_model", "extend_model_sha256", "extend_settings", "extend_seed", "extend_status")
#: Endings of the names of JSON manifests.
JSON_ENDINGS = (".jsonl", ".ndjson", ".json-lines", ".json")
#: The delimiters that wan_batch finds by itself. Another one is named in a line "sep=#".
USUAL_DELIMITERS = (",", ";", "\t", "|")
#: Variables by which launchers tell a process that it is one of several. --list-rows is always one process.
LAUNCHER_PREFIXES = ("SLURM_", "PMI_", "PMIX_", "OMPI_", "PRTE_", "PALS_", "MPI_", "HYDRA_", "FLUX_")
REPORT_SECONDS = 600


@dataclass(frozen=True)
class Cell:
    """One cell as the manifest has it. Bytes that are not UTF-8 are lone surrogates, as in os.fsdecode."""

    column: str | None  #: the column that wan_batch takes it for; None: a column without a name
    text: str
    quoted: bool


@dataclass(frozen=True)
class Row:
    """One row as wan_batch reads it."""

    index: int
    line: int
    name: str  #: the id of its video, before its prompt is changed
    image: Path | None
    prompt: str
    error: str | None  #: why wan_batch would refuse the row
    lacks_only_prompt: bool
    cells: tuple[Cell, ...]

    def cell(self, column: str) -> str:
        """The text of a column; "" if the row has none."""
        return next((cell.text for cell in self.cells if cell.column == column), "")


@dataclass(frozen=True)
class Manifest:
    """All rows of a manifest, and what it takes to write it again."""

    path: Path
    is_csv: bool
    delimiter: str
    header: tuple[Cell, ...]  #: of a CSV manifest: names as written
    columns: tuple[str, ...]  #: of a JSON manifest: every column that some row has
    rows: tuple[Row, ...] = field(repr=False)


def find_program(given: Path | None, project: Path) -> Path:
    """The program wan_batch: --wan-batch, WAN_BATCH, the checkout's build, then PATH."""
    named = given or (Path(os.environ["WAN_BATCH"]) if os.environ.get("WAN_BATCH") else None)
    if named is not None:
        if not os.access(named, os.X_OK) or named.is_dir():
            raise UsageProblem(f"{named} is no program; --wan-batch or WAN_BATCH names wan_batch")
        return named.absolute()
    built = project / "build" / "bin" / "wan_batch"
    if os.access(built, os.X_OK):
        return built
    found = shutil.which("wan_batch")
    if found is None:
        raise UsageProblem(f"there is no wan_batch, neither {built} (jobs/build.sh makes it) nor one on PATH; build it, "
                           "or name it with --wan-batch")
    return Path(found)


def list_rows(program: Path, manifest: Path) -> list[dict]:
    """The objects that `wan_batch --list-rows` prints. Throws UsageProblem with its message."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_PREFIXES)}
    try:
        done = subprocess.run([program, "--list-rows", manifest.absolute()], capture_output=True, env=environment,
                              stdin=subprocess.DEVNULL, timeout=REPORT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageProblem(f"{program} --list-rows does not run: {one_line(error)}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise UsageProblem(one_line(said.removeprefix("error: "), 2000) or f"{program} --list-rows ended with {done.returncode}")
    try:
        return [json.loads(line) for line in done.stdout.split(b"\n") if line]
    except ValueError as error:
        raise UsageProblem(f"{program} --list-rows printed something else than JSON lines: is it this version's wan_batch?") from error


def text_of(cell: dict) -> str:
    """A cell's text; bytes that are not UTF-8 become lone surrogates."""
    return cell["text"] if "text" in cell else bytes.fromhex(cell["hex"]).decode("utf-8", "surrogateescape")


def cells_of(cells: list[dict]) -> tuple[Cell, ...]:
    """The cells of a row or a header."""
    return tuple(Cell(cell["column"], text_of(cell), bool(cell["quoted"])) for cell in cells)


def read(program: Path, path: Path) -> Manifest:
    """Reads a manifest. Throws UsageProblem, also for rows whose form is broken: they cannot be written again unchanged."""
    if str(path) == "-" or not path.is_file():
        raise UsageProblem(f"{path} is no file; give the manifest as a file, which a restart can read again")
    head, *rows = list_rows(program, path)
    broken = [row for row in rows if row["form_is_broken"]]
    if broken:
        more = f" ({len(broken)} rows are like this)" if len(broken) > 1 else ""
        raise UsageProblem(f"{broken[0]['error']}{more}; correct the manifest: such a row cannot be written again unchanged")
    read_rows = tuple(Row(row["index"], row["line"], row["id"], Path(row["image"]) if row["image"] else None, row["prompt"],
                          row["error"], row["lacks_only_prompt"], cells_of(row["cells"])) for row in rows)
    used = {cell.column for row in read_rows for cell in row.cells}
    columns = tuple(name for name in head["known_columns"] if name in used)
    return Manifest(path, head["format"] == "csv", head["delimiter"] or ",", cells_of(head["header"]), columns, read_rows)


def check_output(manifest: Manifest, output: Path) -> None:
    """Whether the output's name and folder allow wan_batch to read it as the manifest. Throws UsageProblem."""
    if not output.parent.is_dir():
        raise UsageProblem(f"{output}: the folder {output.parent} is not there; make it, or choose another -o")
    if output.exists() and output.samefile(manifest.path):
        raise UsageProblem(f"{output} is the manifest itself; choose another -o: the manifest stays as it is")
    if manifest.is_csv and is_json(output):
        raise UsageProblem(f"{output}: the manifest is CSV, so the output is CSV; give it a name that ends in .csv")
    if output.parent.samefile(manifest.path.parent):
        return
    for row in manifest.rows:
        image = row.cell("image").strip()
        if image and not Path(image).is_absolute():
            raise UsageProblem(f"{output} lies in another folder than {manifest.path}, whose line {row.line} names an image relative to "
                               f"its own folder ({one_line(image, 80)}); write the output beside the manifest")


def is_json(path: Path) -> bool:
    """Whether wan_batch takes a file of this name for JSON."""
    return path.suffix in JSON_ENDINGS


def quoted(text: str) -> str:
    """A CSV cell in quotes."""
    return '"' + text.replace('"', '""') + '"'


def as_written(cell: Cell) -> str:
    """A CSV cell as the manifest has it."""
    return quoted(cell.text) if cell.quoted else cell.text


def csv_text(manifest: Manifest, new_cells: list[dict[str, str]]) -> str:
    """The manifest as CSV with the new cells of each row."""
    header = manifest.header or tuple(Cell(name, name, False) for name in manifest.columns)
    there = [cell.column for cell in header]
    added = [name for name in ("prompt", *EXTENSION_COLUMNS) if name not in there]
    join = manifest.delimiter.join
    lines = [] if manifest.delimiter in USUAL_DELIMITERS else [f"sep={manifest.delimiter}"]
    lines.append(join([as_written(cell) for cell in header] + added))
    for row, cells in zip(manifest.rows, new_cells, strict=True):
        # A JSON row has its own cells only; a CSV row has one for each column.
        old = list(row.cells) if manifest.is_csv else [Cell(name, row.cell(name), bool(row.cell(name))) for name in there if name]
        words = [quoted(cells[cell.column]) if cell.column in cells else as_written(cell) for cell in old]
        lines.append(join(words + [quoted(cells[name]) if cells.get(name) else "" for name in added]))
    return "\n".join(lines) + "\n"


def json_text(manifest: Manifest, new_cells: list[dict[str, str]]) -> str:
    """The manifest as JSON lines with the new cells of each row."""
    lines = [json.dumps({cell.column: cell.text for cell in row.cells} | cells, ensure_ascii=False)
             for row, cells in zip(manifest.rows, new_cells, strict=True)]
    return "\n".join(lines) + "\n"


def to_bytes(manifest: Manifest, new_cells: list[dict[str, str]], output: Path) -> bytes:
    """The content of the output. `new_cells`: by row, the columns to set."""
    text = json_text(manifest, new_cells) if is_json(output) else csv_text(manifest, new_cells)
    return text.encode("utf-8", "surrogateescape")


def check_written(before: Manifest, new_cells: list[dict[str, str]], after: Manifest) -> None:
    """Whether wan_batch reads the written manifest as it should. Throws UsageProblem; that would be a mistake of this program."""
    def differ(row: Row, what: str) -> UsageProblem:
        return UsageProblem(f"{before.path}:{row.line}: the written row differs in {what}; nothing was published. Please report this")

    if len(before.rows) != len(after.rows):
        raise UsageProblem(f"{before.path} has {len(before.rows)} rows and the written file has {len(after.rows)}; nothing was published. "
                           "Please report this")
    for old, cells, new in zip(before.rows, new_cells, after.rows, strict=True):
        for name in {cell.column for cell in (*old.cells, *new.cells)} | set(cells):
            if name is not None and new.cell(name) != cells.get(name, old.cell(name)):
                raise differ(old, name)
        if old.image != new.image and not old.lacks_only_prompt:
            raise differ(old, "the image's path")
