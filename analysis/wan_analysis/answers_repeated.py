"""The first sentences of the page of a study with repetitions: medians over starts with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wan_analysis.answers import PERCENT, WORDS
from wan_analysis.blocks import Block, Listing, Number, Sentence, count, sentence
from wan_analysis.blocks_intervals import figure, starts_cell
from wan_analysis.efficiency import SAME_KINDS, most_frequent
from wan_analysis.figures import work_differences
from wan_analysis.intervals import median_interval
from wan_analysis.repetitions import Case, items_per_hour, step_s
from wan_analysis.sections_repeated import scaled_cases, scaling_of, step_cases, step_scaling
from wan_analysis.texts import plural

if TYPE_CHECKING:
    from wan_analysis.sections_causes import RunCauses
    from wan_analysis.study import Study

#: The first sentence names so many cases.
_MOST_CASES = 4


def repeated_answers(study: Study, cases: Sequence[Case], causes: Sequence[RunCauses]) -> list[Block]:
    """How fast each case is, what limits the largest one, and how the study scales. `causes`: of every start."""
    entries = [_speed(study, cases), _limit(study, cases, causes), _scaling(study, cases)]
    return [Listing(tuple(entry for entry in entries if entry is not None), "answers")]


def _speed(study: Study, cases: Sequence[Case]) -> Sentence:
    batches = [case for case in cases if not case.first.is_benchmark and case.first.work.count]
    chosen = batches or [case for case in cases if case.first.series]
    reference = most_frequent([start for case in chosen for start in case.starts], SAME_KINDS).work
    alike = [case for case in chosen if not work_differences(case.first.work, reference, SAME_KINDS)]
    most = sorted(alike, key=lambda case: -case.gpus)[:_MOST_CASES]
    parts: list[Number | str] = []
    for place, case in enumerate(most):
        key = f"answer/speed/{place}"
        parts += ["; " if place else "", *_gpus(f"{key}/gpus", case, study.unit), f" ({case.first.division}): "]
        if batches:
            parts += [*figure(f"{key}/items_per_hour", case.interval(items_per_hour)), " videos an hour"]
        else:
            parts += [*figure(f"{key}/step_s", case.interval(step_s)), " s a step"]
        parts += [", ", count(f"{key}/starts", len(case.starts)), f" start{'' if len(case.starts) == 1 else 's'}"]
    if more := len(chosen) - len(most):
        parts += ["; ", count("answer/speed/more", more), f" more case{' is' if more == 1 else 's are'} in the tables"]
    return sentence(*parts, ".")


def _gpus(key: str, case: Case, unit: str) -> list[Number | str]:
    return [count(key, case.gpus), f" {plural(case.gpus, unit).split(' ', 1)[1]}"]


def _limit(study: Study, cases: Sequence[Case], causes: Sequence[RunCauses]) -> Sentence | None:
    """The two names on which the largest case spends most of its GPU-seconds."""
    batches = [case for case in cases if not case.first.is_benchmark and case.first.work.count]
    if not batches:
        return None
    case = max(batches, key=lambda one: (one.gpus, len(one.starts)))
    mine = [one for one in causes if any(one.figures is start for start in case.starts) and one.total_gpu_s]
    if not mine:
        return None
    names = dict.fromkeys(name for one in mine for name in one.gpu_s)
    shares = {name: median_interval([PERCENT * one.gpu_s.get(name, 0.0) / one.total_gpu_s for one in mine]) for name in names}
    ordered = sorted(shares.items(), key=lambda entry: -entry[1].median)[:2]
    parts: list[Number | str] = [*_gpus("answer/limit/gpus", case, study.unit), f" ({case.first.division}) are limited by ",
                                 WORDS.get(ordered[0][0], ordered[0][0]), ": ", *figure("answer/limit/percent", ordered[0][1], 3),
                                 f" % of their {study.unit}-seconds"]
    if len(ordered) > 1:
        parts += [", ", *figure("answer/limit/next_percent", ordered[1][1], 3), f" % are {WORDS.get(ordered[1][0], ordered[1][0])}"]
    return sentence(*parts, ".")


def _scaling(study: Study, cases: Sequence[Case]) -> Sentence | None:
    """How the same items scale to the case with the highest speed-up on the most ranks, or else how a step does."""
    whole = scaled_cases(study.strong, cases)
    if len({case.gpus for case, _ in whole}) > 1:
        base_case, base = whole[0]
        widest = max(case.gpus for case, _ in whole)
        case, found, what = max(((one, scaling_of(base, rows), "The same items") for one, rows in whole if one.gpus == widest),
                                key=lambda entry: entry[1].median)
    else:
        table = next((table for table in study.step_tables if len({row.gpus for row in table.rows}) > 1), None)
        if table is None:
            return None
        steps = step_cases(table, cases)
        base_case, rows = steps[0]
        widest = max(case.gpus for case, _ in steps)
        case, found, what = max(
            ((one, step_scaling(rows, here), "A step") for one, here in steps if one.gpus == widest), key=lambda entry: entry[1].median)
    efficiency = found.scaled(PERCENT * base_case.gpus / case.gpus)
    return sentence(f"{what} on ", *_gpus("answer/scaling/gpus", case, study.unit), f" ({case.first.division}) instead of ",
                    *starts_cell("answer/scaling/base", base_case), ": ", *figure("answer/scaling/speedup", found),
                    " times as fast, efficiency ",
                    *figure("answer/scaling/efficiency_percent", efficiency), " %.")
