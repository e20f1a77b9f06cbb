"""The metrics of a comparison of two sets of starts: one value of each metric for each start.

Starts on equally many ranks in groups of one size are compared by steps, parts, items, phases, memory and energy. Other starts are
compared by videos per GPU-hour, of all GPUs of a start, whether they work or not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from wan_analysis.compare import LEAST_GAP_SHARE, LEAST_SHARE
from wan_analysis.compare_tables import WAITING, gaps_s, phase_seconds, shared_kinds, step_parts
from wan_analysis.figures import SAME_KINDS, Kind, RunFigures, kind_text, work_differences
from wan_analysis.guided import StepKind, step_kinds
from wan_analysis.measures import shapes_of, vram_peaks_bytes
from wan_analysis.run import SHAPE, Run
from wan_analysis.trace_format import PARTS, REMAINDER
from wan_analysis.verdicts import AMOUNT, RATE, TIME, Sample

SECONDS_PER_HOUR = 3600.0
GIB = 2**30
#: Fewer samples than this in the time of a run's steps tell no power.
LEAST_SAMPLES = 3


@dataclass(frozen=True)
class Value:
    """The value of one metric in one start; a change by less than `floor` matters to nobody."""

    value: float
    unit: str = "s"
    kind: str = TIME
    is_main: bool = False
    floor: float = 0.0


def layout_samples(bases: Sequence[Run], news: Sequence[Run]) -> list[Sample]:
    """The metrics of starts that have the same number of ranks in groups of the same size."""
    steps = step_kinds(bases, news)
    if not steps:
        raise ValueError("the two sets of runs have no size in common")
    kinds = _kinds(bases) & _kinds(news)
    with_energy = not kinds_differ(bases, news)
    of_all = shared_kinds([*bases, *news])
    sides = [[_values(run, steps, sorted(kinds), of_all, with_energy=with_energy) for run in runs] for runs in (bases, news)]
    return _samples(*sides)


def rate_samples(bases: Sequence[Run], news: Sequence[Run]) -> list[Sample]:
    """Videos per GPU-hour and energy, for starts in any layouts. Throws ValueError if their items are not of the same kinds."""
    differ = kinds_differ(bases, news)
    benches = [set(shapes_of(run)) for run in (*bases, *news) if RunFigures(run).is_benchmark]
    if not differ and benches and (len(benches) < len(bases) + len(news) or any(sizes != benches[0] for sizes in benches)):
        differ = "runs of wan_bench can be compared with those of wan_bench at the same sizes only"
    if differ:
        raise ValueError(f"the two sets of runs did other work: {differ}")
    samples = _samples(*([_rates(run) for run in runs] for runs in (bases, news)))
    if not samples:
        raise ValueError("videos per hour of two other layouts need starts, on both sides, whose groups all left a trace and that made "
                         "each of their items whole; name such starts")
    return samples


def _samples(bases: Sequence[dict[str, Value]], news: Sequence[dict[str, Value]]) -> list[Sample]:
    names = list(dict.fromkeys(name for values in (*bases, *news) for name in values))
    found = []
    for name in names:
        known = [[values[name] for values in side if name in values] for side in (bases, news)]
        if not all(known):
            continue
        one = known[0][0]
        floor = float(np.median([value.floor for value in known[0]]))
        base, new = (tuple(value.value for value in side) for side in known)
        found.append(Sample(name, one.unit, base, new, one.kind, 0.0 if math.isnan(floor) else floor, one.is_main))
    return found


def _kinds(runs: Sequence[Run]) -> set[Kind]:
    return {kind for run in runs for kind in _item_seconds(run)}


def kinds_differ(bases: Sequence[Run], news: Sequence[Run]) -> str:
    """The first difference of the work of two starts that finished an item. Empty: they all made the same kinds in equal shares."""
    works = [figures.work for run in (*bases, *news) if (figures := RunFigures(run)).work.count and not figures.is_benchmark]
    differ = (work_differences(work, works[0], SAME_KINDS) for work in works[1:])
    return next(("; ".join(f"{name}: {one} and {two}" for name, one, two in found) for found in differ if found), "")


def _item_seconds(run: Run) -> dict[Kind, float]:
    """Median seconds, by kind, from start to end of the items that the start made whole. A run of wan_bench makes no item."""
    if RunFigures(run).is_benchmark:
        return {}
    items = run.items[run.items["done"] & (run.items["first_step"] == 0)]
    items = items.assign(wall_s=items["end_s"] - items["start_s"]).dropna(subset=["wall_s"])
    return {tuple(int(value) for value in kind): float(walls.median()) for kind, walls in items.groupby([*SHAPE, "steps"])["wall_s"]}


def _values(run: Run, steps: Sequence[StepKind], kinds: Sequence[Kind], of_all: Collection[Kind], *,
            with_energy: bool) -> dict[str, Value]:
    """The metrics of one start by name. `kinds`: of items that both sides made; `of_all`: of which every start has phases."""
    values: dict[str, Value] = {}
    for kind in steps:
        values |= _step_values(run, kind)
    of_items = _item_seconds(run)
    for kind in kinds:
        if kind in of_items:
            values[f"item, {kind_text(kind)}"] = Value(of_items[kind], is_main=True)
    least_s = LEAST_SHARE * float(np.mean(list(of_items.values()))) if of_items else 0.0
    least_of_run_s = LEAST_SHARE * float(run.rank_walls().max())
    for name, seconds in phase_seconds(run, of_all).items():
        is_load = name == "phase load"
        floor = least_of_run_s if is_load or name == "phase start_up" else least_s
        values[name.replace("_", " ")] = Value(seconds, is_main=is_load, floor=floor)
    peak = float(vram_peaks_bytes(run).max(axis=None))
    if math.isfinite(peak):
        values["peak VRAM"] = Value(peak / GIB, "GiB", AMOUNT, is_main=True)
    return values | (_energy(run) if with_energy else {})


def _step_values(run: Run, kind: StepKind) -> dict[str, Value]:
    """A step without warm-up, its parts, and the time between steps. Empty if the start made none of this kind but warm-up steps."""
    key = ["group", "item", "step"]
    measured = run.steps.loc[~run.steps["warm_up"], key]
    parts, where = step_parts(run, kind).merge(measured, on=key), str(kind)
    if parts.empty:
        return {}
    step_s = float(parts["wall_s"].median())
    values = {f"step, {where}": Value(step_s, is_main=True)}
    for part in (*PARTS, WAITING, REMAINDER):
        values[f"part {part.replace('_', ' ')}, {where}"] = Value(float(parts[part].median()), floor=LEAST_SHARE * step_s)
    gaps = gaps_s(run, kind)
    if len(gaps):
        values[f"time between steps, {where}"] = Value(float(gaps.median()), floor=LEAST_GAP_SHARE * step_s)
    return values


def _made_whole_items(run: Run) -> bool:
    """Whether the start made every item that it finished from the first step on, and no step of others. Else no rate is of whole items."""
    of_id = run.items.groupby("id").agg(first_step=("first_step", "min"), steps=("steps_done", "sum"), done=("done", "any"))
    return not ((of_id["done"] & (of_id["first_step"] > 0)) | (~of_id["done"] & (of_id["steps"] > 0))).any()


def _rates(run: Run) -> dict[str, Value]:
    """Work per GPU-hour, from the first item's start and with start and load; energy."""
    figures = RunFigures(run)
    if not figures.is_complete or not (figures.is_benchmark or _made_whole_items(run)):
        return {}
    unit = run.unit.replace(" ", "-")
    thing, count = ("steps", _measured_steps(figures)) if figures.is_benchmark else ("videos", figures.work.count)
    spans = {f"{thing} per {unit}-hour": figures.seconds}
    if not figures.is_benchmark:
        spans[f"{thing} per {unit}-hour, with load"] = figures.seconds_with_load
    rates = {name: count * SECONDS_PER_HOUR / (figures.gpus * seconds) for name, seconds in spans.items() if count and seconds > 0.0}
    return {name: Value(rate, f"/{unit}-h", RATE, is_main=True) for name, rate in rates.items()} | _energy(run)


