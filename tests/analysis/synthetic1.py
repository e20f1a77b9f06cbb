"""Writes traces of format 1 whose truth a test chooses: slow ranks, idle groups, teams, several starts, hosts, clocks.

All ranks of a team begin a step together and end it together: who computes longer waits less. True times are those of rank 0's
clock; each rank's file rows carry the rank's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from synthetic import EXPERT_TYPE, GIB, ONE_GPU_PARTS_S, PARTS, TEXT
from wan_analysis.trace_format import TABLES

COMPUTING = ("attention", "linear", "elementwise")
#: A column's type in the file, where it is not that of its kind.
TYPES = {"expert": EXPERT_TYPE, "warm_up": "i1", "background": "i1", "merged_bytes": "u8", "latent_digest": "i8",
         "seed": "i8", "sent_bytes": "u8", "vram_used_bytes": "i8", "throttle_reasons": "i8",
         "vram_allocated_bytes": "u8", "vram_reserved_bytes": "u8", "vram_peak_bytes": "u8"}
KINDS = {"text": TEXT, "int": "i4", "float": "f8"}


@dataclass(frozen=True)
class Slow:
    """`part` takes `factor` times as long on this rank, from its `from_step`-th step on, counted over all its items."""

    rank: int
    part: str
    factor: float
    from_step: int = 0


@dataclass(frozen=True)
class Join:
    """From `step` of its `item` on, group `leader` goes on with a team of `groups`, of which it is one."""

    leader: int
    groups: tuple[int, ...]
    item: int
    step: int
    layout: str = "cfg2 x ulysses2"


@dataclass
class Start:
    """One start. Seconds are true ones; `parts_s` is a step of a rank in its group, without what `slow` adds."""

    name: str = "20260101T000000Z-00000001"
    started: str = "2026-01-01T00:00:00.000000Z"
    program: str = "wan_batch"
    group_size: int = 1
    groups: int = 1
    parts_s: dict[str, float] = field(default_factory=lambda: dict(ONE_GPU_PARTS_S))
    gap_s: float = 0.01  #: a step's own time beyond its parts: gaps between kernels
    noise: float = 0.0  #: standard deviation of each computing part, as a fraction of it
    cards: dict[int, float] = field(default_factory=dict)  #: world rank -> factor of all its computing
    seed: int = 0
    items: int = 1  #: of each group that is not idle
    ids: tuple[str, ...] = ()  #: of all groups' items, group after group; default: g0-item0, ...
    steps: int = 40
    switch: int = 15
    one_pass_from: int | None = None  #: from this step on there is no guidance: a step computes half
    sizes: tuple[tuple[int, int, int], ...] = ((832, 480, 81),)
    first_steps: dict[int, int] = field(default_factory=dict)  #: item -> steps that an earlier start made of it
    idle_groups: tuple[int, ...] = ()
    joins: tuple[Join, ...] = ()
    slow: tuple[Slow, ...] = ()
    slow_steps: dict[int, tuple[str, float]] = field(default_factory=dict)  #: step -> (part, seconds more on every rank)
    warm_up_steps: int = 1  #: of wan_bench; wan_batch's are the first step after a start, a join or a change of size
    warm_up_s: float = 0.0  #: what a warm-up step takes longer, in linear
    phases_s: dict[str, float] = field(default_factory=lambda: {
        "text": 0.1, "image": 0.05, "encode": 1.6, "denoise": 0.0, "decode": 2.7, "write": 0.2})
    start_up_s: float = 0.5
    load_s: float = 19.5
    join_s: float = 0.4
    finish_s: float = 0.1
    between_steps_s: float = 0.0
    between_phases_s: float = 0.0
    killed_after: tuple[int, int] | None = None  #: (item, steps of it made): kill -9; no ends are written, decode is not made
    outcome: str = "done"  #: of all items that end
    ranks_per_host: int = 8
    clocks_s: dict[int, float] = field(default_factory=dict)  #: world rank -> its clock minus rank 0's at the start
    drift: dict[int, float] = field(default_factory=dict)  #: world rank -> seconds that its clock gains in a second
    layout: str = "cfg1 x ulysses1"
    stretch: dict[str, object] = field(default_factory=dict)  #: other values of columns of /stretches
    gpu: bool = True
    samples_every_s: float = 2.0  #: 0: none
    attributes: dict[str, object] = field(default_factory=dict)
    digests: dict[int, int] = field(default_factory=dict)  #: step -> other digest of the latent

    def write(self, folder: Path) -> Path:
        """Writes the groups' files and the index; returns the index, OUT/trace.h5."""
        (folder / "trace").mkdir(parents=True, exist_ok=True)
        files = [_File(self, group) for group in range(self.groups)]
        leaders = {join.leader for join in self.joins}
        for file in sorted(files, key=lambda file: file.group in leaders):  # who joins has finished its own items
            file.make(files)
        end_s = max(file.clock_s for file in files)
        with h5py.File(folder / "trace.h5", "a") as links:
            for file in files:
                file.end(end_s)
                name = f"{self.name}-g{file.group:02}"
                file.write(folder / "trace" / f"{name}.h5")
                if name not in links:
                    links[name] = h5py.ExternalLink(f"trace/{name}.h5", "/")
        return folder / "trace.h5"

    @property
    def world_ranks(self) -> int:
        return self.groups * self.group_size

    def own_clock(self, rank: np.ndarray | int, true_s: np.ndarray | float) -> np.ndarray:
        """A true time on a rank's own clock."""
        ranks = np.broadcast_to(np.asarray(rank), np.shape(true_s))
        ahead = np.vectorize(lambda r: self.clocks_s.get(int(r), 0.0), otypes=[float])(ranks) if self.clocks_s else 0.0
        gains = np.vectorize(lambda r: self.drift.get(int(r), 0.0), otypes=[float])(ranks) if self.drift else 0.0
        return np.asarray(true_s) * (1 + gains) + ahead


