"""Stragglers: ranks that are late because they compute slowly. They are named; the ranks that wait for them are not.

A straggler's seconds in one computing part (attention, linear, elementwise) exceed the median of all ranks that do the same
work by 1 % or more in most steps of a window (`late_windows`). Ranks of all groups are compared, and those of all starts of a
campaign, where a GPU is known by its UUID.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from wan_analysis.late_windows import LatePart, excess_of_part, late_on_cpus, late_on_gpus
from wan_analysis.measures import Shape
from wan_analysis.rank_excess import add_references
from wan_analysis.run import Run
from wan_analysis.series import described_steps, is_unknown
from wan_analysis.step_rows import COMPUTING_PARTS, prepared
from wan_analysis.times import UNKNOWN, moment_of, start_moment, time_text


@dataclass(frozen=True)
class Device:
    """The place where a rank ran. Text that no trace holds is "unknown"."""

    rank: int  #: world rank
    host: str = UNKNOWN
    gpu_model: str = UNKNOWN
    gpu_uuid: str = UNKNOWN
    pci_bus: str = UNKNOWN

    @property
    def gpu(self) -> str:
        """The UUID, else the model, else "unknown"."""
        return self.gpu_model if self.gpu_uuid == UNKNOWN else self.gpu_uuid

    def __str__(self) -> str:
        where = "(its host is not recorded)" if self.host == UNKNOWN else f"on host {self.host}"
        return f"rank {self.rank} {where}" + ("" if self.gpu == UNKNOWN else f", {self.gpu}")


@dataclass(frozen=True)
class Straggler:
    """A rank that is late, and the part that makes it late."""

    device: Device
    key: str  #: the card: its UUID, else the number of the start and the world rank
    run: str  #: name of the start
    size: Shape
    team: str  #: world ranks of its team, "0,1,2,3"
    part: str  #: the slow part that takes the most seconds more
    excess: float  #: the part's seconds over the median of all ranks, less 1: the median over the window's steps
    parts: dict[str, float]  #: the excess of every slow part
    ranks: int  #: ranks (or GPUs) that were compared
    since_s: float  #: start of the window on the run's clock
    until_s: float  #: its end
    at: str  #: `since_s` as a time of day in UTC
    steps: int  #: steps of the window
    of_steps: int  #: steps of the rank that were compared
    more_s: float  #: seconds that the slow parts took more than the median
    cost_s: float  #: seconds by which they held up the team
    cost_gpu_s: float  #: the same times the ranks of the team

    @property
    def rank(self) -> int:
        """World rank."""
        return self.device.rank

    @property
    def host(self) -> str:
        """Name of the machine."""
        return self.device.host

    @property
    def gpu(self) -> str:
        """UUID or model of the GPU."""
        return self.device.gpu

    @property
    def text(self) -> str:
        """One sentence: "rank 3 on host n2, GPU-1, part linear, +8.0 %: ..."."""
        others = [f"{part} {100 * excess:+.1f} %" for part, excess in self.parts.items() if part != self.part]
        more = f" (also {', '.join(others)})" if others else ""
        since = "in all its steps" if self.steps == self.of_steps else f"in {self.steps} of {self.of_steps} steps since {self.at}"
        cost = (f"holds up its group by {time_text(self.cost_s)} ({self.cost_gpu_s:.3g} GPU-seconds)" if "," in self.team
                else f"takes {time_text(self.cost_s)} longer than the median")
        over = f"{100 * self.excess:+.1f} %{more} over the median of {self.ranks} ranks"
        return f"{self.device}, part {self.part}, {over} {since}: it {cost}"


@dataclass(frozen=True)
class CardExcess:
    """How long a card takes for one part of the steps of one size."""

    key: str  #: as `Straggler.key`
    rank: int
    size: Shape
    excess: float  #: over the median of all ranks, less 1: the median over its steps
    usual_s: float  #: the median of all ranks


@dataclass(frozen=True)
class Slowest:
    """The rank that computes longest, whether that is much or little."""

    device: Device
    run: str
    team: str
    part: str  #: the part that takes the most seconds more than the median
    excess: float  #: its computing over the median of all ranks, less 1: sums over its steps
    steps: int
    cost_s: float  #: seconds that its team would gain if it computed as fast as the median
    cost_gpu_s: float

    @property
    def rank(self) -> int:
        """World rank."""
        return self.device.rank

    @property
    def text(self) -> str:
        """One sentence."""
        return (f"{self.device} computes longest: {100 * self.excess:+.2f} % over the median of all ranks, most of it in {self.part}; "
                f"this costs its group {time_text(self.cost_s)} ({self.cost_gpu_s:.3g} GPU-seconds)")


def stragglers(runs: Run | Iterable[Run]) -> list[Straggler]:
    """The stragglers of a run or of all starts of a campaign, the costliest first."""
    return stragglers_of(*comparable_rows([runs] if isinstance(runs, Run) else list(runs)))


def slowest(runs: Run | Iterable[Run]) -> Slowest | None:
    """The rank whose slow computing costs the most. None if no two ranks did the same work."""
    return slowest_of(*comparable_rows([runs] if isinstance(runs, Run) else list(runs)))


def excesses(runs: Iterable[Run]) -> dict[tuple[str, Shape, str], CardExcess]:
    """The excess of every card in every computing part, by (key, size, part). Medians over the card's measured steps."""
    rows, _, _ = comparable_rows(list(runs))
    found = {}
    for (_, key), own in rows.groupby(["series", "card"], sort=False) if len(rows) else ():
        for part in COMPUTING_PARTS:
            found.setdefault((str(key), _size(own), part), CardExcess(
                str(key), int(own["world_rank"].iloc[0]), _size(own), float(np.median(excess_of_part(own, part))),
                float(own[f"usual_{part}"].median())))
    return found


