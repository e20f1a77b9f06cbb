"""A cost model of a step. It is fitted to the measured GPU counts and predicts others.

The form of each part follows from its work. Computing divides over all GPUs except for a constant (launches, waves
that do not fill the chip). An all-to-all moves (u - 1) / u^2 of a pass's heads and tokens on each of u ranks. A gather
fetches (n - 1) / n of the weights. The exchange between the two passes happens or does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wan_analysis.run import Run
from wan_analysis.study import ScalingRow
from wan_analysis.trace_format import PARTS, REMAINDER

#: If a model misses its own input by more than this fraction, its predictions are not reliable.
TRUSTED_ERROR = 0.03

_LAYOUT = re.compile(r"cfg(\d+) x ulysses(\d+)")


@dataclass(frozen=True)
class Layout:
    """How a group divides a step."""

    cfg: int
    ulysses: int
    sharded: bool

    @property
    def gpus(self) -> int:
        """GPUs of the group."""
        return self.cfg * self.ulysses

    def __str__(self) -> str:
        return f"cfg{self.cfg} x ulysses{self.ulysses}" + (f", fsdp{self.gpus}" if self.sharded else "")


def layout_of(run: Run) -> Layout:
    """The layout of the run's items. Throws ValueError if its trace has none, or the items had several."""
    if not run.layout:
        raise ValueError(f"run {run.name}: its trace does not name its layout (older versions of wan_bench did not write it); run it again")
    found = set(_LAYOUT.findall(run.layout))
    if len(found) != 1:
        raise ValueError(f"run {run.name}: the layout '{run.layout}' is not one that the model knows")
    cfg, ulysses = next(iter(found))
    return Layout(int(cfg), int(ulysses), "fsdp" in run.layout)


def layout_for(gpus: int, like: Layout) -> Layout:
    """The program's choice for this number of GPUs: it splits guidance first, then the sequence. Weights lie as in `like`."""
    cfg = 2 if gpus % 2 == 0 else 1
    return Layout(cfg, gpus // cfg, like.sharded and gpus > 1)


def _features(part: str, layout: Layout) -> list[float]:
    share = 1.0 / layout.gpus
    if part == "all_to_all":
        return [(layout.ulysses - 1) / layout.ulysses**2 / layout.cfg]
    if part == "weight_gather":
        return [(layout.gpus - 1) / layout.gpus if layout.sharded else 0.0]
    if part == "wait":
        return [1.0 if layout.cfg == 2 else 0.0]
    return [share, 1.0]


@dataclass(frozen=True)
class CostModel:
    """Coefficients by part."""

    coefficients: dict[str, np.ndarray]

    def parts_s(self, layout: Layout) -> dict[str, float]:
        """Seconds of a step by part."""
        return {part: float(np.dot(_features(part, layout), values)) for part, values in self.coefficients.items()}

    def step_s(self, layout: Layout) -> float:
        """Seconds of a step."""
        return sum(self.parts_s(layout).values())


def fit(rows: Sequence[ScalingRow]) -> CostModel:
    """Fits each part by least squares, without negative coefficients. Throws ValueError for fewer than two GPU counts."""
    layouts = [layout_of(row.run) for row in rows]
    if len({layout.gpus for layout in layouts}) < 2:
        raise ValueError("a cost model needs runs on at least two GPU counts")
    coefficients = {}
    for part in (*PARTS, REMAINDER):
        matrix = np.array([_features(part, layout) for layout in layouts])
        seconds = np.array([row.step.parts_s[part] for row in rows])
        coefficients[part] = _non_negative_least_squares(matrix, seconds)
    return CostModel(coefficients)


def _non_negative_least_squares(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Tries every choice of the one or two columns, and takes the best one whose solution has no negative coefficient."""
    columns = matrix.shape[1]
    best, best_error = np.zeros(columns), float(values @ values)
    for chosen in range(1, 2**columns):
        used = [column for column in range(columns) if chosen >> column & 1]
        solution = np.zeros(columns)
        solution[used] = np.linalg.lstsq(matrix[:, used], values, rcond=None)[0]
        error = float(np.sum((matrix @ solution - values) ** 2))
        if solution.min() >= 0 and error < best_error:
            best, best_error = solution, error
    return best


@dataclass(frozen=True)
class Prediction:
    """One GPU count: the model's time, and the measured time (NaN if there is none)."""

    layout: Layout
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Fraction by which the prediction is too long. NaN without a measurement."""
        return self.predicted_s / self.measured_s - 1.0


def predict(rows: Sequence[ScalingRow], gpus: Sequence[int]) -> tuple[CostModel, list[Prediction]]:
    """The model, and its times for the measured and the requested GPU counts. Throws ValueError as fit() does."""
    model = fit(rows)
    known = [Prediction(layout_of(row.run), model.step_s(layout_of(row.run)), row.step.wall_s) for row in rows]
    like = layout_of(rows[-1].run)
    asked = [layout_for(count, like) for count in gpus]
    return model, known + [Prediction(layout, model.step_s(layout), float("nan")) for layout in asked]


def predictions_text(model: CostModel, predictions: Sequence[Prediction]) -> str:
    """A table for a terminal."""
    base = predictions[0]
    lines = [f"{'GPUs':>4}  {'layout':<26} {'model [s]':>9} {'measured [s]':>12} {'error':>7} {'speed-up':>8}"]
    for entry in predictions:
        measured = "" if np.isnan(entry.measured_s) else f"{entry.measured_s:.4g}"
        error = "" if np.isnan(entry.error) else f"{100 * entry.error:+.1f} %"
        lines.append(f"{entry.layout.gpus:>4}  {entry.layout!s:<26} {entry.predicted_s:9.4g} {measured:>12} {error:>7} "
                     f"{base.predicted_s / entry.predicted_s:8.2f}")
    last = predictions[-1]
    parts = sorted(model.parts_s(last.layout).items(), key=lambda part: -part[1])
    named = [f"{part.replace('_', ' ')} {seconds:.3g} s" for part, seconds in parts if seconds > 0]
    lines.append(f"on {last.layout.gpus}: {', '.join(named)}")
    return "\n".join(lines) + "\n"
