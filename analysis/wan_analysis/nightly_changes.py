"""The changes in the history of one nightly benchmark: date, size, parts, cause, and whether somebody accepted them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wan_analysis.change_points import LEAST_HISTORY, Fixed, Found, Series, find_changes, limit_of, risks
from wan_analysis.levels import CARD_SPREAD
from wan_analysis.nightly_causes import Causes, causes_of
from wan_analysis.nightly_history import Night
from wan_analysis.nightly_result import MAIN, PART, unit_of
from wan_analysis.student import t_quantile

#: A change of a metric that is smaller matters to nobody. Parts: fraction of the step.
_LEAST, _LEAST_PART = {"s": 0.003, "byte": 0.005}, 0.003
#: Start-up and files vary by themselves.
_LEAST_OF = {"manifest_s": 0.02, "fill_s": 0.02}
#: The unit of a part is its own median, but at least this fraction of the step.
_SMALL_PART = 1e-3
#: Changes of several metrics whose nights are this near to each other are one event.
_SAME_EVENT = 2
#: A change is over once the level went back by more than this fraction of it.
_REVERTED = 0.5
#: A night is bad if chance alone makes one so far off in this fraction of the nights, all metrics together. It is then run again.
_BAD_RISK = 0.01
_BAD_LEAST = 0.01
#: A night and its repeat that are both worse by this much, and by so many standard deviations, are reported at once.
_SUDDEN, _SUDDEN_NOISE = 0.03, 6.0


@dataclass(frozen=True)
class Scale:
    """How values of a metric become numbers whose differences are relative changes."""

    is_log: bool
    unit: float
    least: float

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Values of the metric to numbers."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(values / self.unit) if self.is_log else values / self.unit

    def backward(self, numbers: np.ndarray | float) -> np.ndarray:
        """Numbers to values of the metric."""
        return np.asarray((np.exp(numbers) if self.is_log else np.asarray(numbers)) * self.unit)

    def percent(self, size: float, level: float) -> float:
        """A change of numbers from `level` on, in percent of the metric."""
        if self.is_log:
            return 100.0 * float(np.expm1(size))
        return 100.0 * size / level if level > 0 else float("inf")


@dataclass(frozen=True)
class MetricChange:
    """One metric's part of a change."""

    metric: str
    index: int  # of the first night of the new level, from 0
    percent: float
    low_percent: float
    high_percent: float
    before: float  # levels, in the metric's unit
    after: float
    certainty: float  # |t| over its limit
    is_accepted: bool
    is_reverted: bool

    @property
    def is_worse(self) -> bool:
        """All metrics are times and memory: more is worse."""
        return self.percent > 0

    @property
    def fails(self) -> bool:
        """Whether somebody has to look at it."""
        return self.is_worse and not self.is_accepted and not self.is_reverted


@dataclass(frozen=True)
class Event:
    """Metrics that changed together."""

    night: Night
    first: Night  # it began on one of these nights (95 %)
    last: Night
    changes: tuple[MetricChange, ...]
    causes: Causes
    why_accepted: str | None

    @property
    def failures(self) -> tuple[MetricChange, ...]:
        """Changes for the worse that nobody accepted. A part that takes longer in a step that takes less is none."""
        step = next((change for change in self.changes if change.metric == MAIN), None)
        is_faster = step is not None and not step.is_worse
        return tuple(change for change in self.changes if change.fails and not (is_faster and change.metric.startswith(PART)))


@dataclass(frozen=True)
class CardEffect:
    """A card against the one with the most nights, in percent of the step."""

    card: str
    nights: int
    percent: float
    low_percent: float
    high_percent: float


@dataclass(frozen=True)
class Findings:
    """All that a history says."""

    nights: tuple[Night, ...]
    metrics: tuple[str, ...]
    scales: dict[str, Scale]
    series: dict[str, Series]
    events: tuple[Event, ...]
    cards: tuple[CardEffect, ...]
    card_numbers: np.ndarray
    card_names: tuple[str, ...]
    off: frozenset[tuple[str, str]] = field(default_factory=frozenset)  # (time, metric): outliers

    @property
    def failures(self) -> tuple[tuple[Event, MetricChange], ...]:
        """Open changes for the worse."""
        return tuple((event, change) for event in self.events for change in event.failures)


def scale_of(metric: str, values: np.ndarray, step_s: float) -> Scale:
    """`values`: all nights, NaN where there is none."""
    middle = float(np.nanmedian(values)) if np.isfinite(values).any() else 1.0
    if metric.startswith(PART):
        unit = max(middle, _SMALL_PART * step_s)
        return Scale(False, unit, _LEAST_PART * step_s / unit)
    return Scale(True, middle if middle > 0 else 1.0, _LEAST_OF.get(metric, _LEAST[unit_of(metric) or "s"]))


