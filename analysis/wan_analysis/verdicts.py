"""Two sets of starts of the same work: for each metric how much slower one is, that they are equal, or how many runs are missing.

The unit is a start, because the steps of one start share card, clocks and placement. A metric has one value for each start. The
change is the ratio of the geometric means, with an interval by Student's t on logarithms: with about equal numbers of starts the
spread of both sets is pooled, else each set has its own (Welch). The levels of all metrics together are corrected (Bonferroni), so that
equal sets of starts raise an alarm in at most 5 % of the comparisons, however many metrics there are. The metrics that a user pays
for (step, item, load, memory, energy) share half of this risk, and those that explain them (parts, phases) the other half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wan_analysis.student import t_quantile
from wan_analysis.texts import plural

#: A change of so much of a metric matters. Smaller ones are "equal within 1 %".
WITHIN = 0.01
#: Probability that one or more metrics of equal sets raise an alarm.
RISK = 0.05
#: Each equality has this risk of its own: a wrong one hides a change of one metric only.
EQUAL_RISK = 0.05
#: The missing runs find the change with this probability.
POWER = 0.8
#: The fewest starts of a side that have a spread.
LEAST_STARTS = 2
#: The spread of both sides is pooled if one has at most so many times the starts of the other. Else the smaller side's would hardly count.
MOST_UNEQUAL = 1.5
#: Nobody makes more runs than this.
MOST_RUNS = 1000
#: An interval that is wider than this is not shown: nothing is known.
WIDEST_SHOWN = 1.0

TIME, AMOUNT, RATE = "time", "amount", "rate"
WORSE, BETTER, EQUAL, UNKNOWN = "worse", "better", "equal", "cannot tell"
#: (the value grew, the value fell) of each kind, and whether growth is worse.
_WORDS = {TIME: ("slower", "faster", True), AMOUNT: ("more", "less", True), RATE: ("more", "fewer", False)}


@dataclass(frozen=True)
class Sample:
    """One metric of both sets, a value for each start. A value that is not finite is not recorded.

    A change by less than `floor` (in `unit`) matters to nobody: 0.1 % of a step for a part of it.
    """

    metric: str
    unit: str
    base: tuple[float, ...]
    new: tuple[float, ...]
    kind: str = TIME
    floor: float = 0.0
    is_main: bool = False  #: a user pays for it; the other metrics explain it


@dataclass(frozen=True)
class Verdict:
    """The answer of two sets of starts on one metric. `change`, `low`, `high` and `margin` are fractions of the base."""

    metric: str
    unit: str
    kind: str
    base: float  #: median over the starts
    new: float
    base_starts: int
    new_starts: int
    change: float  #: 0.013: the new value is 1.3 % greater; NaN if a side has no start
    low: float  #: interval of `change`; NaN if a side has too few starts
    high: float
    level: float  #: of the interval, 0 to 1; with it all metrics' intervals together hold with 1 - RISK
    margin: float  #: a change within it is no change; of equal sets: the change that can be excluded, at least the one that matters
    answer: str  #: WORSE, BETTER, EQUAL or UNKNOWN
    more_runs: int = 0  #: of each side, if the answer is UNKNOWN; MOST_RUNS: so many or more
    cause: str = ""  #: the part or rank that explains the change; empty: none is known

    @property
    def is_regression(self) -> bool:
        """Whether the change needs attention."""
        return self.answer == WORSE

    @property
    def text(self) -> str:
        """The answer: "1.3 % slower (0.9 to 1.8), by linear", "equal within 1 %", or "cannot tell: 4 more runs of each"."""
        if self.answer == EQUAL:
            return f"equal within {100 * self.margin:g} %"
        if self.answer == UNKNOWN:
            so_far = f" (now {100 * self.low:+.1f} to {100 * self.high:+.1f} %)" if self.high - self.low <= WIDEST_SHOWN else ""
            over = "over " if self.more_runs >= MOST_RUNS else ""
            return f"cannot tell: {over}{plural(self.more_runs, 'more run')} of each{so_far}"
        grew, fell, _ = _WORDS[self.kind]
        ends = sorted((abs(self.low), abs(self.high)))
        said = f"{_percent(abs(self.change))} % {grew if self.change > 0 else fell} ({_percent(ends[0])} to {_percent(ends[1])})"
        return f"{said}, by {self.cause}" if self.cause else said


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}" if abs(fraction) < 10 else f"{100 * fraction:.0f}"


def _rounded_up(fraction: float) -> float:
    """The next multiple of 0.1 %."""
    return math.ceil(1000.0 * fraction - 1e-9) / 1000.0


def judge(samples: Sequence[Sample], within: float = WITHIN) -> list[Verdict]:
    """A verdict for each metric, in their order. Metrics that are below their floor on both sides are left out.

    `within` is the change that matters, a fraction. Throws ValueError unless it is above 0.
    """
    if not within > 0.0:
        raise ValueError(f"the change that matters must be above 0 %, not {100 * within:g} %")
    effects = [effect for sample in samples if (effect := _Effect(sample, within)).matters]
    varying = [effect.sample.is_main for effect in effects if effect.is_known and effect.deviation > 0.0]
    shares = RISK / (2.0 if len(set(varying)) == 2 else 1.0)
    risks = {is_main: shares / max(varying.count(is_main), 1) for is_main in (True, False)}
    return [effect.verdict(risks[effect.sample.is_main]) for effect in effects]


class _Effect:
    """The change of one metric, the spread of the starts, and what follows from them."""

    def __init__(self, sample: Sample, within: float) -> None:
        self.sample, self.within = sample, within
        self.base, self.new = (np.array([v for v in values if math.isfinite(v)], float) for values in (sample.base, sample.new))
        self.counts = len(self.base), len(self.new)
        self.medians = tuple(float(np.median(values)) if len(values) else math.nan for values in (self.base, self.new))
        self.is_known = min(self.counts) >= LEAST_STARTS
        self.is_log = bool(min([*self.base, *self.new], default=0.0) > 0.0)
        scale = max(abs(float(np.mean(self.base))) if len(self.base) else 0.0, sample.floor)
        self.margin = max(within, sample.floor / scale) if scale > 0.0 else within
        if self.is_log:
            one, two = np.log(self.base), np.log(self.new)
        else:  # a part that some start does not have: the change is linear in the base's mean
            scale = scale or float(np.max(np.abs(self.new), initial=0.0)) or 1.0
            one, two = self.base / scale, self.new / scale
        self.difference = float(np.mean(two) - np.mean(one)) if min(self.counts) else math.nan
        self.variances = tuple(float(np.var(v, ddof=1)) if self.is_known else math.nan for v in (one, two))
        self.deviation = math.sqrt(sum(self.variances) / 2.0)

    @property
    def matters(self) -> bool:
        """Whether any start knows the metric, and its value is above the floor on one side."""
        values = [*self.base, *self.new]
        return bool(values) and not max(abs(median) for median in self.medians if not math.isnan(median)) < self.sample.floor \
            and any(value != 0.0 for value in values)

    def error(self, more: int = 0) -> tuple[float, float]:
        """(standard error of the difference, degrees of freedom) with `more` starts of each side and the same spread."""
        (one, two), (first, second) = self.variances, (count + more for count in self.counts)
        if max(first, second) <= MOST_UNEQUAL * min(first, second):
            freedom = first + second - 2.0
            return math.sqrt(((first - 1) * one + (second - 1) * two) / freedom * (1.0 / first + 1.0 / second)), freedom
        parts = one / first, two / second
        total = sum(parts)
        if total == 0.0:
            return 0.0, float(min(first, second) - 1)
        freedom = total**2 / (parts[0] ** 2 / (first - 1) + parts[1] ** 2 / (second - 1))
        return math.sqrt(total), max(math.floor(10.0 * freedom) / 10.0, 1.0)  # few different values, so that quantiles are computed once

    def interval(self, risk: float) -> tuple[float, float]:
        """The interval of the change with this risk, as fractions of the base."""
        error, freedom = self.error()
        half = error * t_quantile(1.0 - risk / 2.0, freedom) if error > 0.0 else 0.0
        return self.fraction(self.difference - half), self.fraction(self.difference + half)

    def fraction(self, difference: float) -> float:
        """A difference as a fraction of the base."""
        return math.expm1(min(difference, 700.0)) if self.is_log else difference

    def verdict(self, risk: float) -> Verdict:
        """The answer; `risk` is that of the interval."""
        low, high = self.interval(risk) if self.is_known else (math.nan, math.nan)
        answer, more_runs, margin = UNKNOWN, 0, self.margin
        if self.is_known:
            equal_low, equal_high = self.interval(EQUAL_RISK)
            grew_is_worse = _WORDS[self.sample.kind][2]
            if -self.margin <= equal_low and equal_high <= self.margin:
                answer, margin = EQUAL, max(self.within, _rounded_up(max(-equal_low, equal_high)))
            elif low > 0.0 or high < 0.0:
                answer = WORSE if (low > 0.0) == grew_is_worse else BETTER
            else:
                more_runs = self.missing_runs(risk)
        else:
            more_runs = LEAST_STARTS - min(self.counts)
        return Verdict(self.sample.metric, self.sample.unit, self.sample.kind, *self.medians, *self.counts, self.fraction(self.difference),
                       low, high, 1.0 - risk, margin, answer, more_runs)

    def missing_runs(self, risk: float) -> int:
        """The fewest starts of each side that must be added to find the change.

        The change to be found is that which was seen, less what may be chance (one standard error at POWER), and at least the margin:
        whoever learns that there is no change as large as the margin has an answer, too.
        """
        seen = abs(self.difference) - self.error()[0] * t_quantile(POWER, self.error()[1])
        aim = max(seen, math.log1p(self.margin) if self.is_log else self.margin)

        def is_enough(more: int) -> bool:
            error, freedom = self.error(more)
            return error * (t_quantile(1.0 - risk / 2.0, freedom) + t_quantile(POWER, freedom)) <= aim

        high = 1
        while not is_enough(high) and high < MOST_RUNS:
            high *= 2
        low = high // 2  # not enough, or 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_enough(middle) else (middle, high)
        return min(high, MOST_RUNS)
