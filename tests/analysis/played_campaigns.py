"""Campaigns played step by step: groups claim rows, make items of phases and steps, and join when no row is left.

Independent of the model in wan_analysis: every step of the last items is an event, and groups talk only through the queue of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from wan_analysis.campaign_facts import LayoutFacts, StartFacts

SIZES = (1, 2, 4, 8)


@dataclass
class Machine:
    """Times of a made-up machine; groups and teams of 1 to 8 GPUs."""

    step_s: dict[int, float]
    steps: int
    before_s: dict[int, float]  #: texts and image of an item
    behind_s: dict[int, float]  #: decoding and writing
    load_s: dict[int, float]  #: by the GPUs of the start
    first_s: float  #: what a group's first item takes longer
    start_noise: float
    load_noise: float
    item_noise: float
    join_s: float = 0.4


def made_up(random: np.random.Generator) -> Machine:
    """A machine with another balance of steps, phases and load each time."""
    one_s, steps = float(random.uniform(1.0, 8.0)), int(random.choice([4, 8, 20, 40]))
    loss, constant = random.uniform(0.01, 0.12), random.uniform(0.0, 0.1)
    phases_s, share = random.uniform(2.0, 40.0), random.uniform(0.2, 0.9)
    step_s = {size: one_s * ((1.0 - constant) / size * (1.0 + loss * np.log2(size)) + constant) for size in SIZES}
    behind_s = {size: phases_s * (share / size + 1.0 - share) for size in SIZES}
    load = random.uniform(15.0, 240.0)
    return Machine(step_s, steps, {size: random.uniform(0.1, 1.0) for size in SIZES}, behind_s,
                   {size: load * (1.0 + 0.05 * np.log2(size)) for size in SIZES}, float(random.uniform(0.0, 10.0)),
                   float(random.uniform(0.002, 0.02)), float(random.uniform(0.01, 0.1)), float(random.uniform(0.001, 0.01)))


@dataclass
class Group:
    """One group: what it makes, how far it is, and with how many groups."""

    index: int
    free_s: float
    item: int = -1
    step: int = 0
    width: int = 1
    leader: int = -1  #: of the team that it helps; -1: none
    noise: float = 1.0
    phase: str = "idle"
    is_out: bool = False  #: found no row
    begun_s: float = 0.0
    made: int = 0
    items: list[tuple[float, float, bool]] = field(default_factory=list)  #: start, end, made by a team


class Campaign:
    """One start on `gpus` in groups of `size`. `play` returns the end of the first item, and of the start."""

    def __init__(self, machine: Machine, gpus: int, size: int, items: int, random: np.random.Generator, *, joins: bool = True) -> None:
        self.machine, self.size, self.rows, self.random, self.joins = machine, size, items, random, joins
        self.speed = float(np.exp(machine.start_noise * random.standard_normal()))
        self.ready_s = machine.load_s[gpus] * float(np.exp(machine.load_noise * random.standard_normal()))
        self.groups = [Group(index, self.ready_s) for index in range(gpus // size)]
        self.next_row = 0

    def play(self) -> tuple[float, float]:
        count = len(self.groups)
        order = sorted(range(count), key=lambda index: int(format(index, "04b")[::-1], 2))
        for index in order:
            self._claim(self.groups[index], self.ready_s)
        while any(group.phase not in ("idle", "helps") for group in self.groups):
            group = min((one for one in self.groups if one.phase not in ("idle", "helps")), key=lambda one: one.free_s)
            self._advance(group)
        ends = [end for group in self.groups for _, end, _ in group.items]
        return min(ends), max(ends)

    def _claim(self, group: Group, now_s: float) -> None:
        if self.next_row >= self.rows:
            group.phase, group.is_out, group.free_s = "idle", True, now_s
            return
        group.item, group.step, group.width = self.next_row, 0, 1
        self.next_row += 1
        group.noise = self.speed * max(1.0 + self.machine.item_noise * self.random.standard_normal(), 0.5)
        group.begun_s, group.phase = now_s, "before"
        slow_s = self.machine.first_s if not group.made else 0.0
        group.made += 1
        group.free_s = now_s + group.noise * (self.machine.before_s[self.size] + slow_s)

    def _advance(self, group: Group) -> None:
        now_s, machine = group.free_s, self.machine
        if group.phase in ("before", "steps") and group.step < machine.steps:
            group.phase = "steps"
            more_s = self._grow(group) if self.joins and self.next_row >= self.rows else 0.0
            left = machine.steps - group.step
            count = left if self.next_row + len(self.groups) < self.rows else 1  # far from the end, nobody can join
            group.step += count
            group.free_s = now_s + more_s + count * group.noise * machine.step_s[self.size * group.width]
        elif group.phase in ("before", "steps"):
            group.phase = "behind"
            group.free_s = now_s + group.noise * machine.behind_s[self.size]
        else:
            group.items.append((group.begun_s, now_s, group.width > 1))
            helpers = [one for one in self.groups if one.leader == group.index]
            group.phase = "idle"
            for helper in helpers:
                helper.leader = -1
            for one in (group, *helpers):
                self._claim(one, now_s)

    def _grow(self, group: Group) -> float:
        """The widest block of neighbours that are all idle. They help if it saves 5 s."""
        best = group.width
        width = 2 * group.width
        while width <= len(self.groups):
            first = group.index - group.index % width
            others = [one for one in self.groups[first:first + width] if one is not group and one.leader != group.index]
            if not all(one.phase == "idle" and one.is_out for one in others):
                break
            best, width = width, 2 * width
        left_s = (self.machine.steps - group.step) * self.machine.step_s[self.size * group.width]
        if best == group.width or left_s * (1.0 - group.width / best) < 5.0:
            return 0.0
        group.width = best
        first = group.index - group.index % best
        for one in self.groups[first:first + best]:
            if one is not group:
                one.phase, one.leader = "helps", group.index
        return self.machine.join_s

    def facts(self, end_s: float) -> StartFacts:
        """The figures that a reader of the trace has."""
        firsts, intervals = [], []
        for group in self.groups:
            alone = [(begin, end) for begin, end, by_team in group.items if not by_team]
            if alone:
                firsts.append(alone[0][1] - alone[0][0])
                intervals.append(np.diff([end for _, end in alone]))
        every = np.concatenate(intervals) if intervals else np.array([])
        first_s = float(np.median(firsts)) if firsts else np.nan
        noises = [float(np.std(found, ddof=1) / np.mean(found)) for found in intervals if len(found) > 1]
        step_s = self.speed * self.machine.step_s[self.size]
        return StartFacts(np.nan, self.ready_s, first_s, float(np.mean(every)) if len(every) else first_s,
                          float(np.median(noises)) if noises else 0.0, self.machine.steps * step_s, 0.1, 200.0, 600.0)


def study_of(machine: Machine, layouts: list[tuple[int, int]], starts: int, per_group: int,
             random: np.random.Generator) -> list[LayoutFacts]:
    """A study: so many starts of each layout, with a manifest of so many rows for each group."""
    found = []
    for gpus, size in layouts:
        facts = []
        for _ in range(starts):
            one = Campaign(machine, gpus, size, per_group * gpus // size, random)
            facts.append(one.facts(one.play()[1]))
        found.append(LayoutFacts(f"{gpus} GPUs, {gpus // size} groups of {size}", gpus, gpus // size, size, "", True, tuple(facts)))
    return found


def truth_of(machine: Machine, gpus: int, size: int, items: int, plays: int, random: np.random.Generator) -> np.ndarray:
    """[plays, 3]: end of the first item, end of all, GPU-hours."""
    rows = []
    for _ in range(plays):
        first_s, last_s = Campaign(machine, gpus, size, items, random).play()
        rows.append((first_s, last_s + 0.1, gpus * (last_s + 0.1) / 3600.0))
    return np.array(rows)
