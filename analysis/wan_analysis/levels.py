"""Levels of a series of nights: its segments, the cards that measured it, nights that stand alone, and its noise.

A night's value is the level of its segment, plus the effect of its card, plus noise. Card effects have a standard deviation of 3 % from
card to card, as equal GPUs differ (Sinha et al., SC22). So two cards that take turns explain their own difference, while a card that
comes once explains little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: A segment holds this many nights at least: fewer can be chance, or one bad evening.
LEAST_NIGHTS = 3
#: The noise of a series is taken to be at least this, so that values which never vary have intervals.
LEAST_NOISE = 2e-4
#: A night this many standard deviations away from its neighbours, which agree among themselves, stands alone.
ALONE = 5.0
#: Standard deviation of the effects of cards.
CARD_SPREAD = 0.03
#: Residuals count for the noise at a change if they lie within so many nights of it.
NOISE_NIGHTS = 60
#: Nights whose median is a night's neighbourhood.
_NEIGHBOURS = 5


def noise_of(values: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Standard deviation of each row [rows, nights] from differences of successive nights: changes of level hardly matter to it."""
    differences = np.diff(values, axis=1)
    known = use[:, 1:] & use[:, :-1]
    spread = np.nanmedian(np.where(known, np.abs(differences), np.nan), axis=1) if known.any() else np.zeros(len(values))
    return np.maximum(np.nan_to_num(spread) * 1.4826 / np.sqrt(2.0), LEAST_NOISE)


def card_effects(values: np.ndarray, use: np.ndarray, cards: np.ndarray) -> np.ndarray:
    """Effect of each card on each row [rows, cards], from neighbouring nights on different cards. 0 for a card of fewer than 3 nights."""
    count = int(cards.max()) + 1 if len(cards) else 1
    effects = np.zeros((len(values), count))
    nights = np.bincount(cards, minlength=count)
    frequent = nights >= LEAST_NIGHTS
    changed = np.flatnonzero((cards[1:] != cards[:-1]) & frequent[cards[1:]] & frequent[cards[:-1]])
    if len(changed) == 0:
        return effects
    design = np.zeros((len(changed), count))
    design[np.arange(len(changed)), cards[changed + 1]] += 1.0
    design[np.arange(len(changed)), cards[changed]] -= 1.0
    differences = values[:, changed + 1] - values[:, changed]
    known = use[:, changed + 1] & use[:, changed]
    whole = known.all(axis=1)
    if whole.any():
        effects[whole] = differences[whole] @ np.linalg.pinv(design).T
    for row in np.flatnonzero(~whole):
        effects[row] = np.linalg.pinv(design[known[row]]) @ differences[row, known[row]]
    return effects


def stands_alone(values: np.ndarray, use: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """[rows, nights]: whether a night differs from the median of the nights around it. At an end these are the last or first ones."""
    nights = values.shape[1]
    if nights < _NEIGHBOURS:
        return np.zeros(values.shape, dtype=bool)
    known = np.where(use, values, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(known, _NEIGHBOURS, axis=1)
    if use.all():
        medians = np.median(windows, axis=2)
    else:
        medians = np.full(windows.shape[:2], np.nan)
        some = ~np.isnan(windows).all(axis=2)
        medians[some] = np.nanmedian(windows[some], axis=1)
    place = np.clip(np.arange(nights) - _NEIGHBOURS // 2, 0, nights - _NEIGHBOURS)
    with np.errstate(invalid="ignore"):
        return use & (np.abs(values - medians[:, place]) > ALONE * noise[:, None])


@dataclass(frozen=True)
class Fit:
    """Segments of one series. `starts` are the first nights of all segments but the first."""

    starts: tuple[int, ...]
    levels: np.ndarray  # [segments]
    effects: np.ndarray  # [cards]
    covariance: np.ndarray  # of levels and effects, over the noise's variance
    residuals: np.ndarray  # [nights], NaN for a night that does not count
    freedom: int

    def noise(self, near: int | None = None) -> tuple[float, int]:
        """Standard deviation of a night, and its degrees of freedom; of the nights around `near` if it is given."""
        known = ~np.isnan(self.residuals)
        if near is not None:
            known &= np.abs(np.arange(len(known)) - near) <= NOISE_NIGHTS
        count = int(known.sum())
        freedom = max(2, min(self.freedom, count - len(self.levels)))
        return max(float(np.sqrt(np.sum(self.residuals[known] ** 2) / freedom)), LEAST_NOISE), freedom

    def size(self, place: int) -> tuple[float, float, int]:
        """Change of level at starts[place], its standard error and degrees of freedom."""
        noise, freedom = self.noise(self.starts[place])
        cov = self.covariance
        variance = cov[place, place] + cov[place + 1, place + 1] - 2.0 * cov[place, place + 1]
        return float(self.levels[place + 1] - self.levels[place]), noise * float(np.sqrt(variance)), freedom

    def segment(self, night: int) -> int:
        """The segment of a night."""
        return int(np.searchsorted(np.array(self.starts), night, side="right"))


def fit_levels(values: np.ndarray, use: np.ndarray, cards: np.ndarray, starts: Sequence[int], noise: float) -> Fit:
    """Levels of the segments that begin at night 0 and at `starts`, and effects of the cards, by least squares."""
    nights, segments = len(values), len(starts) + 1
    count = int(cards.max()) + 1
    if count == 1:
        return _means(values, use, starts)
    columns = segments + count
    design = np.zeros((nights, columns))
    segment = np.searchsorted(np.array(starts, dtype=int), np.arange(nights), side="right")
    design[np.arange(nights), segment] = 1.0
    design[np.arange(nights), segments + cards] = 1.0
    known = design[use]
    penalty = np.zeros(columns)
    penalty[segments:] = (noise / CARD_SPREAD) ** 2
    normal = known.T @ known + np.diag(penalty) + 1e-12 * np.eye(columns)
    covariance = np.linalg.inv(normal)
    solution = covariance @ (known.T @ values[use])
    residuals = np.where(use, values - design @ solution, np.nan)
    freedom = max(2, int(use.sum()) - segments - (len(np.unique(cards[use])) - 1))
    return Fit(tuple(starts), solution[:segments], solution[segments:], covariance, residuals, freedom)


def _means(values: np.ndarray, use: np.ndarray, starts: Sequence[int]) -> Fit:
    """The same for one card: levels are means."""
    known = np.where(use, values, 0.0)
    firsts = np.array([0, *starts])
    counts = np.maximum(np.add.reduceat(use.astype(float), firsts), 1e-12)
    levels = np.add.reduceat(known, firsts) / counts
    residuals = np.where(use, values - np.repeat(levels, np.diff([*firsts, len(values)])), np.nan)
    return Fit(tuple(starts), levels, np.zeros(1), np.diag(1.0 / counts), residuals, max(2, int(use.sum()) - len(levels)))
