"""The page's table of the model of a step: measured layouts with what the others say of them, and layouts that were not measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wan_analysis.blocks import Block, Cell, Heading, Listing, Number, Table, count, note, number, sentence
from wan_analysis.cost_model import LeftOut, Prediction, Predictor, Refusal, starts_of
from wan_analysis.layouts import NODE_GPUS, Layout
from wan_analysis.sections import PERCENT
from wan_analysis.step_table import StepTable

#: A model of one layout says nothing of others.
_LEAST_LAYOUTS = 2


def model_section(table: StepTable | None, unit: str) -> list[Block]:
    """The section. Empty unless two layouts of the table's work were measured, on GPUs: CPU ranks share cores and memory."""
    starts = starts_of(table.rows) if table is not None and unit == "GPU" else []
    if len({start.layout for start in starts}) < _LEAST_LAYOUTS:
        return []
    predictor = Predictor(starts, guided=table.work.passes != 1)
    left_out = {left.measured.layout: left for left in predictor.leave_one_out()}
    answers = [predictor.predict(layout) for layout in [*predictor.layouts, *_others(predictor)]]
    base_s = answers[0].step_s
    rows = [_row(answer, left_out.get(answer.layout), base_s) for answer in answers]
    reasons = list(dict.fromkeys(answer.text for answer in answers if isinstance(answer, Refusal)))
    header = [("layout", unit + "s"), ("starts", ""), ("a new start's step", "s [95 %]"), ("GPU time", "s"), ("speed-up", ""),
              ("without its own runs", "s"), ("error", "%")]
    return [
        Heading("A step in other layouts"),
        Table(header, rows),
        *([Listing(tuple(sentence(text) for text in [*predictor.doubts(), *reasons]), "notes")] if reasons or predictor.doubts() else []),
        note(f"{table.work}. A layout without a start is predicted from the others; its interval holds the noise of starts, the error of "
             "the fit, and the doubt about rates with fewer heads and rows. The last columns predict a measured layout from the others."),
    ]


def largest_section(tables: Sequence[StepTable], unit: str) -> list[Block]:
    """The largest measured group beside the model that was fitted to smaller ones, for each work that ran on several counts."""
    rows: list[list[Cell]] = []
    reasons: list[str] = []
    for place, table in enumerate(tables):
        starts = starts_of(table.rows)
        if not starts:
            continue
        for left in Predictor(starts, guided=table.work.passes != 1).largest_from_fewer():
            rows.append(_largest_row(f"largest/{place}", str(table.work), left))
            reasons += [left.predicted.text] if isinstance(left.predicted, Refusal) else []
    if not rows:
        return []
    header = [("work", ""), ("layout", unit + "s"), ("measured", "s a step"), ("starts", ""), ("from fewer " + unit + "s", "s [95 %]"),
              ("error", "%"), ("measured lies", "")]
    shared = "" if unit == "GPU" else "CPU ranks share cores and memory, which the model does not know."
    return [
        Heading(f"The largest count, from fewer {unit}s"),
        Table(header, rows),
        *([Listing(tuple(sentence(text) for text in dict.fromkeys(reasons)), "notes")] if reasons else []),
        note(f"The model is fitted to the starts on fewer {unit}s alone, and asked for the median step of a new start in the layouts of "
             f"the largest group that was measured. There is no interval if no layout was started twice. {shared}".strip()),
    ]


def _largest_row(place: str, work: str, left: LeftOut) -> list[Cell]:
    measured, said = left.measured, left.predicted
    key = f"{place}/{measured.layout}"
    cells: list[Cell] = [work, (count(f"{key}/gpus", measured.layout.gpus), f": {measured.layout}"),
                         number(f"{key}/measured_s", measured.step_s, 4), count(f"{key}/starts", measured.starts)]
    if isinstance(said, Refusal):
        return [*cells, f"unknown: {', '.join(said.unknown)}", "–", "–"]
    place_of = "–" if math.isnan(said.low_s) else "within" if left.is_held else "outside"
    return [*cells, _interval(key, said), number(f"{key}/error_percent", PERCENT * left.error), place_of]


def _others(predictor: Predictor) -> list[Layout]:
    """The layouts of single groups up to a node that were not measured."""
    chosen = [predictor.choice(gpus) for gpus in range(1, NODE_GPUS + 1)]
    return [way.layout for way in chosen if way.groups == 1 and way.layout not in predictor.layouts]


def _row(answer: Prediction | Refusal, left: LeftOut | None, base_s: float) -> list[Cell]:
    key = f"model/{answer.layout}"
    label = (count(f"{key}/gpus", answer.layout.gpus), f": {answer.layout}")
    if isinstance(answer, Refusal):
        return [label, "none", f"unknown: {', '.join(answer.unknown)}", "–", "–", "–", "–"]
    cells: list[Cell] = [label, count(f"{key}/starts", answer.starts) if answer.is_measured else "none", _interval(key, answer),
                         number(f"{key}/gpu_s", answer.step_s * answer.layout.gpus), number(f"{key}/speedup", base_s / answer.step_s)]
    if left is None:
        return [*cells, "–", "–"]
    if isinstance(left.predicted, Refusal):
        return [*cells, f"unknown: {', '.join(left.predicted.unknown)}", "–"]
    return [*cells, _interval(f"{key}/left_out", left.predicted), number(f"{key}/left_out/error_percent", PERCENT * left.error)]


def _interval(key: str, answer: Prediction) -> tuple[Number | str, ...]:
    middle = number(f"{key}/step_s", answer.step_s, 4)
    if math.isnan(answer.low_s):
        return (middle,)
    return middle, " [", number(f"{key}/low_s", answer.low_s, 4), ", ", number(f"{key}/high_s", answer.high_s, 4), "]"
