"""Medians of starts with 95 % intervals, and intervals of ratios of two medians.

The unit is a start. The interval of a median comes from the order of the values and assumes no distribution: the values number d from
each end hold the median with a known probability, and the interval lies between two such pairs where that is 95 % (Hettmansperger and
Sheather, "Confidence intervals based on interpolated order statistics", 1986). The interval of a ratio of two medians joins the distances
from both medians to their ends, as those of independent errors (Donner and Zou's MOVER, on logarithms). Both need no random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LEVEL = 0.95
#: With fewer starts no interval of the median holds 95 %.
LEAST_STARTS = 6


@dataclass(frozen=True)
class Interval:
    """The median of `n` starts. `low` and `high` are NaN for one start; with 2 to 5 starts they hold less than 95 %."""

    median: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """The farther end's distance from the median, as a fraction of the median. NaN if there is no interval."""
        return max(self.high - self.median, self.median - self.low) / abs(self.median) if self.median else math.nan

    def is_within(self, precision: float) -> bool:
        """Whether enough starts hold the interval within this fraction of the median."""
        return self.n >= LEAST_STARTS and self.half_width <= precision

    def scaled(self, factor: float) -> Interval:
        """The same in another unit; `factor` is above 0."""
        return Interval(self.median * factor, self.low * factor, self.high * factor, self.n)


UNKNOWN = Interval(math.nan, math.nan, math.nan, 0)


def median_interval(values: Sequence[float]) -> Interval:
    """The median of the finite values, one for each start, with its 95 % interval; from least to greatest for 2 to 5 values."""
    ordered = sorted(value for value in values if math.isfinite(value))
    count = len(ordered)
    if count < 2:
        return Interval(ordered[0], math.nan, math.nan, 1) if ordered else UNKNOWN
    inner, share = _ends(count)
    low = (1.0 - share) * ordered[inner - 1] + share * ordered[inner]
    high = (1.0 - share) * ordered[count - inner] + share * ordered[count - inner - 1]
    return Interval(float(np.median(ordered)), low, high, count)


def ratio_interval(upper: Sequence[float], lower: Sequence[float], factor: float = 1.0) -> Interval:
    """`factor` times the median of `upper` over the median of `lower`; `n` is that of the side with fewer starts.

    There is an interval if both sides have two starts and only values above 0.
    """
    above, below = median_interval(upper), median_interval(lower)
    if not above.n or not below.n or not below.median:
        return UNKNOWN
    ratio, count = factor * above.median / below.median, min(above.n, below.n)
    if count < 2 or min(above.low, below.low) <= 0.0:
        return Interval(ratio, math.nan, math.nan, count)
    down = math.hypot(math.log(above.median / above.low), math.log(below.high / below.median))
    up = math.hypot(math.log(above.high / above.median), math.log(below.median / below.low))
    return Interval(ratio, ratio * math.exp(-down), ratio * math.exp(up), count)


@lru_cache(maxsize=1024)
def _ends(count: int) -> tuple[int, float]:
    """(d, share): the ends lie this share of the way from the d-th value of each end to the next one inwards."""
    inner = 1
    while 2 * (inner + 1) <= count and _held(count, inner + 1) >= LEVEL:
        inner += 1
    outer_holds = _held(count, inner)
    if outer_holds < LEVEL or 2 * (inner + 1) > count:
        return inner, 0.0
    part = (outer_holds - LEVEL) / (outer_holds - _held(count, inner + 1))
    return inner, (count - inner) * part / (inner + (count - 2 * inner) * part)


def _held(count: int, inner: int) -> float:
    """Probability that the population's median lies between the values number `inner` from both ends."""
    tail = sum(math.comb(count, place) for place in range(inner)) / 2**count if count <= 1000 else _normal_tail(count, inner)
    return 1.0 - 2.0 * tail


def _normal_tail(count: int, inner: int) -> float:
    return 0.5 * math.erfc((count / 2.0 - (inner - 0.5)) / math.sqrt(count / 2.0))
