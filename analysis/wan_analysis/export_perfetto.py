"""A timeline in the Chrome trace format, which ui.perfetto.dev and chrome://tracing show.

A process is a host of a start, a thread is a rank. A rank's slices nest: phases, steps inside them, and a step's parts one after
the other from its begin, in the order of the trace's columns (the program does not record when each part began). Slices that do not
nest, as a background thread's phases, get a thread beside the rank's. Memory, power and SM clock are counters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wan_analysis.run import Run
from wan_analysis.starts import started_s
from wan_analysis.trace_format import PARTS
from wan_analysis.whole_file import whole_file

GIB = 2**30
NS_PER_S = 1_000_000_000
#: Threads of a rank: its number times this, and one more for each kind of slice that does not nest in the one before.
THREADS_PER_RANK = 16
#: Slices that end so many nanoseconds after the next one's begin are taken to touch: two readings of a clock lie between.
TOUCH_NS = 2000

_KINDS = {"run": "phase of the run", "item": "phase of an item", "step": "step", "part": "part of a step"}


def export_perfetto(runs: Sequence[Run], path: Path) -> int:
    """Writes the timeline and returns the number of its events. Starts lie at their times of day if all are known. Throws OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with whole_file(path) as file:
        file.write('{"displayTimeUnit": "ms", "otherData": ' + json.dumps({"runs": [run.name for run in runs]}) + ', "traceEvents": [\n')
        for event in _events(runs):
            file.write((",\n" if count else "") + json.dumps(event, separators=(",", ":"), allow_nan=False))
            count += 1
        file.write("\n]}\n")
    return count


