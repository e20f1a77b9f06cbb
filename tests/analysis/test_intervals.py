"""Intervals of medians over starts and of ratios of medians, held to simulated studies whose truth is known.

1,000 studies with WAN_NIGHTLY=1, a twentieth by default.
"""

import math
import os

import numpy as np
import pytest
from wan_analysis.intervals import LEAST_STARTS, UNKNOWN, Interval, median_interval, ratio_interval

STUDIES = 1000 if os.environ.get("WAN_NIGHTLY") else 50
RESAMPLES = 1000
#: Kinds of noise between starts, in standard deviations, as functions of (random, count); and the median of each.
KINDS = {
    "normal": (lambda random, count: random.standard_normal(count), 0.0),
    "skewed": (lambda random, count: random.exponential(1.0, count) - math.log(2.0), 0.0),
    "two modes": (lambda random, count: np.where(random.random(count) < 0.5, -0.95, 0.95) + 0.3 * random.standard_normal(count), 0.0),
    "a slow mode": (lambda random, count: np.where(random.random(count) < 0.25, 2.5, 0.0) + 0.3 * random.standard_normal(count), None),
}
BASE_S, HERE_S, GPUS = 5.147, 1.395, 4


def median_of(kind):
    draw, median = KINDS[kind]
    return float(np.median(draw(np.random.default_rng(0), 400_001))) if median is None else median


def bootstrap_width(random, base, here=None):
    """Width of the percentile bootstrap's 95 % interval, of a median or of a ratio of medians."""
    medians = [np.median(values[random.integers(0, len(values), (RESAMPLES, len(values)))], axis=1)
               for values in (base, here) if values is not None]
    drawn = medians[0] if here is None else medians[0] / medians[1]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(high - low)


def test_intervals_hold_the_truth_and_are_not_wide():
    """Speed-up, efficiency and GPU-hours; every pair of kinds, 6 to 20 starts of base and other, noise of 0.5 to 3 %."""
    random = np.random.default_rng(24)
    truths = {kind: median_of(kind) for kind in KINDS}
    held, widths = {"speed-up": 0, "efficiency": 0, "GPU-hours": 0}, {"speed-up": [], "GPU-hours": []}
    for study in range(STUDIES):
        kinds = [list(KINDS)[study % 4], list(KINDS)[study // 4 % 4]]
        noises = random.uniform(0.005, 0.03, 2)
        base, here = (seconds * np.exp(noise * KINDS[kind][0](random, int(random.integers(6, 21))))
                      for seconds, kind, noise in zip((BASE_S, HERE_S), kinds, noises, strict=True))
        base_s, here_s = (seconds * math.exp(noise * truths[kind])
                          for seconds, kind, noise in zip((BASE_S, HERE_S), kinds, noises, strict=True))
        found = {"speed-up": (ratio_interval(base, here), base_s / here_s),
                 "efficiency": (ratio_interval(base, here, 1.0 / GPUS), base_s / here_s / GPUS),
                 "GPU-hours": (median_interval(GPUS / 3600.0 * here), GPUS / 3600.0 * here_s)}
        for name, (interval, truth) in found.items():
            held[name] += interval.low <= truth <= interval.high
            assert interval.low <= interval.median <= interval.high
        widths["speed-up"].append((found["speed-up"][0].high - found["speed-up"][0].low) / bootstrap_width(random, base, here))
        hours = found["GPU-hours"][0]
        widths["GPU-hours"].append((hours.high - hours.low) / bootstrap_width(random, GPUS / 3600.0 * here))
    rates = {name: count / STUDIES for name, count in held.items()}
    means = {name: float(np.mean(values)) for name, values in widths.items()}
    print("held:", rates, "width over a percentile bootstrap's:", means)
    assert min(rates.values()) >= 0.91, rates
    assert max(means.values()) <= 1.3, means


@pytest.mark.parametrize("count", [6, 7, 8, 12, 20, 33])
def test_each_number_of_starts_holds_95_percent(count):
    random = np.random.default_rng(count)
    drawn = np.exp(0.01 * random.standard_normal((40 * STUDIES, count)))
    found = [median_interval(values) for values in drawn]
    assert np.mean([interval.low <= 1.0 <= interval.high for interval in found]) == pytest.approx(0.95, abs=0.025)


def test_the_interval_of_few_starts_is_their_range():
    assert median_interval([]) == UNKNOWN
    one = median_interval([5.0, math.nan])
    assert (one.median, one.n) == (5.0, 1)
    assert math.isnan(one.low)
    assert median_interval([3.0, 1.0, 2.0]) == Interval(2.0, 1.0, 3.0, 3)
    assert not median_interval([1.0] * (LEAST_STARTS - 1)).is_within(0.01)
    assert median_interval([1.0] * LEAST_STARTS).is_within(0.01)


def test_known_intervals():
    """Six starts: almost the range. The ends of Hettmansperger and Sheather's interpolation, computed by hand for 7."""
    seven = median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    holds = [1 - 2 / 2**7, 1 - 2 * 8 / 2**7]
    part = (holds[0] - 0.95) / (holds[0] - holds[1])
    share = 6 * part / (1 + 5 * part)
    assert (seven.low, seven.high) == (pytest.approx(1 + share), pytest.approx(7 - share))
    assert seven.half_width == pytest.approx((3 - share) / 4)
    assert median_interval(list(range(1, 3001))).high - 1500.5 == pytest.approx(1.96 * math.sqrt(3000) / 2, rel=0.02)


def test_ratios_without_an_interval():
    assert math.isnan(ratio_interval([1.0], [2.0, 2.1]).low)
    assert ratio_interval([1.0], [2.0, 2.0]).median == 0.5
    assert ratio_interval([], [1.0]) == UNKNOWN
    assert ratio_interval([1.0, 2.0], [0.0, 0.0]) == UNKNOWN
    assert math.isnan(ratio_interval([0.0, 2.0, 3.0], [1.0, 1.0]).low)


def test_a_base_without_spread_gives_the_other_sides_interval():
    here = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    alone, found = median_interval(here), ratio_interval([2.0] * 6, here)
    assert (found.low, found.high) == (pytest.approx(2.0 / alone.high), pytest.approx(2.0 / alone.low))
    assert found.scaled(100.0).high == pytest.approx(100.0 * found.high)


def test_stopping_when_the_interval_is_narrow_costs_little():
    """A study goes on until its interval lies within 1 %, 40 starts at most: it stops a little early where values agree by chance."""
    random = np.random.default_rng(7)
    held, starts = 0, []
    for _ in range(STUDIES):
        noise = random.uniform(0.005, 0.02)
        values = list(np.exp(noise * random.standard_normal(6)))
        while not median_interval(values).is_within(0.01) and len(values) < 40:
            values.append(float(np.exp(noise * random.standard_normal())))
        found = median_interval(values)
        held += found.low <= 1.0 <= found.high
        starts.append(len(values))
    print("held after stopping:", held / STUDIES, "starts, median:", np.median(starts))
    assert held / STUDIES >= 0.91
