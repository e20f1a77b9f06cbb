"""Changes of level in a row of times: where they are, and whether the times have two modes.

The noise is estimated from the differences of neighbours, which a change of level does not enlarge. Single slow values
are no change of level.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: Fewest values of a level.
LEAST_VALUES = 5
#: Two levels differ by at least this fraction ...
LEAST_SHIFT = 0.03
#: ... and by this many standard deviations of the values on one level.
LEAST_DEVIATIONS = 2.0
#: A change counts if the means of both sides differ by this many standard errors, wherever it lies. With few values the
#: noise itself is not well known, so that `FEW_VALUES` / n times more is asked for.
LEAST_ERRORS = 6.0
FEW_VALUES = 8.0
#: Two modes lie apart by this many standard deviations of the values in one mode (normal noise cut in two: 2.6; even noise: 3.5).
MODES_APART = 4.5
#: ... and by this many if a slow value follows a fast one far more often than by chance: the correlation of neighbours lies
#: `LEAST_ALTERNATION` standard errors below 0.
MODES_APART_ALTERNATING = 3.2
LEAST_ALTERNATION = 4.5
#: Fewest values, and the smaller mode's smallest share, for a verdict of two modes.
LEAST_MODE_VALUES, LEAST_MODE_SHARE = 12, 0.2
#: Median absolute difference of neighbours over the standard deviation, for normal noise.
_DIFFERENCE = 0.6745 * np.sqrt(2.0)
#: Mean absolute difference of neighbours over the standard deviation, for normal noise; a little less, as the largest are left out.
_MEAN_DIFFERENCE = 1.0
#: Relative noise below which two clocks cannot be told apart.
_LEAST_NOISE = 1e-4


@dataclass(frozen=True)
class Level:
    """Values from place `first` to place `last` (included) lie around `median`."""

    first: int
    last: int
    median: float

    @property
    def count(self) -> int:
        """Number of values."""
        return self.last - self.first + 1


def levels(values: np.ndarray, *, least_shift: float = LEAST_SHIFT, least_deviations: float = LEAST_DEVIATIONS) -> list[Level]:
    """The levels of `values` [n] in their order. One level if nothing changed. `least_shift` is a fraction of the median."""
    if len(values) == 0:
        return []
    smooth = _without_spikes(np.asarray(values, dtype=float))
    scale = abs(float(np.median(smooth))) or 1.0
    cuts = sorted(_cuts(smooth, 0, len(smooth), _noise(smooth, scale)))
    edges = [0, *cuts, len(smooth)]
    while len(edges) > 2:
        differences = [_difference(smooth, *edges[place - 1 : place + 2]) for place in range(1, len(edges) - 1)]
        weak = [max(least_shift * scale, least_deviations * noise) / difference if difference else np.inf
                for difference, noise in differences]
        weakest = int(np.argmax(weak))
        if weak[weakest] <= 1.0:
            break
        del edges[weakest + 1]
    return [Level(first, end - 1, float(np.median(values[first:end]))) for first, end in pairwise(edges)]


def two_modes(values: np.ndarray, *, least_shift: float = LEAST_SHIFT) -> np.ndarray | None:
    """For each value whether it belongs to the slower of two modes. None if there are not two modes."""
    values = np.asarray(values, dtype=float)
    count = len(values)
    if count < LEAST_MODE_VALUES:
        return None
    ordered = np.sort(values)
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    below = np.arange(1, count)
    low, high = sums[:-1] / below, (sums[-1] - sums[:-1]) / (count - below)
    within = np.maximum((squares[:-1] - below * low**2) + (squares[-1] - squares[:-1] - (count - below) * high**2), 0.0)
    place = int(np.argmin(within))
    smaller = min(place + 1, count - place - 1)
    apart = float(high[place] - low[place])
    deviation = max(float(np.sqrt(within[place] / max(count - 2, 1))), _LEAST_NOISE * abs(float(low[place])))
    if smaller < LEAST_MODE_SHARE * count or apart < least_shift * float(low[place]):
        return None
    least = MODES_APART_ALTERNATING if _alternates(values) else MODES_APART * (1.0 + FEW_VALUES / count)
    if apart < least * deviation:
        return None
    return values > (low[place] + high[place]) / 2.0


def _alternates(values: np.ndarray) -> bool:
    centred = values - values.mean()
    variance = float(np.dot(centred, centred))
    return variance > 0.0 and float(np.dot(centred[:-1], centred[1:])) / variance < -LEAST_ALTERNATION / np.sqrt(len(values))


def _noise(values: np.ndarray, scale: float) -> float:
    """Standard deviation of the values on one level."""
    if len(values) < 2:
        return _LEAST_NOISE * scale
    steps = np.sort(np.abs(np.diff(values)))
    most = steps[: max(1, len(steps) - 1 - len(steps) // 20)]  # without those that a change of level makes
    return max(float(np.median(steps) / _DIFFERENCE), float(np.mean(most) / _MEAN_DIFFERENCE), _LEAST_NOISE * scale)


def _without_spikes(values: np.ndarray) -> np.ndarray:
    """The values with single ones, or pairs, that lie far from their neighbours put to the neighbours' median."""
    if len(values) < LEAST_VALUES:
        return values
    padded = np.pad(values, 2, mode="reflect")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    far = np.abs(values - around)
    noise = 1.4826 * float(np.median(far))
    return np.where(far > 5.0 * max(noise, _LEAST_NOISE * abs(float(np.median(values)))), around, values)


def _cuts(values: np.ndarray, first: int, end: int, noise: float) -> list[int]:
    """Places where the mean changes, found by halving again and again."""
    found, open_parts = [], [(first, end)]
    while open_parts:
        first, end = open_parts.pop()
        count = end - first
        if count < 2 * LEAST_VALUES:
            continue
        sums = np.cumsum(values[first:end])
        left = np.arange(LEAST_VALUES, count - LEAST_VALUES + 1)
        means, others = sums[left - 1] / left, (sums[-1] - sums[left - 1]) / (count - left)
        errors = np.abs(means - others) / np.sqrt(1.0 / left + 1.0 / (count - left)) / noise
        best = int(np.argmax(errors))
        if errors[best] < LEAST_ERRORS * (1.0 + FEW_VALUES / len(values)):
            continue
        cut = first + int(left[best])
        found.append(cut)
        open_parts += [(first, cut), (cut, end)]
    return found


def _difference(values: np.ndarray, first: int, cut: int, end: int) -> tuple[float, float]:
    """Difference of the medians of two neighbouring levels, and the standard deviation of the values on them."""
    one, other = values[first:cut], values[cut:end]
    difference = abs(float(np.median(one)) - float(np.median(other)))
    residuals = np.concatenate([one - np.median(one), other - np.median(other)])
    return difference, 1.4826 * float(np.median(np.abs(residuals)))