def _size(rows: pd.DataFrame) -> Shape:
    width, height, frames = rows[["width", "height", "frames"]].iloc[0]
    return int(width), int(height), int(frames)


def comparable_rows(runs: list[Run]) -> tuple[pd.DataFrame, dict[str, Device], list[tuple[str, str, bool]]]:
    """Measured rows of all starts with references, the devices by their key, and (name, start time, is a CPU run) of each start."""
    tables, devices, moments = [], {}, {}
    starts = [(run.name, run.attribute("started"), run.unit != "GPU") for run in runs]
    for number, run in enumerate(runs):
        steps = described_steps(run)
        if steps.empty:
            continue
        of_rank = {row.world_rank: _device(row) for row in run.rank_info.itertuples(index=False)}
        keys = {}
        for rank in steps["world_rank"].unique():
            device = of_rank.get(rank, Device(int(rank)))
            keys[rank] = device.gpu_uuid if device.gpu_uuid != UNKNOWN else f"{number}/{rank}"
            devices.setdefault(keys[rank], device)
        moment = start_moment(run.attribute("started"))
        if moment is not None:
            moments[number] = moment.timestamp()
        tables.append(steps.assign(start=number, card=steps["world_rank"].map(keys)))
    if not tables:
        return pd.DataFrame(), devices, starts
    rows = prepared(pd.concat(tables, ignore_index=True))
    return add_references(rows[~rows["is_warm_up"]], moments), devices, starts


def stragglers_of(rows: pd.DataFrame, devices: dict[str, Device], starts: list[tuple[str, str, bool]]) -> list[Straggler]:
    """The stragglers among the rows of `comparable_rows`."""
    found = []
    for _, of_series in rows.groupby("series", sort=False) if len(rows) else ():
        count = of_series["card"].nunique()
        find = late_on_cpus if starts[int(of_series["start"].iloc[0])][2] else late_on_gpus
        for key, (own, slow) in find(of_series).items():
            device = devices.get(key, Device(int(own["world_rank"].iloc[0])))
            found.append(_straggler(own, slow, device, key, starts, count))
    return sorted(found, key=lambda one: -one.cost_gpu_s)


def slowest_of(rows: pd.DataFrame, devices: dict[str, Device], starts: list[tuple[str, str, bool]]) -> Slowest | None:
    """The costliest rank among the rows of `comparable_rows`."""
    found: list[Slowest] = []
    for _, of_series in rows.groupby("series", sort=False) if len(rows) else ():
        for key, own in of_series.groupby("card", sort=False):
            usual_s = own[[f"usual_{part}" for part in COMPUTING_PARTS]].sum(axis=1)
            more = {part: float((own[f"part_{part}"] - own[f"usual_{part}"]).sum()) for part in COMPUTING_PARTS}
            held_s = _held_up_s(own, (own["computing_s"] - usual_s).clip(lower=0.0))
            device = devices.get(str(key), Device(int(own["world_rank"].iloc[0])))
            found.append(Slowest(device, starts[int(own["start"].iloc[0])][0], str(own["team"].iloc[0]), max(more, key=lambda p: more[p]),
                                 float(own["computing_s"].sum() / usual_s.sum()) - 1.0, len(own), float(held_s.sum()),
                                 float((held_s * _team_ranks(own)).sum())))
    return max(found, key=lambda one: (one.cost_gpu_s, one.excess), default=None)


def _device(row: object) -> Device:
    texts = {name: getattr(row, name, UNKNOWN) for name in ("host", "gpu_model", "gpu_uuid", "pci_bus")}
    return Device(int(row.world_rank), **{name: UNKNOWN if is_unknown(text) else str(text) for name, text in texts.items()})


def _straggler(own: pd.DataFrame, slow: dict[str, LatePart], device: Device, key: str,
               starts: list[tuple[str, str, bool]], count: int) -> Straggler:
    more = {part: (own[f"part_{part}"] - own[f"usual_{part}"]).iloc[late.places] for part, late in slow.items()}
    part = max(more, key=lambda name: float(more[name].sum()))
    places = slow[part].places
    held_s = _held_up_s(own, pd.DataFrame(more).sum(axis=1).reindex(own.index).fillna(0.0).clip(lower=0.0))
    first = own.iloc[places[0]]
    name, started, _ = starts[int(first["start"])]
    return Straggler(
        device=device, key=key, run=name, size=_size(own), team=str(first["team"]), part=part,
        excess=slow[part].excess,
        parts={name: late.excess for name, late in slow.items()}, ranks=count,
        since_s=float(first["start_s"]), until_s=float(own.iloc[places[-1]]["end_s"]),
        at=moment_of(started, timedelta(seconds=float(first["start_s"]))), steps=len(places), of_steps=len(own),
        more_s=float(sum(values.sum() for values in more.values())), cost_s=float(held_s.sum()),
        cost_gpu_s=float((held_s * _team_ranks(own)).sum()))


def _held_up_s(own: pd.DataFrame, less_s: pd.Series) -> pd.Series:
    """Seconds that each step of the team would be shorter if this rank computed `less_s` less."""
    return (own["computing_s"] - np.maximum(own["computing_s"] - less_s, own["others_s"])).clip(lower=0.0)


def _team_ranks(own: pd.DataFrame) -> pd.Series:
    return own["team"].str.count(",") + 1
