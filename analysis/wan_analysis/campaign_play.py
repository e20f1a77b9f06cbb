"""Plays a campaign in a few events: groups claim items until none is left, then idle groups join their running neighbours.

Whole rounds of items far from the end are skipped: they only add their time. The rules of joining are those of src/batch: a group that has
no items of its own is idle, and an item goes on with the widest block of neighbours (2, 4, ... groups, or all) that are all idle, if that
saves it enough time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

#: Groups join only if it saves the item so many seconds (RunContext::join_worth_s).
JOIN_WORTH_S = 5.0
#: So many rounds at the end are played item by item.
_PLAYED_ROUNDS = 3


@dataclass(frozen=True)
class Pace:
    """The seconds of one start. `team_speed`: groups of a team (`team_widths`) -> times as fast as one group's denoising."""

    groups: int
    ready_s: float
    first_s: float
    interval_s: float
    denoise_s: float
    item_noise: float = 0.0
    team_speed: Mapping[int, float] = field(default_factory=dict)


@dataclass
class _Item:
    """An item in hand: when its denoising begins and ends, and the time behind that."""

    denoise_from_s: float
    denoise_to_s: float
    rest_s: float
    width: int = 1

    @property
    def end_s(self) -> float:
        return self.denoise_to_s + self.rest_s


def team_widths(groups: int) -> list[int]:
    """The teams of a run by their number of groups: 2, 4, ..., and all (src/comm/rank_grid.h)."""
    return sorted({*(2**power for power in range(1, groups.bit_length()) if 2**power <= groups), groups} - {1})


def play(pace: Pace, items: int, random: np.random.Generator | None = None) -> tuple[float, float]:
    """(end of the first item, end of the last item) in seconds from the end of MPI_Init. Without `random` nothing varies."""
    if items < 1:
        return pace.ready_s, pace.ready_s
    return _Play(pace, items, random).run()


class _Play:
    def __init__(self, pace: Pace, items: int, random: np.random.Generator | None) -> None:
        self.pace, self.random = pace, random
        self.skipped = max(items // pace.groups - _PLAYED_ROUNDS, 0)
        self.left = items - self.skipped * pace.groups
        self.running: dict[int, _Item] = {}  # by the group that leads
        self.members: dict[int, list[int]] = {}
        self.idle: set[int] = set()
        self.first_end_s = math.inf

    def noise(self, count: int = 1) -> float:
        if self.random is None or not self.pace.item_noise:
            return 1.0
        return max(1.0 + self.pace.item_noise / math.sqrt(count) * float(self.random.standard_normal()), 0.1)

    def run(self) -> tuple[float, float]:
        # (time, place among the first claims, group). An item's end is checked against the item, because a team moves it.
        events = [(self.pace.ready_s, place - self.pace.groups, group) for place, group in enumerate(_spread(self.pace.groups))]
        made = [0] * self.pace.groups
        last_s = self.pace.ready_s
        while events:
            now_s, place, group = heapq.heappop(events)
            if place >= 0:
                item = self.running.get(group)
                if item is None or item.end_s > now_s + 1e-9:
                    continue
                del self.running[group]
                last_s = max(last_s, now_s)
                self.first_end_s = min(self.first_end_s, now_s)
            for free in self.members.pop(group, [group]):
                if self.left > 0:
                    self.left -= 1
                    self.claim(free, made, now_s)
                    heapq.heappush(events, (self.running[free].end_s, 0, free))
                else:
                    self.idle.add(free)
            if self.idle:
                for leader in self.join(now_s):
                    heapq.heappush(events, (self.running[leader].end_s, 0, leader))
        return self.first_end_s, last_s

    def claim(self, group: int, made: list[int], now_s: float) -> None:
        """A group's next item. The rounds that are skipped lie behind its first one."""
        pace = self.pace
        if made[group] == 0:
            seconds = pace.first_s * self.noise()
            self.first_end_s = min(self.first_end_s, now_s + seconds)
            begin_s = now_s
            if self.skipped:
                begin_s += self.skipped * pace.interval_s * self.noise(self.skipped)
        else:
            seconds, begin_s = pace.interval_s * self.noise(), now_s
        made[group] += 1
        denoise_s = min(pace.denoise_s if math.isfinite(pace.denoise_s) else seconds, seconds)
        before_s = 0.3 * (seconds - denoise_s)  # texts and image; most of the rest is behind the steps
        self.running[group] = _Item(begin_s + before_s, begin_s + before_s + denoise_s, seconds - denoise_s - before_s)
        self.members[group] = [group]

    def join(self, now_s: float) -> list[int]:
        """Lets items grow to the widest idle blocks around them. Returns the leaders of those that did."""
        grown = []
        for leader, item in list(self.running.items()):
            at_s = max(now_s, item.denoise_from_s)
            left_s = item.denoise_to_s - at_s
            own = self.pace.team_speed.get(item.width, 1.0) if item.width > 1 else 1.0
            width = max((wide for wide in self.idle_widths(leader) if wide in self.pace.team_speed), default=1)
            if width <= item.width or left_s <= 0.0:
                continue
            if left_s * (1.0 - item.width / width) < JOIN_WORTH_S:
                continue
            block = leader // width * width
            item.denoise_to_s = at_s + left_s * own / self.pace.team_speed[width]
            item.width = width
            self.members[leader] = list(range(block, block + width))
            self.idle -= set(self.members[leader])
            grown.append(leader)
        return grown

    def idle_widths(self, leader: int) -> list[int]:
        """The widths of the complete blocks around a leader whose other groups are idle or its own."""
        free = self.idle | set(self.members[leader])
        blocks = {width: range(leader // width * width, leader // width * width + width) for width in team_widths(self.pace.groups)}
        return [width for width, block in blocks.items() if block.stop <= self.pace.groups and set(block) <= free]


def _spread(groups: int) -> list[int]:
    """All groups, neighbours far apart: the order in which they claim their first items."""
    bits = max((groups - 1).bit_length(), 1)
    order = [int(format(place, f"0{bits}b")[::-1], 2) for place in range(2**bits)]
    return [group for group in order if group < groups]
