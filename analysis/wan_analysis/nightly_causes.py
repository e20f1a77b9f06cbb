"""Why a nightly benchmark changed: facts that changed on the same nights, the reference load, the parts of the step, the revisions.

The reference load is made of library kernels only. If it moves together with the step, then card, machine or driver changed. If the step
moves alone, the build did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from wan_analysis.change_points import Found, Series
from wan_analysis.levels import fit_levels
from wan_analysis.nightly_history import FACTS, Night
from wan_analysis.nightly_result import MAIN, PART, REFERENCE, unit_of
from wan_analysis.student import t_quantile
from wan_analysis.texts import listed, printable

if TYPE_CHECKING:
    from wan_analysis.nightly_changes import Scale

#: Nights on each side of a change whose facts are compared.
_FACT_NIGHTS = 5
#: A part is named if it explains this share of the step's change, and is this many standard errors away from 0.
_NAMED_SHARE, _NAMED_ERRORS = 0.2, 3.0
#: The reference load moved with the step if it made at least, and it stood still if it made at most, this share of the step's change.
_MOVED, _STOOD = 0.5, 0.25


@dataclass(frozen=True)
class Fact:
    """A fact that changed together with a metric."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class PartChange:
    """A part's share of the step's change."""

    part: str
    seconds: float
    low: float
    high: float


@dataclass(frozen=True)
class Causes:
    """All that is known of the cause of a change."""

    facts: tuple[Fact, ...]
    parts: tuple[PartChange, ...]  # those that explain the step's change, the largest first
    where: str  # a sentence about card, machine and build
    revisions: tuple[str, str] | None  # the last one before, the first one after

    def named(self) -> str:
        """The facts in a few words, or ""."""
        return listed([f"{fact.name} {fact.before or 'not recorded'} -> {fact.after or 'not recorded'}" for fact in self.facts], 6)


def local_size(values: np.ndarray, one: Series, night: int, cards: np.ndarray) -> tuple[float, float, float, int] | None:
    """Change of a series at a night, whether or not it passed the test: level before, size, error, degrees of freedom."""
    starts = sorted({start for start in one.fit.starts if abs(start - night) > 2} | {night})
    use = ~np.isnan(one.fit.residuals)
    bounds = [0, *starts, len(values)]
    if any(not use[left:right].any() for left, right in pairwise(bounds)):
        return None
    fit = fit_levels(np.where(use, values, 0.0), use, cards, starts, one.fit.noise()[0])
    place = starts.index(night)
    return (float(fit.levels[place]), *fit.size(place))


def changed_facts(nights: Sequence[Night], found: Found) -> tuple[Fact, ...]:
    """Facts with other values after the change than before it, which became others on a night where the change may have begun."""
    facts = []
    for name in ("card", "host", *FACTS):
        for at in sorted(range(max(found.first, 1), min(found.last, len(nights) - 1) + 1), key=lambda at: abs(at - found.night)):
            before = {night.fact(name) for night in nights[max(0, at - _FACT_NIGHTS):at]}
            after = {night.fact(name) for night in nights[at:at + _FACT_NIGHTS]}
            if not before & after:
                facts.append(Fact(name, printable(nights[at - 1].fact(name), 120), printable(nights[at].fact(name), 120)))
                break
    return tuple(facts)


def _parts(found: Found, rows: Mapping[str, np.ndarray], series: Mapping[str, Series], cards: np.ndarray,
           scales: Mapping[str, Scale], step_change_s: float) -> tuple[PartChange, ...]:
    parts = []
    for name, row in rows.items():
        local = local_size(row, series[name], found.night, cards) if name.startswith(PART) else None
        if local is None:
            continue
        _, size, error, freedom = local
        unit, half = scales[name].unit, error * t_quantile(0.975, freedom)
        if abs(size) > _NAMED_ERRORS * error and size * unit / step_change_s > _NAMED_SHARE:
            parts.append(PartChange(name.removeprefix(PART), size * unit, (size - half) * unit, (size + half) * unit))
    return tuple(sorted(parts, key=lambda part: -abs(part.seconds)))


def _where(lead: str, size: float, found: Found, rows: Mapping[str, np.ndarray], series: Mapping[str, Series], cards: np.ndarray,
           facts: Sequence[Fact]) -> str:
    """Card, machine or build, as the reference load says."""
    if REFERENCE not in rows:
        return "card, machine and build cannot be told apart: the nights have no reference load"
    if lead == REFERENCE:
        return "the reference load changed by itself: card, machine or driver"
    local = local_size(rows[REFERENCE], series[REFERENCE], found.night, cards)
    if local is None:
        return "card, machine and build cannot be told apart: too few nights have a reference load"
    _, moved, error, _ = local
    share, uncertain = moved / size, 2.0 * error / abs(size)
    if share - uncertain > _STOOD and share > _MOVED:
        names = [fact.name for fact in facts if fact.name in ("card", "host", "driver", "cuda")]
        return f"the reference load moved with it: {listed(names) if names else 'card, machine or driver'}"
    if abs(share) + uncertain < _MOVED and abs(share) < _STOOD:
        return "the reference load stood still: the build"
    return "the reference load is too uncertain to tell machine and build apart"


def causes_of(nights: Sequence[Night], found: Found, group: Mapping[str, Found], rows: Mapping[str, np.ndarray],
              series: Mapping[str, Series], cards: np.ndarray, scales: Mapping[str, Scale], lead: str) -> Causes:
    """Causes of a change. `lead`: the metric of the change, the step if it is in `group`."""
    facts = changed_facts(nights, found)
    size = group[lead].size
    parts: tuple[PartChange, ...] = ()
    if lead == MAIN:
        local = local_size(rows[lead], series[lead], found.night, cards)
        level = local[0] if local else 0.0
        change_s = float(scales[lead].backward(level + size) - scales[lead].backward(level))
        parts = _parts(found, rows, series, cards, scales, change_s)
    where = _where(lead, size, found, rows, series, cards, facts) if unit_of(lead) == "s" else ""
    before, after = nights[max(found.first - 1, 0)].fact("revision"), nights[min(found.last, len(nights) - 1)].fact("revision")
    return Causes(facts, parts, where, (before, after) if before and after and before != after else None)
