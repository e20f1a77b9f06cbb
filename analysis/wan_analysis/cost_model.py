"""A cost model of a step. It is fitted to the measured GPU counts and predicts others.

The form of each part follows from its work. Computing divides over all GPUs except for a constant (launches, waves
that do not fill the chip). An all-to-all moves (u - 1) / u^2 of a pass's heads and tokens on each of u ranks. A gather
fetches (n - 1) / n of the weights. The exchange between the two passes happens or does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wan_analysis.operations import A14B
from wan_analysis.step_table import StepRow
from wan_analysis.texts import listed
from wan_analysis.trace_format import PARTS, REMAINDER

#: If a model misses its own input by more than this fraction, its predictions are not reliable.
TRUSTED_ERROR = 0.03


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
        return f"cfg{self.cfg} x ulysses{self.ulysses}" + (f", sharded over {self.gpus}" if self.sharded else "")


def layout_of(row: StepRow) -> Layout:
    """The layout of measured steps. Throws ValueError if their trace has none."""
    layout = row.layout
    if layout.cfg is None or layout.ulysses is None:
        raise ValueError(f"run {row.run.name}: the layout of its steps is not recorded; run it again with today's programs")
    return Layout(layout.cfg, layout.ulysses, "sharded" in (layout.placement or ""))


def group_layouts(gpus: int, heads: int, *, guided: bool) -> list[tuple[int, int]]:
    """(cfg, ulysses) of every way in which wan_batch divides a step over a group of so many GPUs, its choice first.

    As possible_grids() in src/parallel/layout.cpp: the passes of guidance are split or not, and the heads divide.
    """
    ways = [(cfg, gpus // cfg) for cfg in ((2, 1) if guided else (1,)) if gpus % cfg == 0]
    return [(cfg, ulysses) for cfg, ulysses in ways if heads % ulysses == 0]


def layout_for(gpus: int, like: Layout, *, heads: int = A14B.heads, guided: bool = True) -> Layout:
    """The program's choice for one group of this number of GPUs. Weights lie as in `like`.

    Throws ValueError if wan_batch takes no such group; the message names the groups that it takes on so many GPUs.
    """
    ways = group_layouts(gpus, heads, guided=guided)
    if ways:
        return Layout(*ways[0], like.sharded and gpus > 1)
    sizes = [str(size) for size in range(1, gpus) if gpus % size == 0 and group_layouts(size, heads, guided=guided)]
    tried = " or ".join(f"cfg{cfg} x ulysses{gpus // cfg}" for cfg in ((2, 1) if guided else (1,)) if gpus % cfg == 0)
    raise ValueError(f"--gpus {gpus}: wan_batch takes no group of {gpus} GPUs ({tried}: {heads} heads do not divide over it). "
                     f"On {gpus} GPUs it takes groups of {listed(sizes, 20)}; give one of them, as each group makes its own videos")


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


def fit(rows: Sequence[StepRow]) -> CostModel:
    """Fits each part by least squares, without negative coefficients. Throws ValueError for fewer than two GPU counts."""
    layouts = [layout_of(row) for row in rows]
    if len({layout.gpus for layout in layouts}) < 2:
        raise ValueError("a cost model needs runs on at least two GPU counts")
    coefficients = {}
    for part in (*PARTS, REMAINDER):
        matrix = np.array([_features(part, layout) for layout in layouts])
        seconds = np.array([row.parts_s[part] for row in rows])
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


def predict(rows: Sequence[StepRow], gpus: Sequence[int], heads: int = A14B.heads) -> tuple[CostModel, list[Prediction], list[str]]:
    """The model, its times for the measured and the requested GPU counts, and why some counts have none.

    Throws ValueError as fit() does.
    """
    model = fit(rows)
    known = [Prediction(layout_of(row), model.step_s(layout_of(row)), row.step_s) for row in rows]
    asked, refused = [], []
    for number in gpus:
        try:
            asked.append(layout_for(number, layout_of(rows[-1]), heads=heads, guided=rows[-1].work.passes != 1))
        except ValueError as error:
            refused.append(str(error))
    return model, known + [Prediction(layout, model.step_s(layout), float("nan")) for layout in asked], refused


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