def metric_names(nights: Sequence[Night]) -> list[str]:
    """The step first, then others, of metrics that at least so many nights have that changes can be found."""
    names = dict.fromkeys(name for night in nights for name in night.metrics)
    enough = [name for name in names if sum(name in night.metrics for night in nights) >= min(LEAST_HISTORY, len(nights))]
    return sorted(enough, key=lambda name: name != MAIN)


def analyse(nights: Sequence[Night], cleared: Collection[tuple[str, str]] = (), accepted: Sequence[Mapping[str, Any]] = ()) -> Findings:
    """Finds the changes of the nights of one key, oldest first."""
    names = metric_names(nights)
    raw = np.array([[night.metrics.get(name, np.nan) for night in nights] for name in names]).reshape(len(names), len(nights))
    step_s = float(np.nanmedian(raw[0])) if raw.size else 1.0
    scales = {name: scale_of(name, values, step_s) for name, values in zip(names, raw, strict=True)}
    values = np.array([scales[name].forward(row) for name, row in zip(names, raw, strict=True)]).reshape(raw.shape)
    use = np.array([[(night.time, name) not in cleared for night in nights] for name in names], dtype=bool).reshape(raw.shape)
    card_names = tuple(dict.fromkeys(night.card for night in nights))
    cards = np.array([card_names.index(night.card) for night in nights], dtype=int)
    place = {night.time: number for number, night in enumerate(nights)}
    known = [(one, Fixed(*(place[one[end]] for end in ("night", "first", "last")))) for one in accepted
             if all(one[end] in place for end in ("night", "first", "last"))]
    fixed = [[where for one, where in known if name in one["metrics"]] for name in names]
    if not nights:
        return Findings((), (), {}, {}, (), (), cards, ())
    found = find_changes(values, cards, risks(len(names)), use=use, least=[scales[name].least for name in names], fixed=fixed)
    series = dict(zip(names, found, strict=True))
    off = {(nights[at].time, name) for name, one in series.items() for at in np.flatnonzero(one.alone)} | set(cleared)
    effects = _card_effects(series, scales, cards, card_names)
    findings = Findings(tuple(nights), tuple(names), scales, series, (), effects, cards, card_names, frozenset(off))
    events = tuple(_event(findings, group, values, known) for group in _together(series))
    return replace(findings, events=events)


def _together(series: Mapping[str, Series]) -> list[list[tuple[str, int, Found]]]:
    """Changes as (metric, its number in the series, change), those of one event together; the surest change gives the date."""
    every = [(name, number, found) for name, one in series.items() for number, found in enumerate(one.found)]
    every.sort(key=lambda entry: -abs(entry[2].size) / entry[2].error)
    groups: list[list[tuple[str, int, Found]]] = []
    for entry in every:
        near = [group for group in groups if abs(group[0][2].night - entry[2].night) <= _SAME_EVENT
                and all(entry[0] != name for name, _, _ in group)]
        if near:
            min(near, key=lambda group: abs(group[0][2].night - entry[2].night)).append(entry)
        else:
            groups.append([entry])
    return sorted(groups, key=lambda group: group[0][2].night)


def _event(findings: Findings, group: Sequence[tuple[str, int, Found]], values: np.ndarray,
           known: Sequence[tuple[Mapping[str, Any], Fixed]]) -> Event:
    nights, leader = findings.nights, group[0][2]
    why = None
    changes = []
    for name, number, found in sorted(group, key=lambda entry: (entry[0] != MAIN, entry[0])):
        match = next((one for one, where in known if where == found.fixed and name in one["metrics"]), None)
        change = _covered(_metric_change(findings, name, number, match), found, known)
        match = match or next((one for one, where in known if where.reaches(found.night)), None)
        why = str(match["why"]) if match and change.is_accepted else why
        changes.append(change)
    lead = next((name for name, _, _ in group if name == MAIN), group[0][0])
    rows = {name: values[row] for row, name in enumerate(findings.metrics)}
    causes = causes_of(nights, leader, {name: found for name, _, found in group}, rows, findings.series, findings.card_numbers,
                       findings.scales, lead)
    return Event(nights[leader.night], nights[max(leader.first, 0)], nights[min(leader.last, len(nights) - 1)], tuple(changes), causes, why)


