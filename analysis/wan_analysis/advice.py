"""Which layout makes so many videos soonest, most cheaply, or by a deadline: times, GPU-hours and energy of campaigns, with intervals.

The figures of a layout are medians over its starts. An interval holds a new campaign with 95 %: it has the doubt about the medians, the
spread from start to start (Student's t on logarithms), and the noise of items. Videos are taken to be like those of the study.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wan_analysis.campaign_facts import LayoutFacts
from wan_analysis.campaign_play import Pace, play, team_widths
from wan_analysis.intervals import LEVEL, Interval

SECONDS_PER_HOUR = 3600.0
_PLAYS, _DRAWS = 48, 2000
#: Starts are taken to differ by at least this fraction, and items of a group, too: nothing is known better.
_LEAST_SPREAD = 0.001
#: The spread of all layouts of a study counts in that of one layout like so many starts of its own at most.
_SHARED_STARTS = 10


@dataclass(frozen=True)
class Outcome:
    """A campaign in one layout. GPU-hours are as billed: all GPUs of all jobs from the command to its end."""

    facts: LayoutFacts
    first_s: Interval  #: until the first video is there
    total_s: Interval  #: until the last job has ended
    gpu_hours: Interval
    wh: Interval
    is_on_front: bool = False  #: no other layout is both sooner and cheaper

    @property
    def gpus(self) -> int:
        """GPUs of all jobs."""
        return self.facts.gpus * self.facts.copies

    @property
    def name(self) -> str:
        """"2 jobs of 4 GPUs, cfg2 x ulysses2"."""
        return self.facts.name if self.facts.copies == 1 else f"{self.facts.copies} jobs of {self.facts.name}"


@dataclass(frozen=True)
class Wishes:
    """The question: how many videos, and what bounds them."""

    videos: int
    within_s: float = math.inf
    gpu_hours: float = math.inf
    most_gpus: int | None = None  #: None: as many as the largest start of the study had


@dataclass(frozen=True)
class Advice:
    """The answer. An entry is None if no layout satisfies the wishes."""

    wishes: Wishes
    outcomes: list[Outcome]
    soonest: Outcome | None
    cheapest: Outcome | None
    by_deadline: Outcome | None  #: the cheapest that is sure to meet it; if none is, the soonest whose median meets it
    is_sure: bool = True  #: the end of its interval meets the deadline, too
    left_out: tuple[str, ...] = ()  #: cases of the study that did other work, in sentences


def advise(facts: Sequence[LayoutFacts], wishes: Wishes, step_s: Mapping[int, float] | None = None) -> Advice:
    """Plays the campaign in every layout. `step_s`: seconds of a step of a group or team of so many GPUs."""
    steps = dict(step_s or {}) or _steps_of(facts)
    largest = max((one.gpus for one in facts if one.is_measured), default=0)
    most = wishes.most_gpus or max((one.gpus for one in facts), default=0)
    # Small jobs side by side on one node may share what no start had to share, such as its cores. So only the largest are repeated.
    candidates = [copy for one in facts if one.gpus <= most
                  for copy in (_copies(one, most, wishes.videos) if one.gpus >= largest else [one])]
    spreads = {name: Spread.of([one.values(name) for one in facts]) for name in ("ready_s", "interval_s", "work_w")}
    outcomes = [outcome_of(one, wishes.videos, steps, spreads) for one in candidates]
    outcomes = [replace(one, is_on_front=not any(_beats(other, one) for other in outcomes)) for one in outcomes]
    outcomes.sort(key=lambda one: (one.total_s.median, one.gpu_hours.median))
    affordable = [one for one in outcomes if _end(one, "gpu_hours") <= wishes.gpu_hours]
    in_time = [one for one in affordable if _end(one, "total_s") <= wishes.within_s]
    likely = [one for one in affordable if one.total_s.median <= wishes.within_s]
    by_deadline = (_best(in_time, "gpu_hours") or _best(likely, "total_s")) if math.isfinite(wishes.within_s) else None
    return Advice(wishes, outcomes, _best(affordable, "total_s"), _best(affordable, "gpu_hours"), by_deadline, bool(in_time))


def _beats(one: Outcome, other: Outcome) -> bool:
    pairs = [(one.total_s.median, other.total_s.median), (one.gpu_hours.median, other.gpu_hours.median)]
    return all(here <= there for here, there in pairs) and any(here < there for here, there in pairs)


def _end(one: Outcome, name: str) -> float:
    """The end of an interval, with which a careful user counts. A layout that was not measured must have one."""
    interval = getattr(one, name)
    if math.isfinite(interval.high):
        return interval.high
    return interval.median if one.facts.is_measured else math.inf


def _best(outcomes: Sequence[Outcome], name: str) -> Outcome | None:
    """The smallest median. A layout that was not measured must be better than the measured ones even at the end of its interval."""
    def value(one: Outcome) -> float:
        return getattr(one, name).median if one.facts.is_measured else _end(one, name)

    return min(outcomes, key=value, default=None)


def _copies(facts: LayoutFacts, most_gpus: int, videos: int) -> list[LayoutFacts]:
    """The layout as one job and, if more GPUs are allowed than it has, as 2, 3, 4, 6, 8 ... jobs side by side."""
    most = min(most_gpus // facts.gpus, videos)
    counts = sorted({count for power in range(20) for count in (2**power, 3 * 2**power) if count <= most} | ({most} if most > 0 else set()))
    return [replace(facts, copies=count) for count in counts]


def _steps_of(facts: Sequence[LayoutFacts]) -> dict[int, float]:
    """Seconds of an item's denoising by GPUs of a group: the shortest of each."""
    found: dict[int, float] = {}
    for one in facts:
        seconds = one.median("denoise_s")
        if math.isfinite(seconds):
            found[one.group_gpus] = min(seconds, found.get(one.group_gpus, math.inf))
    return found


