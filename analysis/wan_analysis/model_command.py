"""The subcommand ``model``: times of GPU counts and layouts that were not measured, or the run that is missing."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wan_analysis.cost_model import WANTED_HALF_WIDTH, LeftOut, Prediction, Predictor, Refusal, starts_of
from wan_analysis.layouts import NODE_GPUS, Division, Layout
from wan_analysis.step_table import StepTable
from wan_analysis.study import make_study
from wan_analysis.texts import plural
from wan_analysis.trace_file import Problem, read_traces
from wan_analysis.whole_file import write_whole

DONE, FAILURE = 0, 1
#: Raised when a key of the JSON file changes its meaning.
JSON_FORMAT = 1
#: Nobody asks for more GPUs than this.
MOST_GPUS = 4096

Answer = tuple[Division, Prediction | Refusal]


def add_model(commands: argparse._SubParsersAction) -> None:
    """Adds ``model`` to the commands of a parser."""
    model = commands.add_parser(
        "model", help="fit a model to starts of several GPU counts and layouts, and predict others with intervals",
        epilog="Start each layout at least 5 times: intervals come from the starts' differences. Exit code 1: a count was refused.")
    model.set_defaults(run=run_model)
    model.add_argument("traces", nargs="+", type=Path, metavar="TRACE", help="as for report; starts of several layouts")
    model.add_argument("--gpus", type=_gpu_counts, default=[NODE_GPUS], metavar="N[,N...]", help="counts to predict (default: 8)")
    model.add_argument("--all-layouts", action="store_true", help="every division of these GPUs into groups, not only the largest group")
    model.add_argument("--node", type=_count, default=NODE_GPUS, metavar="N", help="GPUs of a node; larger groups are predicted only if "
                       "such a group was measured (default: %(default)s)")
    model.add_argument("--heads", type=_count, metavar="N", help="attention heads of the model, at least one for each rank of a sequence "
                       "(default: those of the traces' model)")
    model.add_argument("--json", type=Path, metavar="FILE", help="also write all values")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_GPUS:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to {MOST_GPUS}")
    return int(text)


def _gpu_counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def make_predictor(table: StepTable, problems: list[Problem], *, heads: int | None = None, node_gpus: int = NODE_GPUS) -> Predictor:
    """The predictor of a table of steps. Throws ValueError if no row has a layout."""
    return Predictor(starts_of(table.rows, problems), heads=heads, guided=table.work.passes != 1, node_gpus=node_gpus)


def run_model(options: argparse.Namespace) -> int:
    """Fits and predicts what the options name; returns the exit code."""
    study = make_study(read_traces(options.traces))
    problems = list(study.problems)
    try:
        if not study.step_tables:
            raise ValueError("none of the traces holds a step")
        table = study.step_tables[0]
        predictor = make_predictor(table, problems, heads=options.heads, node_gpus=options.node)
    except ValueError as error:
        print(f"wan_analysis: error: {error}", file=sys.stderr)
        return FAILURE
    finally:
        for problem in problems:
            print(f"wan_analysis: {problem}", file=sys.stderr)
    ways = [way for gpus in options.gpus for way in (predictor.divisions(gpus) if options.all_layouts else [predictor.choice(gpus)])]
    answers = [(way, predictor.predict(way.layout)) for way in ways]
    left_out, doubts = predictor.leave_one_out(), predictor.doubts()
    print(f"{table.work}\n{answers_text(predictor, answers)}\n{left_out_text(left_out)}", end="")
    for doubt in doubts:
        print(f"wan_analysis: {doubt}", file=sys.stderr)
    for layout in dict.fromkeys(answer.layout for _, answer in answers if _is_wide(answer)):
        print(f"wan_analysis: {_narrower(predictor, layout)}", file=sys.stderr)
    refused = [answer for _, answer in answers if isinstance(answer, Refusal)]
    for answer in dict.fromkeys(refused):
        print(f"wan_analysis: error: {answer.text}", file=sys.stderr)
    if options.json:
        document = {"format": JSON_FORMAT, "work": str(table.work), "measured": [_plain(predictor.predict(of)) for of in predictor.layouts],
                    "predicted": [{"gpus": way.gpus, "groups": way.groups} | _plain(answer) for way, answer in answers],
                    "left_out": [_plain(left.predicted) | {"measured_s": left.measured.step_s} for left in left_out], "doubts": doubts}
        try:
            write_whole(options.json, json.dumps(document, indent=1, allow_nan=False) + "\n")
        except OSError as error:
            print(f"wan_analysis: error: {error.filename}: {error.strerror}", file=sys.stderr)
            return FAILURE
    return FAILURE if refused else DONE


def _is_wide(answer: Prediction | Refusal) -> bool:
    return isinstance(answer, Prediction) and not answer.is_measured and answer.half_width > WANTED_HALF_WIDTH


def _narrower(predictor: Predictor, layout: Layout) -> str:
    """How to know the step of a layout better."""
    answer, starts = predictor.predict(layout), predictor.starts_needed(layout)
    wanted = f"{100 * WANTED_HALF_WIDTH:g} %"
    said = f"{layout.short}: its interval reaches {100 * answer.half_width:.1f} % above the step; "
    if starts is None:
        return said + f"more starts of the others do not make it {wanted}, so measure it: wan_bench {layout.options}"
    return said + f"{plural(starts, 'start')} of each measured layout would make it {wanted}"


def _plain(answer: Prediction | Refusal) -> dict[str, Any]:
    common = {"layout": str(answer.layout), "options": answer.layout.options}
    if isinstance(answer, Refusal):
        return common | {"unknown": list(answer.unknown), "missing": answer.command}
    values = {"step_s": answer.step_s, "low_s": answer.low_s, "high_s": answer.high_s}
    return common | {name: value if math.isfinite(value) else None for name, value in values.items()} | {
        "starts": answer.starts, "parts_s": answer.parts_s}


def answers_text(predictor: Predictor, answers: Sequence[Answer]) -> str:
    """A table for a terminal: the measured layouts, then the asked ones; the options of wan_batch stand at the end."""
    measured = [(Division(1, layout), predictor.predict(layout)) for layout in predictor.layouts]
    base = measured[0][1]
    lines = [f"{'GPUs':>4}  {'layout':<34} {'starts':>6} {'step [s]':>9} {'95 % of new starts':>19} {'GPU-s':>6} {'speed-up':>8}  options"]
    for way, answer in [*measured, *answers]:
        if isinstance(answer, Refusal):
            lines.append(f"{way.gpus:>4}  {way!s:<34} unknown: {', '.join(answer.unknown)}")
            continue
        interval = "–" if math.isnan(answer.low_s) else f"{answer.low_s:.4g} to {answer.high_s:.4g}"
        lines.append(f"{way.gpus:>4}  {way!s:<34} {answer.starts or 'none':>6} {answer.step_s:9.4g} {interval:>19} "
                     f"{answer.step_s * way.layout.gpus:6.3g} {base.step_s / answer.step_s:8.2f}  {way.layout.options}")
    last = next((answer for _, answer in reversed(answers) if isinstance(answer, Prediction)), None)
    if last is not None:
        parts = sorted(last.parts_s.items(), key=lambda part: -part[1])
        named = [f"{part.replace('_', ' ')} {seconds:.3g} s" for part, seconds in parts if seconds > 0]
        lines.append(f"{last.layout}: {', '.join(named)}")
    return "\n".join(lines) + "\n"


def left_out_text(left_out: Sequence[LeftOut]) -> str:
    """A table of the measured layouts, and what the model says of each without its own runs."""
    if not left_out:
        return ""
    lines = ["without its own runs:", f"{'GPUs':>4}  {'layout':<34} {'measured':>9} {'predicted':>9} {'error':>7}  interval"]
    for left in left_out:
        layout, answer = left.measured.layout, left.predicted
        start = f"{layout.gpus:>4}  {layout!s:<34} {left.measured.step_s:9.4g}"
        if isinstance(answer, Refusal):
            lines.append(f"{start} unknown: {', '.join(answer.unknown)}")
            continue
        held = "no run was repeated" if math.isnan(answer.low_s) else (
            f"{answer.low_s:.4g} to {answer.high_s:.4g}{'' if left.is_held else ' does not hold it'}")
        lines.append(f"{start} {answer.step_s:9.4g} {100 * left.error:+6.1f} %  {held}")
    lines.append(f"unknown: {plural(sum(isinstance(left.predicted, Refusal) for left in left_out), 'layout')} of {len(left_out)}")
    return "\n".join(lines) + "\n"
