"""Writes traces as src/trace/trace_writer.cpp does, with times that a test chooses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

PARTS = ("attention", "linear", "elementwise", "all_to_all", "weight_gather", "host_copy", "wait")
EXPERT_TYPE = h5py.enum_dtype({"high_noise": 0, "low_noise": 1}, basetype="i1")
TEXT = h5py.string_dtype("utf-8")
GIB = 2**30

ITEM_COLUMNS = {"id": (TEXT, "1"), "seed": ("i8", "1"), "width": ("i4", "pixel"), "height": ("i4", "pixel"),
                "frames": ("i4", "1"), "steps": ("i4", "1"), "layout": (TEXT, "1")}
STEP_COLUMNS = {
    "item": ("i4", "1"), "world_rank": ("i4", "1"), "group_rank": ("i4", "1"), "step": ("i4", "1"),
    "timestep": ("i4", "1"), "expert": (EXPERT_TYPE, "1"), "start_s": ("f8", "s"), "wall_s": ("f8", "s"),
    **{f"wall_{part}_s": ("f8", "s") for part in PARTS}, **{f"gpu_{part}_s": ("f8", "s") for part in PARTS},
    "sent_bytes": ("u8", "byte"), "vram_allocated_bytes": ("u8", "byte"), "vram_reserved_bytes": ("u8", "byte"),
    "vram_peak_bytes": ("u8", "byte")}
PHASE_COLUMNS = {"item": ("i4", "1"), "phase": (TEXT, "1"), "start_s": ("f8", "s"), "wall_s": ("f8", "s"),
                 "sent_bytes": ("u8", "byte")}
SAMPLE_COLUMNS = {"time_s": ("f8", "s"), "rank": ("i4", "1"), "vram_used_bytes": ("u8", "byte"),
                  "power_w": ("f8", "W"), "temperature_c": ("f8", "degC")}

#: Seconds of a step's parts on one GPU, about those of an H200 at 480p.
ONE_GPU_PARTS_S = {"attention": 2.66, "linear": 2.24, "elementwise": 0.21, "all_to_all": 0.0, "weight_gather": 0.0,
                   "host_copy": 0.02, "wait": 0.0}


@dataclass
class Synthetic:
    """One run. Times of a part are `parts_s[part]` with relative noise; phases take `phases_s`."""

    name: str = "20260101-000000-1"
    group_size: int = 1
    groups: int = 1
    parts_s: dict[str, float] = field(default_factory=lambda: dict(ONE_GPU_PARTS_S))
    remainder_s: float = 0.03
    noise: float = 0.0  #: standard deviation of each part's time, as a fraction of it
    seed: int = 0
    items: int = 1  #: of each group
    steps: int = 40
    switch: int = 15  #: first step of the low-noise expert
    sizes: tuple[tuple[int, int, int], ...] = ((832, 480, 81),)  #: items take them in turn
    phases_s: dict[str, float] = field(
        default_factory=lambda: {"text": 0.1, "image": 0.05, "encode": 1.6, "denoise": 0.0, "decode": 2.7})
    layout: str = "cfg1 x ulysses1"
    gpu: bool = True
    samples: bool = True
    slow_steps: dict[int, tuple[str, float]] = field(default_factory=dict)  #: step -> (part, seconds more)
    attributes: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Writes the groups' files and the index; returns the index, OUT/trace.h5."""
        (folder / "trace").mkdir(parents=True, exist_ok=True)
        index = folder / "trace.h5"
        with h5py.File(index, "a") as links:
            for group in range(self.groups):
                file = f"{self.name}-g{group:02}"
                self._write_group(folder / "trace" / f"{file}.h5", group)
                if file not in links:
                    links[file] = h5py.ExternalLink(f"trace/{file}.h5", "/")
        return index

    def _write_group(self, path: Path, group: int) -> None:
        random = np.random.default_rng([self.seed, group])
        rows: dict[str, dict[str, list]] = {
            "items": {c: [] for c in ITEM_COLUMNS}, "steps": {c: [] for c in STEP_COLUMNS},
            "phases": {c: [] for c in PHASE_COLUMNS}, "samples": {c: [] for c in SAMPLE_COLUMNS}}
        clock_s = 20.0
        add(rows["phases"], item=-1, phase="load", start_s=0.5, wall_s=clock_s - 0.5, sent_bytes=0)
        for item in range(self.items):
            clock_s = self._item(rows, group, item, clock_s, random)
        if self.samples:
            for time_s in np.arange(0.0, clock_s, 2.0):
                for rank in range(self.group_size):
                    add(rows["samples"], time_s=time_s, rank=group * self.group_size + rank,
                        vram_used_bytes=int((30 + rank + 5 * (time_s > 20)) * GIB), power_w=600.0 + rank,
                        temperature_c=55.0)
        write_tables(path, self._attributes(group), rows, gpu_samples=self.samples)

    def _item(self, rows: dict, group: int, item: int, clock_s: float, random: np.random.Generator) -> float:
        width, height, frames = self.sizes[item % len(self.sizes)]
        area = width * height * frames / (832 * 480 * 81)
        add(rows["items"], id=f"g{group}-item{item}", seed=item, width=width, height=height, frames=frames,
            steps=self.steps, layout=self.layout)
        for phase, wall_s in self.phases_s.items():
            start_s = clock_s
            if phase == "denoise":
                for step in range(self.steps):
                    clock_s = self._step(rows, group, item, step, clock_s, area, random)
            else:
                clock_s += wall_s * float(1 + self.noise * random.standard_normal())
            add(rows["phases"], item=item, phase=phase, start_s=start_s, wall_s=clock_s - start_s, sent_bytes=1000)
        return clock_s

    def _step(self, rows: dict, group: int, item: int, step: int, clock_s: float, area: float,
              random: np.random.Generator) -> float:
        longest = 0.0
        for rank in range(self.group_size):
            parts = {part: self.parts_s[part] * area * float(1 + self.noise * random.standard_normal()) for part in PARTS}
            if step in self.slow_steps:
                part, more_s = self.slow_steps[step]
                parts[part] += more_s
            wall_s = sum(parts.values()) + self.remainder_s
            longest = max(longest, wall_s)
            host = {f"wall_{part}_s": 0.01 if self.gpu else parts[part] for part in PARTS}
            device = {f"gpu_{part}_s": parts[part] if self.gpu else float("nan") for part in PARTS}
            vram = int((28 + rank) * GIB) if self.gpu else 0
            add(rows["steps"], item=item, world_rank=group * self.group_size + rank, group_rank=rank, step=step,
                timestep=1000 - 1000 * step // self.steps, expert=int(step >= self.switch), start_s=clock_s,
                wall_s=wall_s, **host, **device, sent_bytes=self._sent_bytes(), vram_allocated_bytes=vram,
                vram_reserved_bytes=vram + GIB * self.gpu, vram_peak_bytes=vram + 2 * GIB * self.gpu)
        return clock_s + longest

    def _sent_bytes(self) -> int:
        return int(3e9) * (self.group_size > 1)

    def _attributes(self, group: int) -> dict[str, str | int]:
        return {"version": "0.1.0", "run": self.name, "started": f"2026-01-01T00:00:0{self.group_size}Z", "host": "node1",
                "job": "", "task": "i2v-A14B", "layout": self.layout.split(",")[0], "group": group,
                "groups": self.groups, "ranks": self.group_size, "device": "cuda" if self.gpu else "cpu",
                "gpu_model": "NVIDIA H200" if self.gpu else "",
                "command": "wan_batch --ckpt-dir ckpt manifest.csv", **self.attributes}


