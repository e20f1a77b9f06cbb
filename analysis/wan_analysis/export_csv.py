"""Tidy tables of runs as CSV files: one row for each observation, units in the names of columns.

columns.csv says for each column of each file its unit and what it is. Times are seconds of the start's clock, that of world rank 0.
Empty cells are not known. A text that a spreadsheet would take for a formula gets an apostrophe before it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from wan_analysis.campaign import find_campaigns
from wan_analysis.run import Run
from wan_analysis.trace_format import ATTENTION_BACKEND, PARTS, STRETCH_COLUMNS, TABLES, UNKNOWN
from wan_analysis.whole_file import whole_file, write_whole

#: The meanings of columns whose names do not say it.
MEANINGS = {
    "run": "id of the start", "group": "number of the group of ranks", "item": "row of the group's items, from 0",
    "item_id": "name of the item",
    "stretch": "row of the group's stretches, from 0", "world_rank": "rank among all ranks of the start",
    "group_rank": "rank in its group or team", "step": "step of the item, from 0", "timestep": "noise level of the step, 1000 to 0",
    "expert": "transformer that made the step", "warm_up": "1: a step that measures leave out", "start_s": "begin on the start's clock",
    "time_s": "moment on the start's clock", "wall_s": "time by the host's clock", "end_s": "end on the start's clock",
    "sent_bytes": "bytes that the rank sent to others", "phase": "what the rank did", "background": "1: by a thread beside the rank's work",
    "latent_digest": "of the whole latent after the step: equal for equal bits",
    "merged_bytes": "bytes of weights written anew with other LoRAs",
    "assumed": "1: the trace has this for the group's leader only", "first_step": "steps that were done before",
    "steps": "steps of the item", "steps_done": "steps made here", "outcome": "how the item ended", "passes": "passes of a guided step",
    "team_width": "groups that make the steps together", "ranks": "world ranks that make the steps", "gpus": "ranks of the start",
    ATTENTION_BACKEND: "what computes self-attention",
    "campaign": "starts of one batch have the same name", "steps_lost": "steps made and never used",
    "steps_repeated": "steps that an earlier start had made", "throttle_reasons": "bits of NVML's nvmlClocksThrottleReasons",
    **{f"{part}_s": f"time of the part '{part}': by the GPU's clock on GPUs, else by the host's" for part in PARTS}}
UNITS = {"_s": "s", "_bytes": "byte", "_w": "W", "_c": "degC", "_mhz": "MHz", "_pixel": "pixel", "_rank_s": "rank-second"}
#: Columns whose names get their unit.
RENAMED = {"width": "width_pixel", "height": "height_pixel", **{part: f"{part}_s" for part in PARTS}, "id": "item_id"}


def export_csv(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Writes a file for each of _TABLES, starts.csv (campaigns) and columns.csv, and returns their paths. Throws OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    files, described = [], []
    for name, table_of in _TABLES.items():
        path = folder / f"{name}.csv"
        columns: list[str] = []
        with whole_file(path) as file:
            for place, run in enumerate(runs):
                table = _tidy(table_of(run), run)
                columns = columns or list(table.columns)
                _without_formulas(table.reindex(columns=columns)).to_csv(file, index=False, header=place == 0)
        files.append(path)
        described += [(path.name, column) for column in columns]
    starts = _without_formulas(_starts(runs))
    write_whole(folder / "starts.csv", starts.to_csv(index=False))
    described += [("starts.csv", column) for column in starts.columns]
    _describe(described, folder / "columns.csv")
    return [*files, folder / "starts.csv", folder / "columns.csv"]


def _runs(run: Run) -> pd.DataFrame:
    rows = [{name: group.attributes.get(name, "") for name in _ATTRIBUTES} for group in run.groups]
    return pd.DataFrame(rows).assign(gpus=run.gpus)


def _steps(run: Run) -> pd.DataFrame:
    ids = run.items.set_index(["group", "item"])["id"]
    steps = run.rank_steps.rename(columns={part: f"{part}_s" for part in PARTS})
    steps.insert(2, "item_id", ids.reindex(pd.MultiIndex.from_frame(steps[["group", "item"]])).to_numpy())
    return steps


_ATTRIBUTES = ("group", "groups", "ranks", "format", "version", "program", "started", "ended", "ended_s", "exit_reason", "host", "job",
               "job_start", "array_task", "task", "layout", "device", "gpu_model", "revision", "build", "driver", "cuda", "nccl", "mpi",
               "libtorch", "hdf5", "dropped_rows", "command")
_TABLES: dict[str, Callable[[Run], pd.DataFrame]] = {
    "runs": _runs, "items": lambda run: run.items,
    "stretches": lambda run: run.stretches.rename(columns={"attention": ATTENTION_BACKEND}), "steps": _steps,
    "phases": lambda run: run.phases, "samples": lambda run: run.samples.rename(columns={"rank": "world_rank"}),
    "ranks": lambda run: run.rank_info.merge(run.rank_spans, left_on="world_rank", right_index=True, how="left")}
#: Columns in which -1 stands for a value that is not known. In others -1 is a value: a phase of no item.
_UNKNOWN_IF_NEGATIVE = {name for columns in TABLES.values() for name, (kind, _) in columns.items() if kind == "int"} - {"item", "seed"}


def _tidy(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    table = table.rename(columns=RENAMED)
    for column in table.columns:
        values = table[column]
        if values.dtype == bool:
            table[column] = values.astype(int)
        elif column in ("width_pixel", "height_pixel", "frames") or (column in _UNKNOWN_IF_NEGATIVE and (values == UNKNOWN["int"]).any()):
            # Integers all the way: a digest of 64 bits would be rounded as a float, and it may be below 0.
            values = values.astype("Int64")
            table[column] = values.mask(values == UNKNOWN["int"] if column == "latent_digest" else values < 0)
        elif column in STRETCH_COLUMNS or column in (ATTENTION_BACKEND, "gpu_model", "gpu_uuid", "pci_bus", "host"):
            table[column] = values.where(values != UNKNOWN["text"], "")
    if "group" in table and len(run.groups) and "groups" not in table:
        table["group"] = [int(run.groups[place].attributes["group"]) for place in table["group"]]
    table.insert(0, "run", run.name)
    return table


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Names of items, hosts and folders come from users: none of them may become a formula in a spreadsheet."""
    def harmless(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

    for column in table.columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            table[column] = table[column].map(harmless)
    return table


def _starts(runs: Sequence[Run]) -> pd.DataFrame:
    frames = [campaign.starts.assign(campaign=f"{number} {campaign.name}") for number, campaign in enumerate(find_campaigns(runs), 1)]
    table = pd.concat(frames, ignore_index=True)
    return table[["campaign", *(column for column in table if column != "campaign")]]


def _describe(columns: list[tuple[str, str]], path: Path) -> None:
    with whole_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(["file", "column", "unit", "meaning"])
        for name, column in columns:
            ends = [end for end in UNITS if column.endswith(end)]
            unit = UNITS[max(ends, key=len)] if ends else "1"
            writer.writerow([name, column, unit, MEANINGS.get(column, column.removesuffix("_s").replace("_", " "))])
