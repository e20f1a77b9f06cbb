"""Nightly benchmarks: compares a result with stored bounds, keeps a history, and draws its trend.

References follow ReFrame's convention, for each GPU model and benchmark: metric -> [value, lower, upper, unit]. The bounds are fractions
of the value, or null for no bound. ReFrame itself would need a site configuration and its own scheduler to run one command and read one
line.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from wan_analysis import palette
from wan_analysis.html_page import figure_html, page
from wan_analysis.trace_format import EARLIER_PRECISION, PRECISION, precision_name

#: [value, lower bound, upper bound, unit]
Reference = tuple[float, float | None, float | None, str]

#: Bounds for a metric that has none yet: the fraction by which it may grow.
DEFAULT_UPPER = {"s": 0.03, "byte": 0.02}
#: A whole run includes start-up and files, which vary more.
MANIFEST_UPPER = 0.15
#: A part may grow by this fraction of the step without being reported, because small parts vary much more relative to themselves.
PART_SHARE = 0.01


class NightlyError(Exception):
    """The benchmark did not run, or there is no reference for it. The message is complete."""


@dataclass(frozen=True)
class Judged:
    """One metric of a result against its bounds."""

    metric: str
    value: float
    reference: Reference

    @property
    def is_regression(self) -> bool:
        """Whether it lies above its upper bound. A value below the lower bound is good and calls for new references."""
        value, _, upper, _ = self.reference
        return upper is not None and self.value > value * (1 + upper)

    @property
    def is_improvement(self) -> bool:
        """Whether it lies below its lower bound."""
        value, lower, _, _ = self.reference
        return lower is not None and self.value < value * (1 + lower)


def run_benchmark(command: Sequence[str]) -> dict[str, Any]:
    """Runs the command and reads the JSON object in its last line of output. Throws NightlyError."""
    try:
        done = subprocess.run(list(command), stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        raise NightlyError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise NightlyError(f"the benchmark ended with exit code {done.returncode} (its messages are above)")
    lines = done.stdout.strip().splitlines()
    try:
        result = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError as error:
        raise NightlyError(f"the last line of the benchmark's output is no JSON: {lines[-1][:80]!r} ({error.msg})") from error
    if not isinstance(result, dict) or not isinstance(result.get("s_per_step"), (int, float)):
        raise NightlyError("the benchmark's last line lacks 's_per_step'")
    return result


def time_manifest(command: Sequence[str]) -> float:
    """Seconds of a whole run of wan_batch on a fixed manifest, start and load included. Throws NightlyError unless it ends with 0."""
    start = time.monotonic()
    try:
        done = subprocess.run(list(command), stdout=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise NightlyError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise NightlyError(f"the manifest's run ended with exit code {done.returncode} (its messages are above)")
    return time.monotonic() - start


def metrics_of(result: dict[str, Any]) -> dict[str, tuple[float, str]]:
    """Metric -> (value, unit) of a benchmark's result: step, parts, other stages, memory."""
    metrics = {"s_per_step": (float(result["s_per_step"]), "s")}
    for part, seconds in (result.get("parts_s") or {}).items():
        if isinstance(seconds, (int, float)) and seconds > 0:
            metrics[f"parts_s/{part}"] = (float(seconds), "s")
    for name in ("text_s", "vae_encode_s", "vae_decode_s", "manifest_s"):
        if isinstance(result.get(name), (int, float)):
            metrics[name] = (float(result[name]), "s")
    if isinstance(result.get("peak_vram_bytes"), (int, float)) and result["peak_vram_bytes"] > 0:
        metrics["peak_vram_bytes"] = (float(result["peak_vram_bytes"]), "byte")
    return metrics


def benchmark_key(result: dict[str, Any]) -> str:
    """A key that two results share if they can be compared: the same work on the same number of GPUs."""
    return f"{result.get('model', '')} {result.get('size', '')} {result.get('frame_num', '')} frames, {result.get('gpus', '')} GPUs, " \
           f"{precision_name(result.get('precision', ''))}, {result.get('layout', '')}"


def _current_keys(stored: object) -> object:
    """References by benchmark_key() of today, whichever word for bf16 their keys have."""
    if not isinstance(stored, dict):
        return stored
    return {key.replace(f", {EARLIER_PRECISION}, ", f", {PRECISION}, "): metrics for key, metrics in stored.items()}