def add(table: dict[str, list], **values: object) -> None:
    """One row; every column must be given."""
    assert set(values) == set(table)
    for column, value in values.items():
        table[column].append(value)


def add_ranks(file: Path, ranks: list[int], *, from_step: int) -> None:
    """Gives `ranks` the same steps as the rank of a group of one, as in a team of several groups."""
    with h5py.File(file, "a") as trace:
        steps = trace["steps"]
        chosen = steps["step"][:] >= from_step
        for name in list(steps):
            values, kind = steps[name][:], steps[name].dtype
            more = [np.full(chosen.sum(), rank) if name == "world_rank" else values[chosen] for rank in ranks]
            del steps[name]
            steps.create_dataset(name, data=np.concatenate([values, *more]).astype(kind), dtype=kind)


def write_tables(path: Path, attributes: dict, rows: dict, *, gpu_samples: bool = True) -> None:
    """One group's file."""
    columns = {"items": ITEM_COLUMNS, "steps": STEP_COLUMNS, "phases": PHASE_COLUMNS}
    if gpu_samples:
        columns["samples"] = SAMPLE_COLUMNS
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = np.int64(value) if isinstance(value, int) else value
        for table, types in columns.items():
            for column, (kind, units) in types.items():
                values = np.array(rows[table][column], dtype=kind)
                dataset = file.create_dataset(f"{table}/{column}", data=values, maxshape=(None,), chunks=(256,))
                dataset.attrs["units"] = units


def scaled_parts(group_size: int, *, cfg: int, ulysses: int, fsdp: bool) -> dict[str, float]:
    """Seconds by part of a layout: work is divided, a small piece of it is not, and transfers are added."""
    share = 1.0 / (cfg * ulysses)
    parts = {part: seconds * share for part, seconds in ONE_GPU_PARTS_S.items()}
    parts["linear"] += 0.015
    parts["elementwise"] += 0.01
    parts["host_copy"] = 0.02
    parts["all_to_all"] = 0.9 * (ulysses - 1) / ulysses**2 / cfg
    parts["weight_gather"] = 0.06 * (group_size - 1) / group_size if fsdp else 0.0
    parts["wait"] = 0.025 if cfg == 2 else 0.0
    return parts


def scaled_run(gpus: int, **options: object) -> Synthetic:
    """A run of a scaling study on `gpus` GPUs in one group: cfg 2 first, then Ulysses; weights sharded from 2 on."""
    cfg = 2 if gpus > 1 else 1
    ulysses = gpus // cfg
    layout = f"cfg{cfg} x ulysses{ulysses}" + (f", fsdp{gpus}" if gpus > 1 else "")
    phases = {"text": 0.1, "image": 0.05, "encode": 0.2 + 1.4 / gpus, "denoise": 0.0, "decode": 0.3 + 2.4 / gpus}
    values = {"name": f"20260101-00000{gpus}-7", "group_size": gpus, "layout": layout, "phases_s": phases,
              "parts_s": scaled_parts(gpus, cfg=cfg, ulysses=ulysses, fsdp=gpus > 1), "seed": gpus}
    return Synthetic(**(values | options))
