"""Change points of series of nights: the nights from which on a level is another one.

1. Effects of cards are taken off, and nights that stand alone are left out (levels.py).
2. The division into segments with the least sum of squares, plus a price for each segment, gives candidates (optimal partitioning;
   Jackson et al., 2005). It is found exactly, for all series together.
3. The weakest candidate is dropped, until Student's t of every change lies beyond the limit of its series (as in Hunter; Fleming et al.,
   ICPE 2023). Levels, effects of cards and noise are then fitted together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from wan_analysis.levels import LEAST_NIGHTS, NOISE_NIGHTS, Fit, card_effects, fit_levels, noise_of, stands_alone
from wan_analysis.student import t_quantile

#: Price of a segment, in variances of the noise. Low enough that a change which passes the test is a candidate.
_PRICE = 7.0
#: A night belongs to the interval of a change's date if moving the change there costs less than this many variances (95 %).
_DATE_COST = 6.0
#: Series with fewer nights have no change points.
LEAST_HISTORY = 10
#: Risks of a wrong change point, per test: of the main series (the step), and of all others together.
MAIN_RISK, OTHER_RISK = 0.9e-4, 1e-5
#: The risk is multiplied by this for a segment with so few nights. Four nights may take most: a change is wanted by then.
_SHORT = {3: 0.6, 4: 2.3, 5: 1.5}
#: A change with a side of so few nights must not rest on one night: without the night that speaks most for it, |t| is still this share
#: of the limit.
_FEW_NIGHTS, _WITHOUT_ONE = 8, 0.6
#: The same for what came before a change, because little is known of the noise then.
_EARLY, _EARLY_NIGHTS = 0.1, 8
#: A fixed change may be found this many nights outside the interval of its date.
FIXED_REACH = 2


@dataclass(frozen=True)
class Fixed:
    """A change that is known: where it was found, and the interval of its date then."""

    night: int
    first: int
    last: int

    def reaches(self, night: int) -> bool:
        """Whether a change there can be this one."""
        return self.first - FIXED_REACH <= night <= self.last + FIXED_REACH


@dataclass(frozen=True)
class Found:
    """A change of level of one series."""

    night: int  # the first night of the new level
    first: int  # it lies between these nights (95 %)
    last: int
    size: float  # in the units of the series
    error: float
    freedom: int
    fixed: Fixed | None  # the known change that it is

    def interval(self, probability: float = 0.95) -> tuple[float, float]:
        """Interval of the size."""
        half = self.error * t_quantile(0.5 + probability / 2.0, self.freedom)
        return self.size - half, self.size + half


@dataclass(frozen=True)
class Series:
    """One series and what was found in it."""

    found: tuple[Found, ...]
    row: _Row
    alone: np.ndarray  # [nights]: nights that stand alone

    @cached_property
    def fit(self) -> Fit:
        """Its levels."""
        return self.row.fit([change.night for change in self.found])


@lru_cache(maxsize=4096)
def limit_of(risk: float, freedom: int) -> float:
    """The value that |t| of a change must exceed."""
    return t_quantile(1.0 - risk / 2.0, float(freedom))


def risks(metrics: int) -> list[float]:
    """The risk of each of so many series, the main one first."""
    return [MAIN_RISK] + [OTHER_RISK / max(1, metrics - 1)] * (metrics - 1)


def find_changes(values: np.ndarray, cards: np.ndarray, risk: Sequence[float], *, use: np.ndarray | None = None,
                 least: Sequence[float] | None = None, fixed: Sequence[Sequence[Fixed]] | None = None) -> list[Series]:
    """Change points of each row of `values` [rows, nights]; NaN where a night has no value.

    `cards` [nights] numbers the cards from 0. `use`: nights that count. `least`: changes of a row that are smaller matter to nobody.
    `fixed`: changes of a row that are known, and are kept whatever their t is.
    """
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values) if use is None else np.isfinite(values) & use
    filled = np.where(known, values, 0.0)
    effects = card_effects(filled, known, cards)
    for _ in range(2):
        adjusted = filled - effects[:, cards]
        noise = noise_of(adjusted, known)
        alone = stands_alone(adjusted, known, noise)
        effects = card_effects(filled, known & ~alone, cards)
    adjusted = filled - effects[:, cards]
    noise = noise_of(adjusted, known & ~alone)
    divided, bounds = _best_divisions(adjusted, known & ~alone, noise)
    is_bound = effects.shape[1] == 1 and values.shape[1] <= NOISE_NIGHTS
    series = []
    for row, starts in enumerate(divided):
        if is_bound and bounds[row] < limit_of(max(_SHORT.values()) * risk[row], values.shape[1]):
            starts = []
        fitter = _Row(filled[row], known[row] & ~alone[row], cards, float(noise[row]), adjusted[row])
        kept = fixed[row] if fixed is not None else ()
        found = fitter.settle(starts, risk[row], least[row] if least is not None else 0.0, kept) if starts or kept else ()
        series.append(Series(found, fitter, alone[row]))
    return series


def _best_divisions(values: np.ndarray, use: np.ndarray, noise: np.ndarray) -> tuple[list[list[int]], np.ndarray]:
    """For each row the starts of the segments (but the first) with the least sum of squares and prices.

    And a bound of |t|: no change of this row, alone or with others, has a larger one.
    """
    rows, nights = values.shape
    bound = np.zeros(rows)
    if nights < LEAST_HISTORY:
        return [[] for _ in range(rows)], bound
    centred = np.where(use, (values - _means(values, use)[:, None]) / noise[:, None], 0.0)
    count, total, squares = (np.concatenate([np.zeros((rows, 1)), np.cumsum(part, axis=1)], axis=1)
                             for part in (use.astype(float), centred, centred**2))
    cost = np.zeros((rows, nights + 1))
    cost[:, 1:] = np.inf
    before = np.zeros((rows, nights + 1), dtype=int)
    every = np.arange(rows)
    for end in range(1, nights + 1):
        inside = count[:, end, None] - count[:, :end]
        enough = inside >= LEAST_NIGHTS
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = squares[:, end, None] - squares[:, :end] - (total[:, end, None] - total[:, :end]) ** 2 / inside
            price = np.where(enough, cost[:, :end] + spread + _PRICE, np.inf)
        price[:, 0] = np.where(enough[:, 0], price[:, 0], 0.0)  # a first segment may be shorter, while there is nothing else
        best = np.argmin(price, axis=1)
        cost[:, end], before[:, end] = price[every, best], best
    single = squares[:, -1] - total[:, -1] ** 2 / np.maximum(count[:, -1], 1.0) + _PRICE
    result: list[list[int]] = [[] for _ in range(rows)]
    for row in np.flatnonzero(cost[:, -1] < single - 1e-9):
        place = int(before[row, nights])
        while place > 0:
            result[row].insert(0, place)
            place = int(before[row, place])
        rest = cost[row, -1] - _PRICE * (len(result[row]) + 1)  # the sum of squares that this division leaves
        freedom = max(2.0, count[row, -1] - len(result[row]) - 1.0)
        bound[row] = np.sqrt((single[row] - _PRICE - rest) * freedom / max(rest, 1e-12))
    return result, bound


def _means(values: np.ndarray, use: np.ndarray) -> np.ndarray:
    return (values * use).sum(axis=1) / np.maximum(use.sum(axis=1), 1)


@dataclass(frozen=True)
class _Row:
    """One series while its candidates are tested."""

    values: np.ndarray
    use: np.ndarray
    cards: np.ndarray
    noise: float
    adjusted: np.ndarray

    def fit(self, starts: Sequence[int]) -> Fit:
        return fit_levels(self.values, self.use, self.cards, starts, self.noise)

    def settle(self, candidates: list[int], risk: float, least: float, fixed: Sequence[Fixed]) -> tuple[Found, ...]:
        """Drops the weakest candidates, one after the other, and says what is left."""
        starts = list(candidates)
        names = self._place_fixed(starts, fixed)
        fit = self.fit(starts)
        while starts:
            worth = []
            for place, start in enumerate(starts):
                size, error, freedom = fit.size(place)
                limit = limit_of(risk * self._weight(starts, place), freedom)
                over = abs(size) / (error * limit) if abs(size) > least else 0.0
                if over > 1.0 and self._without_one(starts, place, fit) < _WITHOUT_ONE * limit:
                    over = 0.0
                worth.append(np.inf if start in names else over)
            weakest = int(np.argmin(worth))
            if worth[weakest] > 1.0:
                break
            del starts[weakest]
            self._move(starts, names, {weakest - 1, weakest})
            fit = self.fit(starts)
        found = []
        for place, start in enumerate(starts):
            size, error, freedom = fit.size(place)
            costs = self._costs(starts, place, fit)
            near = [night for night, cost in costs.items() if cost - costs[start] < _DATE_COST * fit.noise(start)[0] ** 2]
            found.append(Found(start, min(near, default=start), max(near, default=start), size, error, freedom, names.get(start)))
        return tuple(found)

    def _weight(self, starts: Sequence[int], place: int) -> float:
        """The share of the risk that the change at starts[place] may take."""
        bounds = [0, *starts, len(self.values)]
        before, after = (int(self.use[bounds[place + side]:bounds[place + side + 1]].sum()) for side in (0, 1))
        early = _EARLY if int(self.use[:starts[place]].sum()) < _EARLY_NIGHTS else 1.0
        return _SHORT.get(min(before, after), 1.0) * early

    def _without_one(self, starts: Sequence[int], place: int, fit: Fit) -> float:
        """|t| of the change at starts[place] without the night that speaks most for it, if one of its sides has few nights."""
        bounds = [0, *starts, len(self.values)]
        sides = [fit.residuals[bounds[place + side]:bounds[place + side + 1]] + fit.levels[place + side] for side in (0, 1)]
        sides = [side[~np.isnan(side)] for side in sides]
        counts = [len(side) for side in sides]
        short = int(np.argmin(counts))
        if not 2 <= counts[short] <= _FEW_NIGHTS:
            return np.inf
        away = (sides[short] - sides[1 - short].mean()) * np.sign(fit.levels[place + short] - fit.levels[place + 1 - short])
        rest = (away.sum() - away.max()) / (counts[short] - 1)
        error = fit.noise(starts[place])[0] * np.sqrt(1.0 / (counts[short] - 1) + 1.0 / counts[1 - short])
        return max(float(rest / error), 0.0)

    def _place_fixed(self, starts: list[int], fixed: Sequence[Fixed]) -> dict[int, Fixed]:
        """Start -> the known change that it is. Adds a start for a known change that no candidate is near to."""
        names: dict[int, Fixed] = {}
        for one in fixed:
            night = one.night
            near = [start for start in starts if one.reaches(start) and start not in names]
            start = min(near, key=lambda one: abs(one - night), default=night)
            bounds = [0, *starts, len(self.values)]
            if start not in starts:
                left = max(bound for bound in bounds if bound <= night)
                right = min(bound for bound in bounds if bound > night)
                if left == night or not (self.use[left:night].any() and self.use[night:right].any()):
                    continue
                starts.append(start)
                starts.sort()
            names[start] = one
        return names

    def _costs(self, starts: Sequence[int], place: int, fit: Fit | None = None) -> dict[int, float]:
        """Sum of squares with the change at each night between its neighbours."""
        left = starts[place - 1] if place > 0 else 0
        right = starts[place + 1] if place + 1 < len(starts) else len(self.values)
        adjusted = self.values - fit.effects[self.cards] if fit is not None and len(fit.effects) > 1 else self.adjusted
        use = self.use[left:right].astype(float)
        values = adjusted[left:right] - adjusted[left:right].mean()
        count, total = np.cumsum(use), np.cumsum(values * use)
        with np.errstate(divide="ignore", invalid="ignore"):
            explained = total**2 / count + (total[-1] - total) ** 2 / (count[-1] - count)
        whole = float(np.sum(values**2 * use))
        return {left + at + 1: whole - float(explained[at]) for at in range(len(values) - 1)
                if count[at] >= 1 and count[-1] - count[at] >= 1
                and (min(count[at], count[-1] - count[at]) >= LEAST_NIGHTS or left + at + 1 == starts[place])}

    def _move(self, starts: list[int], names: dict[int, Fixed], places: set[int]) -> None:
        """Puts changes where they fit best between their neighbours; those that are fixed stay."""
        for place in sorted(places):
            if 0 <= place < len(starts) and starts[place] not in names:
                costs = self._costs(starts, place)
                starts[place] = min(costs, key=lambda night: costs[night], default=starts[place])