def _events(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    begun = [started_s(run.groups[0]) for run in runs]
    first = min((value for value in begun if value is not None), default=0.0)
    process = 1
    for run, start_s in zip(runs, begun, strict=True):
        zero_ns = round(((start_s or first) - first) * NS_PER_S)
        timeline = _Timeline(run, zero_ns, process)
        yield from timeline.events()
        process += len(timeline.hosts)


class _Timeline:
    """The events of one start, on processes from `process` on."""

    def __init__(self, run: Run, zero_ns: int, process: int) -> None:
        self.run, self.zero_ns = run, zero_ns
        info = run.rank_info.drop_duplicates("world_rank").set_index("world_rank")
        ranks = sorted({*info.index, *run.rank_steps["world_rank"]})
        host_of = {rank: str(info["host"].get(rank, "unknown")) for rank in ranks}
        self.hosts = list(dict.fromkeys(host_of.values()))
        self.place = {rank: (process + self.hosts.index(host), int(rank) * THREADS_PER_RANK) for rank, host in host_of.items()}
        self.cards = {rank: _card(info, rank) for rank in ranks}
        self.process = process

    def events(self) -> Iterator[dict[str, Any]]:
        for number, host in enumerate(self.hosts):
            shown = "host not known" if host == "unknown" else host
            yield _meta("process_name", self.process + number, 0, name=f"{shown}, start {self.run.name}")
            yield _meta("process_sort_index", self.process + number, 0, sort_index=self.process + number)
        for rank, (process, thread) in self.place.items():
            yield from self._slices(rank, process, thread)
        yield from self._items()
        yield from self._counters()

    def _slices(self, rank: int, process: int, thread: int) -> Iterator[dict[str, Any]]:
        """The rank's slices, each on the first of its threads on which it nests."""
        begins, walls, names, kinds, arguments = self._rows(rank)
        ends = begins + walls
        open_ends: list[list[int]] = []
        for row in np.lexsort((kinds, -walls, begins)):
            begin, end = int(begins[row]), int(ends[row])
            number = next((number for number, track in enumerate(open_ends) if _nests(track, begin, end)), len(open_ends))
            if number == len(open_ends):
                yield _meta("thread_name", process, thread + number, name=f"rank {rank}{self.cards[rank] if number == 0 else ', beside'}")
                yield _meta("thread_sort_index", process, thread + number, sort_index=thread + number)
                open_ends.append([])
            track = open_ends[number]
            if track and begin < track[-1] < end:
                begin = track[-1]  # they touch: see TOUCH_NS
            while track and track[-1] <= begin:
                track.pop()
            track.append(begin + int(walls[row]))
            event = {"ph": "X", "name": names[row], "cat": list(_KINDS.values())[kinds[row]], "pid": process, "tid": thread + number,
                     "ts": (self.zero_ns + begin) / 1000, "dur": int(walls[row]) / 1000}
            if arguments[row]:
                event["args"] = arguments[row]
            yield event

    def _rows(self, rank: int) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray, list[dict[str, Any]]]:
        """Begins and durations in ns, names, kinds and arguments of all slices of a rank."""
        phases = self.run.phases[(self.run.phases["world_rank"] == rank) & ~self.run.phases["assumed"]]
        steps = self.run.rank_steps[self.run.rank_steps["world_rank"] == rank]
        ids = self.run.items.set_index(["group", "item"])["id"].to_dict()
        begins, walls = [_ns(phases["start_s"]), _ns(steps["start_s"])], [_ns(phases["wall_s"]), _ns(steps["wall_s"])]
        names = [*phases["phase"], *(f"step {step}" for step in steps["step"])]
        kinds = [(phases["item"] >= 0).to_numpy(int), np.full(len(steps), 2)]
        arguments: list[dict[str, Any]] = [
            {"item": ids.get(key, ""), **({"background": 1} if beside else {})}
            for key, beside in zip(zip(phases["group"], phases["item"], strict=True), phases["background"], strict=True)]
        arguments += [{"item": ids.get((row.group, row.item), ""), "expert": row.expert, "layout": row.layout, "warm_up": int(row.warm_up)}
                      for row in steps[["group", "item", "expert", "layout", "warm_up"]].itertuples(index=False)]
        parts = np.stack([_ns(steps[part]) for part in PARTS], axis=1)  # [steps, parts]
        offsets = np.cumsum(parts, axis=1) - parts
        there = parts > 0
        begins.append((begins[1][:, None] + offsets)[there])
        walls.append(parts[there])
        named = np.broadcast_to(np.array(PARTS, dtype=object), parts.shape)[there]
        names += list(named)
        kinds.append(np.full(len(named), 3))
        arguments += [{}] * len(named)
        return np.concatenate(begins), np.concatenate(walls), names, np.concatenate(kinds), arguments

    def _items(self) -> Iterator[dict[str, Any]]:
        """Items on rows of their own, from their first phase to their end."""
        items = self.run.items.dropna(subset=["start_s", "end_s"])
        for number, item in enumerate(items.itertuples()):
            process, thread = self.place.get(self.run.groups[item.group].leader, (self.process, 0))
            common = {"cat": "item", "id": f"{self.process}.{number}", "name": str(item.id), "pid": process, "tid": thread}
            begin, end = (self.zero_ns + round(value * NS_PER_S) for value in (item.start_s, item.end_s))
            yield {"ph": "b", "ts": begin / 1000, **common, "args": {"outcome": item.outcome, "steps": int(item.steps_done)}}
            yield {"ph": "e", "ts": max(begin, end) / 1000, **common}

    def _counters(self) -> Iterator[dict[str, Any]]:
        samples = self.run.samples
        columns = (("vram_used_bytes", "memory", "GiB", GIB), ("power_w", "power", "W", 1), ("sm_clock_mhz", "SM clock", "MHz", 1))
        for column, name, unit, scale in columns:
            known = samples[samples[column] >= 0]
            for rank, time_ns, value in zip(known["rank"], _ns(known["time_s"]), known[column].to_numpy(float) / scale, strict=True):
                process, _ = self.place.get(rank, (self.process, 0))
                yield {"ph": "C", "name": f"rank {rank}: {name} [{unit}]", "pid": process, "ts": (self.zero_ns + int(time_ns)) / 1000,
                       "args": {unit: round(float(value), 4)}}


def _nests(track: list[int], begin: int, end: int) -> bool:
    """Whether a slice lies inside what is open on a thread, or behind it."""
    inner = [open_end for open_end in track if open_end > begin + TOUCH_NS]
    return not inner or end <= inner[-1] + TOUCH_NS


def _ns(seconds: pd.Series) -> np.ndarray:
    return np.rint(seconds.to_numpy(float) * NS_PER_S).astype(np.int64)


def _card(info: pd.DataFrame, rank: int) -> str:
    said: Iterable[str] = (str(info[column].get(rank, "")) for column in ("gpu_model", "gpu_uuid"))
    return "".join(f", {text}" for text in said if text not in ("", "unknown"))


def _meta(event: str, process: int, thread: int, **arguments: object) -> dict[str, Any]:
    return {"ph": "M", "name": event, "pid": process, "tid": thread, "args": arguments}
