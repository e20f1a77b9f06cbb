"""The layouts that wan_batch takes: how a group divides a step, and how the GPUs of a start are divided into groups."""

from __future__ import annotations

from dataclasses import dataclass

from wan_analysis.step_table import StepRow
from wan_analysis.texts import plural

#: GPUs of a node, unless the user says otherwise: those of the machines with H100 and H200.
NODE_GPUS = 8


@dataclass(frozen=True, order=True)
class Layout:
    """How a group divides a step: `cfg` x `ulysses` GPUs."""

    cfg: int
    ulysses: int
    sharded: bool = False  #: weights lie in pieces on all GPUs of the group
    offloaded: bool = False  #: weights lie in host memory
    spans: bool = False  #: the group lies on several nodes

    @property
    def gpus(self) -> int:
        """GPUs of the group."""
        return self.cfg * self.ulysses

    def uneven(self, heads: int) -> float:
        """Heads of the rank that has the most, over those of an even division: 14 of 40 on 3 ranks are 1.05."""
        return -(-heads // self.ulysses) * self.ulysses / heads

    def __str__(self) -> str:
        parts = [f"cfg{self.cfg} x ulysses{self.ulysses}"]
        if self.sharded:
            parts.append(f"sharded over {self.gpus}")
        if self.offloaded:
            parts.append("offloaded")
        if self.spans:
            parts.append("on several nodes")
        return ", ".join(parts)

    @property
    def options(self) -> str:
        """The options of wan_batch and wan_bench that choose this group."""
        options = f"--group-size {self.gpus} --cfg-size {self.cfg} --ulysses-size {self.ulysses}"
        options += " --dit-fsdp on" if self.sharded else ""
        return options + (" --offload-model on" if self.offloaded else "")

    @property
    def short(self) -> str:
        """"2 GPUs as ulysses 2", "4 GPUs as cfg 2 and ulysses 2"."""
        names = [f"{name} {size}" for name, size in (("cfg", self.cfg), ("ulysses", self.ulysses)) if size > 1]
        flags = {"sharded": self.sharded, "offloaded": self.offloaded, "on several nodes": self.spans}
        more = [word for word, is_so in flags.items() if is_so]
        return plural(self.gpus, "GPU") + (f" as {' and '.join(names)}" if names else "") + "".join(f", {word}" for word in more)


@dataclass(frozen=True)
class Division:
    """The GPUs of a start in `groups` groups of one layout; each group makes videos of its own."""

    groups: int
    layout: Layout

    @property
    def gpus(self) -> int:
        """GPUs of all groups."""
        return self.groups * self.layout.gpus

    def __str__(self) -> str:
        return str(self.layout) if self.groups == 1 else f"{self.groups} groups of {self.layout}"


def layout_of(row: StepRow) -> Layout:
    """The layout of measured steps. Throws ValueError if the trace has none, or if it is no layout of one group."""
    layout, name = row.layout, f"run {row.run.name}"
    if layout.cfg is None or layout.ulysses is None:
        raise ValueError(f"{name}: the layout of its steps is not recorded; run it again with today's programs")
    if layout.ranks != layout.cfg * layout.ulysses:
        raise ValueError(f"{name}: ranks of {layout} repeat work; its steps are left out")
    placement = layout.placement or ""
    sharded = placement.startswith("sharded")
    if sharded and not placement.startswith(f"sharded over {layout.ranks}"):
        raise ValueError(f"{name}: {layout} is a team of several groups; its steps are left out")
    return Layout(layout.cfg, layout.ulysses, sharded, "offloaded" in placement, spans=len(hosts_of(row)) > 1)


def hosts_of(row: StepRow) -> set[str]:
    """The hosts of the team that lies on most of them. Empty: the trace does not say."""
    info = row.run.rank_info
    if info.empty or "host" not in info:
        return set()
    teams = [{int(rank) for rank in str(ranks).split(",")} for ranks in row.rank_steps["ranks"].unique()]
    hosts = dict(zip(info["world_rank"].astype(int), info["host"].astype(str), strict=True))
    return max(({hosts[rank] for rank in team if rank in hosts} - {"", "unknown"} for team in teams), key=len, default=set())


def group_layouts(gpus: int, heads: int, *, guided: bool) -> list[tuple[int, int]]:
    """(cfg, ulysses) of every way in which wan_batch divides a step over a group of so many GPUs, its choice first.

    As possible_grids() in src/parallel/layout.cpp: the passes of guidance are split or not, and each rank has a head at least.
    """
    ways = [(cfg, gpus // cfg) for cfg in ((2, 1) if guided else (1,)) if gpus % cfg == 0]
    return [(cfg, ulysses) for cfg, ulysses in ways if ulysses <= heads]


def divisions(gpus: int, heads: int, *, guided: bool = True, sharded: bool = False, node_gpus: int = NODE_GPUS) -> list[Division]:
    """Every division of so many GPUs that wan_batch takes: the largest groups first, the passes of guidance split first.

    Groups of one GPU are always among them. A group spans nodes if it is larger than a node or does not divide it.
    """
    found = []
    for size in range(gpus, 0, -1):
        if gpus % size == 0:
            spans = gpus > node_gpus and node_gpus % size != 0
            found += [Division(gpus // size, Layout(cfg, ulysses, sharded and size > 1, spans=spans))
                      for cfg, ulysses in group_layouts(size, heads, guided=guided)]
    return found
