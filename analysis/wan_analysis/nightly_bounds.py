"""Stored bounds for the first nights, while a history is too short for change points.

They follow ReFrame's convention, for each GPU model and benchmark: metric -> [value, lower, upper, unit]. The bounds are fractions of the
value, or null for no bound.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan_analysis.nightly_result import MAIN, MANIFEST, PART, NightlyError, metrics_of, parse_result, unit_of
from wan_analysis.trace_format import EARLIER_PRECISION, PRECISION, precision_name

#: [value, lower bound, upper bound, unit]
Reference = tuple[float, float | None, float | None, str]

#: Bounds for a metric that has none yet: the fraction by which it may grow.
DEFAULT_UPPER = {"s": 0.03, "byte": 0.02}
#: A whole run includes start-up and files, which vary more.
MANIFEST_UPPER = 0.15
#: A part may grow by this fraction of the step without being reported, because small parts vary much more relative to themselves.
PART_SHARE = 0.01


@dataclass(frozen=True)
class Judged:
    """One metric of a result against its bounds."""

    metric: str
    value: float
    reference: Reference

    @property
    def is_regression(self) -> bool:
        """Whether it lies above its upper bound. A value below the lower bound is good and calls for new bounds."""
        value, _, upper, _ = self.reference
        return upper is not None and self.value > value * (1 + upper)

    @property
    def reason(self) -> str:
        """Why it fails."""
        value, _, upper, unit = self.reference
        return f"{self.value:.4g} {unit} is above its bound of {value * (1 + (upper or 0)):.4g} {unit} (stored value {value:.4g})"


def bounds_key(result: Mapping[str, Any]) -> str:
    """The key of a benchmark in the file of its GPU model."""
    return f"{result.get('model', '')} {result.get('size', '')} {result.get('frame_num', '')} frames, {result.get('gpus', '')} GPUs, " \
           f"{precision_name(result.get('precision', ''))}, {result.get('layout', '')}"


def references_file(project: Path, result: Mapping[str, Any]) -> Path:
    """The file for the result's GPU model: in the checkout, else the one that came with the package. It may not exist."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", str(result.get("gpu_model", "unknown"))).strip("_") + ".json"
    own = project / "analysis" / "references" / name
    places = [Path(__file__).resolve().parent / "references" / name, Path(__file__).resolve().parents[1] / "references" / name]
    return own if own.exists() else next((place for place in places if place.is_file()), own)


def _stored(path: Path) -> dict[str, Any]:
    """Bounds by the key of today, whichever word for bf16 their keys have."""
    try:
        stored = parse_result(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, NightlyError) as error:
        raise NightlyError(f"{path}: cannot be read as JSON ({error}); nothing was changed") from error
    return {key.replace(f", {EARLIER_PRECISION}, ", f", {PRECISION}, "): metrics for key, metrics in stored.items()}


def read_references(path: Path, key: str) -> dict[str, Reference]:
    """The bounds of one benchmark; none if the file has none. Throws NightlyError if they are malformed."""
    try:
        found = {metric: (float(v), None if lo is None else float(lo), None if up is None else float(up), str(unit))
                 for metric, (v, lo, up, unit) in _stored(path).get(key, {}).items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise NightlyError(f"{path}: '{key}' is malformed, expected metric -> [value, lower, upper, unit] ({error})") from error
    for metric, (value, _, _, unit) in found.items():
        if unit not in DEFAULT_UPPER:
            raise NightlyError(f"{path}: '{key}': {metric} has the unknown unit '{unit}'; units are {' and '.join(DEFAULT_UPPER)}")
        if not (math.isfinite(value) and value >= 0):
            raise NightlyError(f"{path}: '{key}': {metric} is {value}, which is no measurement")
    return found


def write_references(path: Path, key: str, result: Mapping[str, Any]) -> None:
    """Stores the result as the benchmark's bounds; other benchmarks of the file stay. Throws NightlyError."""
    stored = _stored(path)
    step_s = float(result[MAIN])
    entries = {}
    for metric, value in metrics_of(result).items():
        if not value > 0:
            continue
        unit = unit_of(metric) or "s"
        upper = MANIFEST_UPPER if metric == MANIFEST else DEFAULT_UPPER[unit]
        if metric.startswith(PART):
            upper = max(upper, PART_SHARE * step_s / value)
        entries[metric] = [value, -upper if upper < 1 else None, upper, unit]
    stored[key] = entries
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def judge(metrics: Mapping[str, float], references: Mapping[str, Reference]) -> list[Judged]:
    """Every metric that has bounds."""
    return [Judged(metric, metrics[metric], reference) for metric, reference in references.items() if metric in metrics]


def grown_parts(judged: list[Judged]) -> list[str]:
    """Parts of the step beyond their bounds. The part that costs most comes first."""
    parts = [entry for entry in judged if entry.is_regression and entry.metric.startswith(PART)]
    parts.sort(key=lambda entry: entry.reference[0] - entry.value)
    return [entry.metric.removeprefix(PART).replace("_", " ") for entry in parts]