def _covered(change: MetricChange, found: Found, known: Sequence[tuple[Mapping[str, Any], Fixed]]) -> MetricChange:
    """The change, accepted if it is the step's and its parts were accepted, or the other way round: both are the same seconds."""
    if change.is_accepted or found.fixed is not None or not (change.metric == MAIN or change.metric.startswith(PART)):
        return change
    for one, where in known:
        kin = [own for name, own in one["metrics"].items() if (name == MAIN) != (change.metric == MAIN) and unit_of(name) == "s"
               and (name == MAIN or name.startswith(PART))]
        most_s = sum(own["before"] * own["high_percent"] / 100.0 for own in kin)
        is_other = change.metric not in one["metrics"] and where.reaches(found.night)
        if is_other and kin and change.before * change.low_percent / 100.0 <= most_s:
            return replace(change, is_accepted=True)
    return change


def _metric_change(findings: Findings, name: str, number: int, match: Mapping[str, Any] | None) -> MetricChange:
    one, scale = findings.series[name], findings.scales[name]
    found, levels = one.found[number], one.fit.levels
    before = float(levels[number])
    percents = [scale.percent(size, before) for size in (found.size, *found.interval())]
    now = float(levels[-1])
    is_reverted = found.size > 0 and number + 1 < len(levels) - 1 and (now - before) / found.size < 1.0 - _REVERTED
    limit = limit_of(risks(len(findings.metrics))[0 if name == MAIN else -1], found.freedom)
    is_accepted = match is not None and percents[1] <= float(match["metrics"][name]["high_percent"])
    return MetricChange(name, found.night, *percents, float(scale.backward(before)), float(scale.backward(float(levels[number + 1]))),
                        abs(found.size) / found.error / limit, is_accepted, is_reverted)


def _card_effects(series: Mapping[str, Series], scales: Mapping[str, Scale], cards: np.ndarray,
                  names: Sequence[str]) -> tuple[CardEffect, ...]:
    """Differences between cards in the step, by the fit that found its changes."""
    if len(names) < 2 or MAIN not in series:
        return ()
    fit = series[MAIN].fit
    counts = np.bincount(cards, minlength=len(names))
    base = int(np.argmax(counts))
    noise, freedom = fit.noise()
    first = len(fit.levels)
    result = []
    for card, name in enumerate(names):
        covariance = fit.covariance[np.ix_([first + base, first + card], [first + base, first + card])]
        error = noise * float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2.0 * covariance[0, 1], 0.0)))
        size, half = float(fit.effects[card] - fit.effects[base]), error * t_quantile(0.975, freedom)
        percents = [scales[MAIN].percent(value, 1.0) for value in (size, size - half, size + half)]
        result.append(CardEffect(name, int(counts[card]), *percents))
    return tuple(sorted(result, key=lambda effect: -effect.nights))


@dataclass(frozen=True)
class Deviation:
    """A night far from the level of the nights before it."""

    metric: str
    percent: float
    noises: float  # in standard deviations


def deviations(findings: Findings, night: Night) -> list[Deviation]:
    """How the night, which is not among the findings' nights, is off. Empty while there are too few nights to say."""
    result = []
    if len(findings.nights) < LEAST_HISTORY:
        return result
    card = findings.card_names.index(night.card) if night.card in findings.card_names else None
    for name in findings.metrics:
        if name not in night.metrics:
            continue
        fit, scale = findings.series[name].fit, findings.scales[name]
        noise, freedom = fit.noise(len(findings.nights))
        variance = noise**2 * (1.0 + fit.covariance[len(fit.levels) - 1, len(fit.levels) - 1])
        expected = float(fit.levels[-1])
        if len(fit.effects) > 1 and card is not None:
            expected += float(fit.effects[card])
        elif card is None:  # a new card: it may differ as cards do
            variance += CARD_SPREAD**2
        size = float(scale.forward(np.array(night.metrics[name]))) - expected
        noises = size / float(np.sqrt(variance))
        if abs(noises) > limit_of(_BAD_RISK / len(findings.metrics), freedom) and abs(size) > max(scale.least, _BAD_LEAST):
            result.append(Deviation(name, scale.percent(size, expected), noises))
    return result


def is_cleared(first: Sequence[Deviation], repeat: Sequence[Deviation]) -> bool:
    """Whether a repeat shows that the bad night was an outlier: none of its metrics is off in the same direction again."""
    again = {(deviation.metric, deviation.percent > 0) for deviation in repeat}
    return not any((deviation.metric, deviation.percent > 0) in again for deviation in first)


def sudden(first: Sequence[Deviation], repeat: Sequence[Deviation]) -> list[Deviation]:
    """Deviations for the worse which a night and its repeat share, and which are too large to wait for more nights."""
    def is_large(deviation: Deviation) -> bool:
        return deviation.percent > 100.0 * _SUDDEN and deviation.noises > _SUDDEN_NOISE

    large = {deviation.metric for deviation in first if is_large(deviation)}
    return [deviation for deviation in repeat if is_large(deviation) and deviation.metric in large]