class _File:
    """The rows of one group. `clock_s` is the true time up to which its ranks are busy."""

    def __init__(self, start: Start, group: int) -> None:
        self.start, self.group = start, group
        self.ranks = group * start.group_size + np.arange(start.group_size)
        self.rows: dict[str, list[dict[str, object]]] = {table: [] for table in TABLES}
        self.random = np.random.default_rng([start.seed, group])
        self.clock_s, self.items, self.stretches, self.steps_made = 0.0, 0, 0, 0
        self.last_size: tuple | None = None
        self.values: dict[str, object] = {}  #: of the last row of /stretches

    def add(self, table: str, **values: object) -> None:
        self.rows[table].append({"merged_bytes": 0, **values} if table == "phases" else values)

    def phase(self, phase: str, wall_s: float, *, item: int = -1, ranks: np.ndarray | None = None, start_s: float | None = None) -> None:
        begin_s = self.clock_s if start_s is None else start_s
        ranks = self.ranks if ranks is None else ranks
        self.add("phases", item=item, phase=phase, world_rank=ranks, start_s=self.start.own_clock(ranks, np.full(len(ranks), begin_s)),
                 wall_s=np.full(len(ranks), wall_s), sent_bytes=1000 * (item >= 0), background=0)
        if start_s is None:
            self.clock_s += wall_s

    def make(self, files: list[_File]) -> None:
        start = self.start
        ends_s = start.own_clock(self.ranks, np.full(len(self.ranks), start.start_up_s))
        self.add("phases", item=-1, phase="start_up", world_rank=self.ranks, start_s=0.0, wall_s=ends_s, sent_bytes=0, background=0)
        self.clock_s = start.start_up_s
        self.phase("load", start.load_s)
        if self.group in start.idle_groups:
            return
        items = start.items if start.killed_after is None else start.killed_after[0] + 1
        for item in range(items):
            self.item(item, files)

    def begin(self, item: int, first: int, ranks: np.ndarray, layout: str) -> int:
        """A row of /items and one of /stretches."""
        start = self.start
        width, height, frames = start.sizes[item % len(start.sizes)]
        number = self.group * start.items + item
        name = start.ids[number] if number < len(start.ids) else f"g{self.group}-item{item}"
        self.add("items", id=name, seed=number, width=width, height=height, frames=frames, steps=start.steps, layout=layout)
        values = {"layout": layout, "placement": "whole", "precision": "bf16", "passes": 2, "guidance": "3.5:3.5", "solver": "unipc",
                  "shift": 5.0, "attention": "cudnn", "head_chunks": 1, **start.stretch}
        if start.one_pass_from is not None:
            values |= {"guidance": "1:3.5", "passes": 1 if first >= start.one_pass_from else 2}
        self.stretch(self.items, first, ranks, values)
        self.items += 1
        return self.items - 1

    def stretch(self, item: int, first: int, ranks: np.ndarray, values: dict[str, object]) -> None:
        """A row of /stretches."""
        self.add("stretches", item=item, first_step=first, team_width=len(ranks) // self.start.group_size, ranks=",".join(map(str, ranks)),
                 start_s=float(self.start.own_clock(ranks[0], self.clock_s)), **values)
        self.values = values
        self.stretches += 1

    def item(self, item: int, files: list[_File]) -> None:
        start = self.start
        row = self.begin(item, start.first_steps.get(item, 0), self.ranks, start.layout)
        last = start.killed_after[1] if start.killed_after and start.killed_after[0] == item else None
        ranks = self.ranks
        for phase, wall_s in start.phases_s.items():
            if phase != "denoise":
                self.phase(phase, wall_s, item=row, ranks=ranks)
                self.clock_s += start.between_phases_s
                continue
            join = next((j for j in start.joins if (j.leader, j.item) == (self.group, item)), None)
            first = start.first_steps.get(item, 0)
            self.denoise(row, item, first, join.step if join else last if last is not None else start.steps, ranks, self.parts(1))
            if last is not None:
                return
            if join:
                row, ranks = self.team(join, row, item, files)
            self.clock_s += start.between_phases_s
        self.add("item_ends", item=row, time_s=float(start.own_clock(self.ranks[0], self.clock_s)), outcome=start.outcome,
                 steps_done=start.steps)
        if len(ranks) > len(self.ranks):
            for file in files:
                if file.ranks[0] in ranks:
                    file.clock_s = self.clock_s

    def team(self, join: Join, row: int, item: int, files: list[_File]) -> tuple[int, np.ndarray]:
        start = self.start
        self.add("item_ends", item=row, time_s=float(start.own_clock(self.ranks[0], self.clock_s)), outcome="handed over",
                 steps_done=join.step)
        members = [files[group] for group in join.groups]
        together_s = max(file.clock_s for file in members)
        for file in members:
            if together_s > file.clock_s:
                file.phase("idle", together_s - file.clock_s)
            file.phase("join", start.join_s)
        ranks = np.concatenate([file.ranks for file in members])
        team_row = self.begin(item, join.step, ranks, join.layout)
        self.last_size = None
        self.denoise(team_row, item, join.step, start.steps, ranks, self.parts(len(members)))
        return team_row, ranks

    def parts(self, width: int) -> dict[str, float]:
        return {part: seconds / (width if part in COMPUTING else 1) for part, seconds in self.start.parts_s.items()}

    def denoise(self, row: int, item: int, first: int, end: int, ranks: np.ndarray, parts_s: dict[str, float]) -> None:
        """Steps first to end - 1, by all ranks; arrays of shape [steps, ranks]."""
        start, count, width = self.start, end - first, len(ranks)
        if count <= 0:
            return
        change = start.one_pass_from
        if change is not None and first < change < end:
            self.denoise(row, item, first, change, ranks, parts_s)
            self.stretch(row, change, ranks, self.values | {"passes": 1})
            self.denoise(row, item, change, end, ranks, parts_s)
            return
        if change is not None and first >= change:
            parts_s = {part: seconds / (2 if part in COMPUTING else 1) for part, seconds in parts_s.items()}
        size = start.sizes[item % len(start.sizes)]
        area = size[0] * size[1] * size[2] / (832 * 480 * 81)
        number = np.arange(first, end)
        cards = np.array([start.cards.get(int(rank), 1.0) for rank in ranks])
        spent = {}
        for part in PARTS:
            spent[part] = np.full((count, width), parts_s[part] * area)
            if part in COMPUTING:
                spent[part] = spent[part] * cards * (1 + start.noise * self.random.standard_normal((count, width)))
        for slow in start.slow:
            since = self.steps_made + np.arange(count) >= slow.from_step
            spent[slow.part][np.ix_(since, ranks == slow.rank)] *= slow.factor
        for step, (part, more_s) in start.slow_steps.items():
            spent[part][number == step] += more_s
        warm = number < start.warm_up_steps if start.program == "wan_bench" else (np.arange(count) == 0) & (size != self.last_size)
        spent["linear"][warm] += start.warm_up_s
        self.last_size = size
        own = sum(spent.values()) + start.gap_s
        if width > 1:  # the others wait inside the exchange for the rank that computes longest
            exchange = "all_to_all" if parts_s["all_to_all"] > 0 else "wait"
            spent[exchange] = spent[exchange] + (own.max(axis=1, keepdims=True) - own)
        wall = np.broadcast_to(own.max(axis=1, keepdims=True), own.shape)
        begin_s = self.clock_s + np.concatenate([[0.0], np.cumsum(wall[:-1, 0] + start.between_steps_s)])
        flat = {"step": np.repeat(number, width), "timestep": np.repeat(1000 - 1000 * number // start.steps, width),
                "expert": np.repeat((number >= start.switch).astype(np.int8), width), "warm_up": np.repeat(warm.astype(np.int8), width),
                "wall_s": wall.ravel(), "start_s": start.own_clock(np.tile(ranks, count), np.repeat(begin_s, width))}
        for part in PARTS:
            flat[f"wall_{part}_s"] = np.full(count * width, 0.01) if start.gpu else spent[part].ravel()
            flat[f"gpu_{part}_s"] = spent[part].ravel() if start.gpu else np.full(count * width, np.nan)
        vram = np.tile((28 + ranks) * GIB, count) * start.gpu
        digests = np.array([start.digests.get(int(step), 1_000_003 * (int(step) + 1)) for step in number])
        self.add("steps", latent_digest=np.repeat(digests, width), item=row, stretch=self.stretches - 1, world_rank=np.tile(ranks, count),
                 group_rank=np.tile(np.arange(width), count), sent_bytes=int(3e9) * (width > 1), vram_allocated_bytes=vram,
                 vram_reserved_bytes=vram, vram_peak_bytes=vram + 2 * GIB, **flat)
        whole_s = float(begin_s[-1] + wall[-1, 0] - self.clock_s)
        self.phase("denoise", whole_s, item=row, ranks=ranks, start_s=self.clock_s)
        self.clock_s += whole_s
        self.steps_made += count

    def end(self, end_s: float) -> None:
        """Idle time up to the start's end, the ends, and what is known about the ranks."""
        start = self.start
        if start.killed_after is None:
            if end_s > self.clock_s:
                self.phase("idle", end_s - self.clock_s)
            self.phase("finish", start.finish_s)
        hosts = [f"node{rank // start.ranks_per_host + 1}" for rank in self.ranks]
        for place, rank in enumerate(self.ranks):
            card = {"gpu_model": start.attributes.get("gpu_model", "NVIDIA H200"), "gpu_uuid": f"GPU-{start.seed:04x}-{rank:04x}",
                    "pci_bus": f"0000:{rank + 1:02x}:00.0"}
            self.add("ranks", world_rank=int(rank), group_rank=place, host=hosts[place], numa_node=-1,
                     power_limit_w=700.0 if start.gpu else np.nan, **(card if start.gpu else dict.fromkeys(card, "unknown")))
            for true_s in (0.0, self.clock_s)[:1 if start.killed_after else 2]:
                own_s = float(start.own_clock(rank, true_s))
                self.add("clocks", world_rank=int(rank), time_s=own_s, offset_s=own_s - true_s, uncertainty_s=1e-5)
        if start.samples_every_s and start.gpu:
            times = np.arange(0.0, self.clock_s, start.samples_every_s)
            for rank in self.ranks:
                self.add("samples", time_s=start.own_clock(rank, times), rank=int(rank), vram_used_bytes=(30 + int(rank)) * GIB,
                         power_w=600.0, temperature_c=55.0, sm_clock_mhz=1980.0, throttle_reasons=0)

    def write(self, path: Path) -> None:
        start = self.start
        attributes: dict[str, object] = {
            "format": 1, "version": "0.3.0", "run": start.name, "started": start.started, "host": "node1", "job": "", "task": "i2v-A14B",
            "layout": start.layout, "group": self.group, "groups": start.groups, "ranks": start.group_size,
            "device": "cuda" if start.gpu else "cpu", "gpu_model": "NVIDIA H200" if start.gpu else "",
            "command": "--ckpt-dir ckpt rows.csv",
            "program": start.program, "revision": "0123abcd", "build": "Release", "driver": "570.1", "cuda": "12.8", "nccl": "2.26",
            "mpi": "Open MPI 4.1", "libtorch": "2.7", "hdf5": "1.14", "world_ranks": start.world_ranks, "job_start": -1, "array_task": ""}
        if start.killed_after is None:
            attributes |= {"ended": start.started, "exit_reason": "done", "ended_s": float(start.own_clock(self.ranks[0], self.clock_s)),
                           "dropped_rows": 0}
        with h5py.File(path, "w") as file:
            for name, value in (attributes | start.attributes).items():
                file.attrs[name] = np.int64(value) if isinstance(value, int) else value
            for table, types in TABLES.items():
                for column, (kind, units) in types.items():
                    values = self.column(table, column, kind)
                    dataset = file.create_dataset(f"{table}/{column}", data=values, maxshape=(None,), chunks=(256,))
                    dataset.attrs["units"] = units

    def column(self, table: str, column: str, kind: str) -> np.ndarray:
        """All rows of a column: each entry is a value, or an array with a value for each of its rows."""
        pieces = []
        for entry in self.rows[table]:
            count = max((len(value) for value in entry.values() if isinstance(value, np.ndarray)), default=1)
            value = np.asarray(entry[column], dtype=object if kind == "text" and column != "expert" else None)
            pieces.append(np.broadcast_to(value, (count,)))
        dtype = TYPES.get(column, KINDS[kind])
        return np.concatenate(pieces).astype(dtype) if pieces else np.array([], dtype=dtype)