def _measured_steps(figures: RunFigures) -> int:
    return int((figures.steps["warm_up"] != 1).sum()) or len(figures.steps)


def _energy(run: Run) -> dict[str, Value]:
    """Wh of all GPUs: per item over the whole start, or per measured step of wan_bench.

    Empty if a GPU's power is not known, or if the start made a part of an item.
    """
    figures, samples = RunFigures(run), run.samples.dropna(subset=["power_w"])
    count, first_s, last_s = figures.work.count, -math.inf, math.inf
    if figures.is_benchmark:
        count, (first_s, last_s) = _measured_steps(figures), figures.window
    samples = samples[samples["time_s"].between(first_s, last_s)]
    of_rank = samples.groupby("rank")["power_w"]
    walls = run.rank_walls()
    is_whole = figures.is_benchmark or _made_whole_items(run)
    is_known = is_whole and len(walls) == figures.gpus and (of_rank.size().reindex(walls.index).fillna(0) >= LEAST_SAMPLES).all()
    if not count or not is_known:
        return {}
    seconds = last_s - first_s if figures.is_benchmark else walls
    total_wh = float((of_rank.mean().reindex(walls.index) * seconds).sum()) / SECONDS_PER_HOUR
    return {f"energy of {'a step' if figures.is_benchmark else 'a video'}": Value(total_wh / count, "Wh", AMOUNT, is_main=True)}
