"""The figures of several starts together, in the form of those of one run: the starts of a campaign, or runs that are alike.

Their time is the GPU-seconds of all starts, from the first item's start to the last item's end of each, over the GPUs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import pandas as pd

from wan_analysis.campaign import Campaign
from wan_analysis.figures import RunFigures, RunWork
from wan_analysis.run import Run


class SeveralFigures(RunFigures):
    """The figures of several starts. Items of one name count once for each start that finished them."""

    def __init__(self, members: Sequence[RunFigures], name: str, label: str) -> None:
        super().__init__(max(members, key=lambda one: one.work.count).run)
        self.members = list(members)
        self._name = name
        self._label = label
        self.names = next((one for one in members if one.series), members[0]).names

    @cached_property
    def runs(self) -> list[Run]:
        """The starts."""
        return [run for one in self.members for run in one.runs]

    @property
    def name(self) -> str:
        """A name that no run has."""
        return self._name

    @property
    def label(self) -> str:
        """GPUs, and how many starts they were."""
        return self._label

    @property
    def gpus(self) -> int:
        """The GPUs of one start."""
        return self.members[0].gpus

    @property
    def groups(self) -> int:
        """Groups that ran at one time, if all had the size of the largest start's groups."""
        return max(1, self.gpus // self.run.group_size)

    @property
    def is_complete(self) -> bool:
        """Whether every group of every start left a trace."""
        return all(one.is_complete for one in self.members)

    @cached_property
    def traced_share(self) -> float:
        """Share of the starts' groups that left a trace."""
        return sum(one.traced_share * one.groups for one in self.members) / sum(one.groups for one in self.members)

    @cached_property
    def layouts(self) -> list[str]:
        """The layouts of all starts' steps."""
        return list(dict.fromkeys(layout for one in self.members if one.series for layout in one.layouts))

    @cached_property
    def items(self) -> pd.DataFrame:
        """The items of all starts: `id`, `done`."""
        return pd.concat([one.items[["id", "done"]] for one in self.members], ignore_index=True)

    @cached_property
    def work(self) -> RunWork:
        """The items that were finished."""
        items: Counter = Counter()
        for one in self.members:
            for name, kind, number in one.work.items:
                self._credit(items, (name, kind), number)
        works = [one.work for one in self.members if one.work.count] or [self.members[0].work]
        passes, solvers, precisions = ({getattr(work, field) for work in works} for field in ("passes", "solver", "precision"))
        return replace(works[0], items=frozenset((name, kind, number) for (name, kind), number in items.items()),
                       passes=_one(passes), solver=_one(solvers), precision=_one(precisions))

    def _credit(self, items: Counter, item: tuple, number: int) -> None:
        items[item] += number

    @property
    def seconds(self) -> float:
        """GPU-seconds of the starts from their first item's start to their last item's end, over the GPUs."""
        return self._gpu_seconds(with_load=False) / self.gpus

    @property
    def seconds_with_load(self) -> float:
        """The same from the end of MPI_Init of each start."""
        return self._gpu_seconds(with_load=True) / self.gpus

    def _gpu_seconds(self, *, with_load: bool) -> float:
        begun = [one for one in self.members if one.seconds == one.seconds]  # NaN: no item was begun
        return sum(one.gpus * (one.seconds_with_load if with_load else one.seconds) for one in begun)

    @cached_property
    def item_interval_s(self) -> float:
        """Mean seconds from one item's end to the next one's in a group, over the starts that finished several; else of one item."""
        counted = [one for one in self.members if one.work.count]
        several = [one for one in counted if one.work.count > len(one.run.groups)] or counted
        weight = sum(one.work.count for one in several)
        return sum(one.item_interval_s * one.work.count for one in several) / weight if weight else float("nan")

    @cached_property
    def phase_seconds(self) -> dict[str, float]:
        """Mean seconds of each phase of a finished item, over the starts. Largest first."""
        sums: Counter = Counter()
        weights: Counter = Counter()
        for one in self.members:
            for phase, seconds in one.phase_seconds.items():
                sums[phase] += seconds * one.work.count
                weights[phase] += one.work.count
        means = ((phase, sums[phase] / weights[phase]) for phase in sums if weights[phase])
        return dict(sorted(means, key=lambda entry: -entry[1]))


class CampaignFigures(SeveralFigures):
    """The figures of all starts of a campaign. Each item counts once."""

    def __init__(self, campaign: Campaign, members: Sequence[RunFigures]) -> None:
        self.campaign = campaign
        super().__init__(members, f"{campaign.name} ({len(members)} starts)", f"{campaign.gpus} ({len(members)} starts)")

    @property
    def gpus(self) -> int:
        """The most ranks that ran at one time."""
        return self.campaign.gpus

    @cached_property
    def items(self) -> pd.DataFrame:
        """The campaign's items, each once: `id`, `done`."""
        return self.campaign.items

    def _credit(self, items: Counter, item: tuple, number: int) -> None:
        items[item] = max(items[item], number)


def _one(values: set[str | None]) -> str | None:
    """The values as one text. None if one is unknown."""
    return None if None in values else ", ".join(sorted(str(value) for value in values))


def together(units: Sequence[RunFigures], most: int) -> list[RunFigures]:
    """The same units; if they are more than `most`, those with equal GPUs and layouts are one."""
    if len(units) <= most:
        return list(units)
    alike: dict[tuple, list[RunFigures]] = {}
    for one in units:
        alike.setdefault((one.gpus, one.groups, one.division), []).append(one)
    return [found[0] if len(found) == 1 else SeveralFigures(
        found, f"{len(found)} runs on {gpus}: {division}", f"{gpus} ({len(found)} runs)") for (gpus, _, division), found in alike.items()]
