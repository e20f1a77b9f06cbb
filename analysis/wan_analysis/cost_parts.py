"""How the parts of a step depend on a group's layout, fitted to measured starts.

A part's law follows from its work. Computing divides over all GPUs, but its rate falls with the number of ulysses ranks, which have
fewer heads and rows each. How it falls beyond what was measured is not known: between a loss that nearly ends after the first halving
and a loss that is proportional to the ranks. Attention takes as long as on the rank with the most heads. An exchange moves
(u - 1) / u^2 of a pass's heads and tokens on each of u ranks, a gather fetches (n - 1) / n of the weights, and the two passes exchange
their predictions or do not.

Each fit is linear in the means of the measured layouts. So a prediction has a weight for each part of each layout, and the spread of
the starts becomes the prediction's error whatever the parts have in common.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wan_analysis.layouts import Layout
from wan_analysis.operations import A14B
from wan_analysis.trace_format import PARTS, REMAINDER

COMPUTING = ("attention", "linear", "elementwise")
EVERY_PART = (*PARTS, REMAINDER)

#: Shapes of the loss of rate with u ulysses ranks, (u^p - 1) / (2^p - 1), and how likely each is. p = -1: half of all loss comes with the
#: first halving; 0: the same with each; 1: in proportion to the ranks, as a constant time of each kernel has it.
SHAPES = {-1.0: 0.13, -0.5: 0.17, 0.0: 0.3, 0.5: 0.22, 1.0: 0.18}
#: Work that a group saves whose ranks compute both passes: they share block 0 up to the text. Mean and standard deviation, as fractions.
SHARED, SHARED_DEVIATION = 0.01, 0.01
#: Loss of rate by 2 ulysses ranks before anything is measured, as a fraction. Measurements soon outweigh it.
LOSS, LOSS_DEVIATION = 0.02, 0.03
#: Noise of a part from start to start is taken to be at least this fraction.
LEAST_NOISE = 0.001
#: A law of communication may be wrong by this fraction (a standard deviation) with each doubling from the nearest measured layout.
LAW_DEVIATION = 0.2


@dataclass(frozen=True)
class Start:
    """A start of the program, as it was measured: the median step, and its seconds by part, which add up to it."""

    layout: Layout
    step_s: float
    parts_s: Mapping[str, float]
    name: str = ""
    heads: int = A14B.heads  #: of the model


@dataclass
class Estimate:
    """Seconds of a step by part for one layout, and what they depend on."""

    parts_s: dict[str, float] = field(default_factory=dict)
    weights: dict[Layout, dict[str, float]] = field(default_factory=dict)  #: of the mean of each part in each measured layout
    law_s: float = 0.0  #: standard deviation by which the laws may be wrong
    loss: float = 0.0  #: loss of rate of all computing by 2 ulysses ranks, as a fraction

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        return sum(self.parts_s.values())

    def add_weight(self, layout: Layout, part: str, weight: float) -> None:
        """Adds to the weight of a layout's mean."""
        of_layout = self.weights.setdefault(layout, {})
        of_layout[part] = of_layout.get(part, 0.0) + weight