def pace_of(facts: LayoutFacts, step_s: Mapping[int, float]) -> Pace:
    """The medians of a layout's starts as the pace of a campaign."""
    interval_s = facts.median("interval_s")
    widths = team_widths(facts.groups) if facts.joins else []
    own = step_s.get(facts.group_gpus, math.nan)
    speeds = {width: own / step_s[facts.group_gpus * width] for width in widths if facts.group_gpus * width in step_s}
    return Pace(facts.groups, facts.median("ready_s"), facts.median("first_s", interval_s), interval_s,
                facts.median("denoise_s", interval_s), max(facts.median("item_noise", 0.0), _LEAST_SPREAD),
                {width: speed for width, speed in speeds.items() if math.isfinite(speed) and speed > 0.0})


@dataclass(frozen=True)
class Spread:
    """Spread from start to start over all layouts of a study: variance of logarithms, and its degrees of freedom."""

    variance: float
    freedom: int

    @staticmethod
    def of(samples: Sequence[np.ndarray]) -> Spread:
        """The spread within each of the samples, all together."""
        known = [np.log(values) for values in samples if len(values) > 1 and values.min() > 0.0]
        freedom = sum(len(values) - 1 for values in known)
        total = sum(float(((values - values.mean()) ** 2).sum()) for values in known)
        return Spread(total / freedom if freedom else math.nan, freedom)


def outcome_of(facts: LayoutFacts, videos: int, step_s: Mapping[int, float], spreads: Mapping[str, Spread]) -> Outcome:
    """One layout's campaign. The rows are divided evenly over the jobs."""
    pace, random = pace_of(facts, step_s), np.random.default_rng(24)
    launch_s, finish_s = facts.median("launch_s", 0.0), facts.median("finish_s", 0.0)
    items = math.ceil(videos / facts.copies)
    played = [play(pace, items, random) for _ in range(_PLAYS)]
    works = np.array(played) - pace.ready_s  # [plays, 2]: first and last
    starts, jobs = len(facts.starts), facts.copies
    load = _factors(facts.values("ready_s"), spreads["ready_s"], 0.0, (_DRAWS, jobs), random)
    work = _factors(facts.values("interval_s"), spreads["interval_s"], facts.doubt, (_DRAWS, jobs), random)
    drawn = works[random.integers(0, len(works), (_DRAWS, jobs))]  # [draws, jobs, 2]
    ready_s = launch_s + pace.ready_s * load
    first_s = (ready_s + drawn[..., 0] * work).min(axis=1)
    ends_s = ready_s + drawn[..., 1] * work + finish_s
    middle = np.median(works, axis=0)
    centre_s = launch_s + pace.ready_s + middle[1] + finish_s
    if jobs > 1:  # the slowest of several jobs is later than the typical one
        centre_s = float(np.median(ends_s.max(axis=1)))
        first = float(np.median(first_s))
    else:
        first = launch_s + pace.ready_s + middle[0]
    hours = facts.gpus / SECONDS_PER_HOUR
    work_s = ends_s - ready_s
    load_w, work_w = facts.median("load_w"), facts.median("work_w")
    power = _factors(facts.values("work_w"), spreads["work_w"], 0.0, (_DRAWS, jobs), random)
    wh = hours * (load_w * ready_s + work_w * power * work_s).sum(axis=1)
    total_of_one = jobs * (launch_s + pace.ready_s + middle[1] + finish_s)
    wh_centre = hours * jobs * (load_w * (launch_s + pace.ready_s) + work_w * (middle[1] + finish_s))
    return Outcome(facts, _interval(first, first_s, starts), _interval(centre_s, ends_s.max(axis=1), starts),
                   _interval(hours * total_of_one, hours * ends_s.sum(axis=1), starts), _interval(wh_centre, wh, starts))


def _factors(values: np.ndarray, shared: Spread, doubt: float, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Factors of new starts against the median of `values`. The layout's own spread and that of the whole study count by their starts."""
    count = len(values)
    own = Spread.of([values])
    weight = min(shared.freedom, _SHARED_STARTS)
    freedom = own.freedom + weight
    if not count or not freedom:
        return np.exp(doubt * random.standard_normal(shape))
    variance = sum(part.variance * share for part, share in ((own, own.freedom), (shared, weight)) if share) / freedom
    spread = max(math.sqrt(variance), _LEAST_SPREAD)
    t = random.standard_normal(shape) / np.sqrt(random.chisquare(freedom, shape) / freedom)
    return np.exp(spread * math.sqrt(1.0 + 1.0 / count) * t + doubt * random.standard_normal(shape))


def _interval(centre: float, drawn: np.ndarray, starts: int) -> Interval:
    if starts < 2 or not math.isfinite(centre):
        return Interval(float(centre), math.nan, math.nan, starts)
    low, high = np.quantile(drawn, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return Interval(float(centre), float(min(low, centre)), float(max(high, centre)), starts)