def references_file(project: Path, result: dict[str, Any]) -> Path:
    """The file for the result's GPU model."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", str(result.get("gpu_model", "unknown"))).strip("_")
    return project / "analysis" / "references" / f"{name}.json"


def own_references(path: Path) -> Path:
    """The file of this name that came with the package: in an installed package, or in its checkout. It may not exist."""
    installed = Path(__file__).resolve().parent / "references" / path.name
    return installed if installed.is_file() else Path(__file__).resolve().parents[1] / "references" / path.name


def read_references(path: Path, key: str) -> dict[str, Reference]:
    """The bounds of one benchmark. Throws NightlyError if there are none or they are malformed."""
    try:
        stored = _current_keys(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NightlyError(f"{path}: there are no references for this GPU model yet; make them with --update") from None
    except (OSError, json.JSONDecodeError) as error:
        raise NightlyError(f"{path}: cannot be read as JSON ({error})") from error
    if key not in stored:
        raise NightlyError(f"{path}: holds no references for '{key}'; make them with --update")
    try:
        return {metric: (float(v), None if lo is None else float(lo), None if up is None else float(up), str(unit))
                for metric, (v, lo, up, unit) in stored[key].items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise NightlyError(f"{path}: '{key}' is malformed, expected metric -> [value, lower, upper, unit] ({error})") from error


def write_references(path: Path, key: str, result: dict[str, Any]) -> None:
    """Stores the result as the benchmark's references; other benchmarks of the file stay. Throws NightlyError."""
    stored = {}
    if path.exists():
        try:
            stored = _current_keys(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError) as error:
            raise NightlyError(f"{path}: cannot be read as JSON ({error}); nothing was changed") from error
    step_s = float(result["s_per_step"])
    entries = {}
    for metric, (value, unit) in metrics_of(result).items():
        upper = MANIFEST_UPPER if metric == "manifest_s" else DEFAULT_UPPER[unit]
        if metric.startswith("parts_s/"):
            upper = max(upper, PART_SHARE * step_s / value)
        entries[metric] = [value, -upper if upper < 1 else None, upper, unit]
    stored[key] = entries
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def judge(result: dict[str, Any], references: dict[str, Reference]) -> list[Judged]:
    """Every metric that has a reference."""
    metrics = metrics_of(result)
    return [Judged(metric, metrics[metric][0], reference) for metric, reference in references.items() if metric in metrics]


def grown_parts(judged: Sequence[Judged]) -> list[str]:
    """Parts of the step beyond their bounds. The part that costs most comes first."""
    parts = [entry for entry in judged if entry.is_regression and entry.metric.startswith("parts_s/")]
    parts.sort(key=lambda entry: entry.reference[0] - entry.value)
    return [entry.metric.removeprefix("parts_s/").replace("_", " ") for entry in parts]


def append_history(folder: Path, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Adds the result with the time to history.jsonl and returns all entries. Ignores a line that a crash cut off."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "history.jsonl"
    entry = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds"), **result}
    ends_open = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if ends_open else "") + json.dumps(entry) + "\n")
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


def trend_html(entries: Sequence[dict[str, Any]], references: dict[str, Reference], key: str) -> str:
    """A page with the history of the step's time and of its parts, within their bounds."""
    own = [entry for entry in entries if benchmark_key(entry) == key]
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    axis = figure.subplots()
    nights = range(1, len(own) + 1)
    axis.plot(nights, [entry["s_per_step"] for entry in own], "o-", color=palette.BLACK, label="step")
    for part, colour in palette.PART_COLOURS.items():
        values = [(entry.get("parts_s") or {}).get(part) or float("nan") for entry in own]
        if any(value == value for value in values):
            axis.plot(nights, values, ".-", color=colour, label=part.replace("_", " "))
    if "s_per_step" in references:
        value, lower, upper, _ = references["s_per_step"]
        axis.axhspan(value * (1 + (lower or 0)), value * (1 + (upper or 0)), color=palette.GREEN, alpha=0.15, label="bounds of a step")
    axis.set(xlabel="run [count, oldest first]", ylabel="time of a step [s]", title=key)
    axis.set_ylim(bottom=0)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return page("Nightly benchmark", figure_html(figure, "Time of a step and of its parts, night by night"))


def judgement_text(judged: Sequence[Judged]) -> str:
    """A line per metric."""
    lines = []
    for entry in judged:
        value, lower, upper, unit = entry.reference
        verdict = "REGRESSION" if entry.is_regression else "better than its bounds" if entry.is_improvement else "ok"
        bounds = "..".join("" if bound is None else f"{value * (1 + bound):.4g}" for bound in (lower, upper))
        lines.append(f"{entry.metric:<24} {entry.value:12.4g} {unit:<4} reference {value:.4g} ({bounds})  {verdict}")
    return "\n".join(lines) + "\n"