class Measurements:
    """The starts by layout, with means and noise of each part."""

    def __init__(self, starts: Sequence[Start], heads: int) -> None:
        self.heads = heads
        self.starts: dict[Layout, list[Start]] = {}
        for start in sorted(starts, key=lambda start: (start.layout.gpus, start.layout)):
            self.starts.setdefault(start.layout, []).append(start)
        self.layouts = list(self.starts)
        self.counts = np.array([len(found) for found in self.starts.values()], float)

    def means_s(self, part: str) -> np.ndarray:
        """The mean seconds of a part in each layout."""
        return np.array([np.mean([start.parts_s.get(part, 0.0) for start in found]) for found in self.starts.values()])

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the noise from start to start."""
        return int(self.counts.sum()) - len(self.layouts)

    def noise(self, values: Mapping[Layout, Sequence[float]], scales: Mapping[Layout, float]) -> float:
        """Standard deviation of one start's value over its layout's scale, pooled over the layouts. NaN without a repetition."""
        if not self.freedom:
            return math.nan
        squares = sum(float(np.sum((np.asarray(of) - np.mean(of)) ** 2)) / scales[layout] ** 2 for layout, of in values.items())
        return math.sqrt(squares / self.freedom)

    def part_noise(self, part: str) -> float:
        """Noise of a part from start to start, as a fraction of its mean; not below LEAST_NOISE."""
        values = {layout: [start.parts_s.get(part, 0.0) for start in found] for layout, found in self.starts.items()}
        means = dict(zip(self.layouts, self.means_s(part), strict=True))
        known = self.noise(values, means) if min(means.values()) > 0.0 else math.nan
        return max(known, LEAST_NOISE) if math.isfinite(known) else 10 * LEAST_NOISE


def estimate(measured: Measurements, asked: Layout) -> Estimate:
    """The step of `asked` by the laws. Every part that it has must be determined (see `unknown_parts`)."""
    result = Estimate()
    _add_computing(measured, asked, result)
    for part in EVERY_PART:
        if part not in COMPUTING:
            _add_by_law(measured, asked, part, result)
    return result


def loss_shape(ulysses: int, power: float) -> float:
    """Loss of rate with so many ulysses ranks, over the loss with 2."""
    return math.log2(ulysses) if power == 0.0 else (ulysses**power - 1.0) / (2.0**power - 1.0)


def _add_computing(measured: Measurements, asked: Layout, result: Estimate) -> None:
    gpus = np.array([layout.gpus for layout in measured.layouts], float)
    fits = {power: {part: _Computing(measured, part, power, gpus) for part in COMPUTING} for power in SHAPES}
    misfit = np.array([_Computing(measured, "", power, gpus).misfit for power in SHAPES])
    likely = np.array(list(SHAPES.values())) * np.exp(-(misfit - misfit.min()) / 2.0)
    likely /= likely.sum()
    totals = []
    for share, by_part in zip(likely, fits.values(), strict=True):
        total = 0.0
        for part, fit in by_part.items():
            seconds, weights = fit.at(asked)
            total += seconds
            result.parts_s[part] = result.parts_s.get(part, 0.0) + share * seconds
            for layout, weight in zip(measured.layouts, weights, strict=True):
                result.add_weight(layout, part, share * weight)
        totals.append(total)
        result.loss += share * sum(fit.loss_s for fit in by_part.values()) / max(sum(fit.whole_s for fit in by_part.values()), 1e-30)
    mean = float(likely @ totals)
    result.law_s = math.hypot(result.law_s, math.sqrt(float(likely @ (np.array(totals) - mean) ** 2)))


class _Computing:
    """One part of computing (or all, for ""), for one shape of the loss: GPU-seconds = whole + saved [cfg 2] + loss shape(ulysses)."""

    def __init__(self, measured: Measurements, part: str, power: float, gpus: np.ndarray) -> None:
        parts = (part,) if part else COMPUTING
        self.power, self.gpus, self.layouts = power, gpus, measured.layouts
        seconds = gpus * sum(measured.means_s(name) for name in parts)
        scale = float(np.mean(seconds))
        self.heads = measured.heads
        by_name = {name: float(np.mean(gpus * measured.means_s(name))) for name in parts}
        self.attention = by_name.get("attention", 0.0) / max(sum(by_name.values()), 1e-30)  # its fraction of these parts
        self.matrix = np.array([self._row(layout) for layout in measured.layouts])
        if scale <= 0.0:
            self.solution, self.mapping, self.misfit = np.zeros(3), np.zeros((3, len(gpus))), 0.0
            return
        noise = measured.part_noise(part) if part else max(measured.part_noise(name) for name in COMPUTING[:2])
        weights = measured.counts / (noise * np.maximum(seconds, 0.1 * scale)) ** 2
        prior = np.diag([0.0, (SHARED_DEVIATION * scale) ** -2, (LOSS_DEVIATION * scale) ** -2])
        expected = scale * np.array([0.0, SHARED, LOSS])
        inverse = np.linalg.inv(self.matrix.T @ (weights[:, None] * self.matrix) + prior)
        self.mapping = inverse @ (self.matrix.T * weights)
        self.solution = self.mapping @ seconds + inverse @ prior @ expected
        missed, moved = self.matrix @ self.solution - seconds, self.solution - expected
        self.misfit = float(missed @ (weights * missed) + moved @ prior @ moved)

    def _row(self, layout: Layout) -> list[float]:
        most = 1.0 + self.attention * (layout.uneven(self.heads) - 1.0)
        return [most * value for value in (1.0, float(layout.cfg == 2), loss_shape(layout.ulysses, self.power))]

    @property
    def loss_s(self) -> float:
        """GPU-seconds that 2 ulysses ranks lose."""
        return float(self.solution[2])

    @property
    def whole_s(self) -> float:
        """GPU-seconds of one GPU."""
        return float(self.solution[0])

    def at(self, asked: Layout) -> tuple[float, np.ndarray]:
        """Seconds of a step in this part, and the weight of each layout's mean seconds."""
        row = np.array(self._row(asked))
        return float(row @ self.solution) / asked.gpus, (row @ self.mapping) * self.gpus / asked.gpus


def _amount(part: str, layout: Layout, heads: int = A14B.heads) -> float:
    """The amount to which a part's seconds are proportional; 0: the layout does not have it."""
    if part == "all_to_all":
        return (layout.ulysses - 1) / layout.ulysses**2 / layout.cfg * layout.uneven(heads)
    if part == "weight_gather":
        return (layout.gpus - 1) / layout.gpus if layout.sharded else 0.0
    if part == "wait":
        return float(layout.cfg == 2)
    return 1.0  # copies and gaps between kernels: of every rank


def like(part: str, layout: Layout, asked: Layout) -> bool:
    """Whether a measured layout tells of this part of `asked`."""
    if _amount(part, layout) == 0.0:
        return False
    if part in ("all_to_all", "weight_gather", "wait"):
        return layout.spans == asked.spans
    return part != "host_copy" or layout.offloaded == asked.offloaded


def _add_by_law(measured: Measurements, asked: Layout, part: str, result: Estimate) -> None:
    amount = _amount(part, asked, measured.heads)
    found = [(place, layout) for place, layout in enumerate(measured.layouts) if like(part, layout, asked)]
    if amount == 0.0 or not found:
        result.parts_s[part] = 0.0
        return
    means = measured.means_s(part)
    # The nearer a layout is, the more it says: an exchange on two GPUs says little of one on eight.
    distance = np.array([1.0 + abs(math.log2(asked.gpus / layout.gpus)) for _, layout in found])
    shares = measured.counts[[place for place, _ in found]] / distance**2
    shares /= shares.sum()
    seconds = 0.0
    for share, (place, layout) in zip(shares, found, strict=True):
        weight = float(share) * amount / _amount(part, layout, measured.heads)
        seconds += weight * float(means[place])
        result.add_weight(layout, part, weight)
    result.parts_s[part] = seconds
    result.law_s = math.hypot(result.law_s, LAW_DEVIATION * seconds * float(distance.min() - 1.0))
