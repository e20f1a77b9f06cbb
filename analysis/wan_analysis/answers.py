"""The top of the page: three sentences with numbers. How fast it is, what limits it, and how it scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wan_analysis.blocks import Block, Listing, Number, Sentence, count, number, sentence
from wan_analysis.efficiency import SAME_KINDS, Throughput, most_frequent
from wan_analysis.factors import factors, losses_against
from wan_analysis.figures import work_differences
from wan_analysis.step_table import StepRow, StepTable
from wan_analysis.texts import plural
from wan_analysis.times import UNKNOWN

if TYPE_CHECKING:
    from wan_analysis.sections_causes import RunCauses
    from wan_analysis.stragglers import Slowest, Straggler
    from wan_analysis.study import Study

PERCENT = 100.0
#: The first sentence names this many divisions of the GPUs.
_MOST_DIVISIONS = 4
#: Names of the account in words that fit behind "is spent on".
WORDS = {
    "steps": "denoising steps",
    "decode": "decoding videos",
    "warm_up": "the warm-up of the benchmark",
    "write": "writing videos",
    "load": "loading the model",
    "start_up": "start-up",
    "idle": "waiting without work",
    "between_steps": "the time between steps",
    "between_phases": "the time between phases",
    "between_items": "the time between items",
    "text": "encoding prompts",
    "encode": "encoding images",
    "image": "reading images",
    "join": "joining other groups",
    "finish": "ending the run",
    "unnamed": "what has no name in the trace",
}


def answers(study: Study, causes: Sequence[RunCauses]) -> list[Block]:
    """Three sentences. The study must have a run with a step."""
    scaling = _scaling(study, causes)
    one = main_cause(causes)
    loss = [*_step_loss(study, one, study.unit), *_late_rank(one, study.unit)]
    entries: list[Sentence | None] = [_speed(study)]
    if one.figures.is_benchmark:  # only its steps are measured; its other phases are no part of an item
        entries += [sentence("Run ", one.figures.label, ": ", *loss[1:], ".") if loss else None, scaling]
    elif scaling is None and loss:  # the losses are a sentence of their own
        entries += [_limit(one, study.unit, []), sentence("Run ", one.figures.label, ": ", *loss[1:], ".")]
    else:
        entries += [_limit(one, study.unit, loss), scaling]
    return [Listing(tuple(entry for entry in entries if entry is not None), "answers")]


def _speed(study: Study) -> Sentence | None:
    """How long an item takes for each division of the most GPUs; without items, how long a step takes."""
    unit = study.unit
    if not study.throughput:
        return _step_speed(study.steps, unit) if study.steps else None
    most = max(row.figures.gpus for row in study.throughput)
    largest = [row for row in study.throughput if row.figures.gpus == most]
    reference = most_frequent([row.figures for row in largest], SAME_KINDS).work
    best: dict[tuple[int, str], Throughput] = {}
    for row in largest:
        key = (row.figures.groups, row.figures.layouts[0])
        if work_differences(row.figures.work, reference, SAME_KINDS):
            continue  # items of other kinds take other times
        if key not in best or row.figures.work.count > best[key].figures.work.count:
            best[key] = row
    chosen = [best[key] for key in sorted(best)][:_MOST_DIVISIONS]
    parts: list[Number | str] = ["On ", count("answer/gpus", most), f" {plural(most, unit).split(' ', 1)[1]}, "]
    for place, row in enumerate(chosen):
        parts += ["; " if place else "", *_division_parts(row, f"answer/speed/{place}")]
    if len(best) > len(chosen):
        more = len(best) - len(chosen)
        parts += ["; ", count("answer/speed/more", more), f" more division{' is' if more == 1 else 's are'} in the tables"]
    return sentence(*parts, ".")


def _division_parts(row: Throughput, key: str) -> list[Number | str]:
    figures = row.figures
    denoise_s = figures.phase_seconds.get("denoise", float("nan"))
    interval = number(f"{key}/interval_s", figures.item_interval_s)
    parts: list[Number | str]
    if figures.groups == 1:
        parts = [
            f"one group ({figures.layouts[0]}) makes an item every ",
            interval,
            " s, ",
            number(f"{key}/denoise_s", denoise_s),
            " s of it denoising",
        ]
    else:
        parts = [
            count(f"{key}/groups", figures.groups),
            f" groups ({figures.layouts[0]}) make each an item every ",
            interval,
            " s (",
            number(f"{key}/denoise_s", denoise_s),
            " s of it denoising)",
        ]
        untraced = round(figures.groups * (1 - figures.traced_share))
        together = number(f"{key}/together_s", 3600.0 / row.all_groups_per_hour)
        if not untraced:
            parts += [", together one every ", together, " s"]
        else:
            parts += [
                ", together one every ",
                number(f"{key}/together_s", figures.item_interval_s / figures.groups),
                " s if the ",
                count(f"{key}/untraced", untraced),
                " group without a trace does as well" if untraced == 1 else " groups without a trace do as well",
            ]
    return parts


def _step_speed(rows: Sequence[StepRow], unit: str) -> Sentence:
    parts: list[Number | str] = ["A step takes "]
    widest = sorted({row.gpus for row in rows}, reverse=True)
    chosen = [min((row for row in rows if row.gpus == gpus), key=lambda row: row.step_s) for gpus in (*widest[:3], widest[-1])]
    chosen = list(dict.fromkeys(chosen))
    for place, row in enumerate(chosen):
        key = f"answer/step/{place}"
        parts += [
            ", " if place else "",
            number(f"{key}/step_s", row.step_s),
            " s on ",
            count(f"{key}/gpus", row.gpus),
            f" {plural(row.gpus, unit).split(' ', 1)[1]} ({row.name})",
        ]
    return sentence(*parts, ".")


def main_cause(causes: Sequence[RunCauses]) -> RunCauses:
    """The run that the second sentence is about: on the most GPUs, with the most items, then with the most GPU-seconds."""
    return max(causes, key=lambda one: (one.figures.gpus, one.figures.work.count, one.total_gpu_s))


def _limit(one: RunCauses, unit: str, loss: Sequence[Number | str]) -> Sentence | None:
    """The names on which the largest run spends most of its GPU-seconds, and the factor that costs its steps most."""
    total = one.total_gpu_s
    if not total:
        return None
    ordered = sorted(one.gpu_s.items(), key=lambda entry: -entry[1])
    first, seconds = ordered[0]
    parts: list[Number | str] = [
        f"Run {one.figures.label} is limited by {_words(first, one)}: ",
        number("answer/limit/percent", PERCENT * seconds / total),
        " % of its ",
        number("answer/limit/total_gpu_s", total, 4),
        f" {unit}-seconds",
    ]
    if len(ordered) > 1:
        second, less = ordered[1]
        parts += [", ", number("answer/limit/next_percent", PERCENT * less / total), f" % are {_words(second, one)}"]
    parts += loss
    return sentence(*parts, ".")


def _words(name: str, one: RunCauses) -> str:
    if name == "decode" and one.figures.run.attribute("format") == "0":
        return "decoding and writing videos"  # one phase in traces of that format
    return WORDS.get(name, f"the phase '{name}'")


def _step_loss(study: Study, one: RunCauses, unit: str) -> list[Number | str]:
    """Which factor of its steps loses most."""
    rows = [row for table in study.step_tables for row in table.rows if row.run in one.figures.runs and row.gpus > 1]
    if not rows:
        return []
    row = max(rows, key=lambda row: row.steps * row.gpu_s)
    found = factors(row.rank_steps)
    name, lost = max(found.losses_gpu_s.items(), key=lambda entry: entry[1])
    return [
        "; ",
        "its steps lose ",
        number("answer/limit/steps_lost_percent", PERCENT * (1 - found.parallel_efficiency)),
        f" % of their {unit}-seconds, most to {name} (",
        number("answer/limit/factor_gpu_s", lost / found.steps),
        f" {unit}-s a step)",
    ]


def _late_rank(one: RunCauses, unit: str) -> list[Number | str]:
    """The rank that costs most, if it is late or costs at least a two-hundredth of the steps."""
    late: Straggler | Slowest | None = one.stragglers[0] if one.stragglers else one.slowest
    steps_gpu_s = one.gpu_s.get("steps", 0.0)
    if late is None or (not one.stragglers and late.cost_gpu_s < 0.005 * steps_gpu_s):
        return []
    return [
        "; ",
        "rank ",
        count("answer/rank/number", late.rank),
        ("" if late.device.host == UNKNOWN else f" ({late.device.host})") + f" is slow in {late.part}, ",
        number("answer/rank/excess_percent", PERCENT * late.excess),
        " % over the median, which costs ",
        number("answer/rank/cost_gpu_s", late.cost_gpu_s),
        f" {unit}-s",
    ]


def _scaling(study: Study, causes: Sequence[RunCauses]) -> Sentence | None:
    """How the same items scale, or else how a step does."""
    unit, rows = study.unit, study.scaling
    if len(rows) > 1 and rows[-1].figures.gpus > rows[0].figures.gpus:
        last = max(rows, key=lambda row: (row.figures.gpus, row.speedup))
        cause = next(one for one in causes if last.figures.run in one.figures.runs)
        name, seconds = max(
            ((name, part) for name, part in cause.gpu_s.items() if name != "steps"), key=lambda entry: entry[1], default=("", 0.0)
        )
        parts: list[Number | str] = [
            "The same items on ",
            count("answer/scaling/gpus", last.figures.gpus),
            f" instead of {plural(rows[0].figures.gpus, unit)}: ",
            number("answer/scaling/speedup", last.speedup),
            " times as fast, efficiency ",
            number("answer/scaling/efficiency_percent", PERCENT * last.efficiency),
            " %",
        ]
        if name:
            parts += [
                "; beside the steps, ",
                number("answer/scaling/cause_percent", PERCENT * seconds / cause.total_gpu_s),
                f" % of its {unit}-seconds go to {_words(name, cause)}",
            ]
        return sentence(*parts, ".")
    table = next((table for table in study.step_tables if len({row.gpus for row in table.rows}) > 1), None)
    return None if table is None else _step_scaling(table, unit)


def _step_scaling(table: StepTable, unit: str) -> Sentence:
    widest = max(row.gpus for row in table.rows)
    last = max((row for row in table.rows if row.gpus == widest), key=lambda row: row.efficiency)
    base, here = factors(table.base.rank_steps), factors(last.rank_steps)
    more = sorted(losses_against(base, here).items(), key=lambda entry: -entry[1])
    parts: list[Number | str] = [
        "A step on ",
        count("answer/scaling/gpus", last.gpus),
        f" instead of {plural(table.base.gpus, unit)} is ",
        number("answer/scaling/speedup", last.speedup),
        " times as fast, efficiency ",
        number("answer/scaling/efficiency_percent", PERCENT * last.efficiency),
        " %: it costs ",
        number("answer/scaling/more_gpu_s", here.gpu_s_per_step - base.gpu_s_per_step),
        f" {unit}-s more, most for ",
    ]
    for place, (name, lost) in enumerate(more[:2]):
        parts += [" and " if place else "", f"{name} (", number(f"answer/scaling/cause/{place}", lost / here.steps), f" {unit}-s)"]
    return sentence(*parts, ".")
