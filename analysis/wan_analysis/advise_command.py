"""The subcommand ``advise``: which layout makes so many videos soonest, most cheaply, or by a deadline, and the line to type."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

from wan_analysis.advice import SECONDS_PER_HOUR, Advice, Wishes, advise
from wan_analysis.advice_lines import sbatch_line
from wan_analysis.blocks import Number, Sentence, Table
from wan_analysis.campaign_facts import find_facts
from wan_analysis.intervals import Interval
from wan_analysis.predicted_layouts import predicted_facts, step_seconds
from wan_analysis.sections_advice import advice_sentences, advice_table
from wan_analysis.study import Study, make_study
from wan_analysis.study_record import StudyRecord, record_of
from wan_analysis.trace_file import read_traces
from wan_analysis.whole_file import write_whole

DONE, FAILURE = 0, 1
#: Raised when a field of the JSON file changes its meaning.
ADVICE_FORMAT = 1
DEFAULT_VIDEOS = 100


def add_advise(commands: argparse._SubParsersAction) -> None:
    """Adds ``advise`` to the commands of a parser."""
    command = commands.add_parser("advise", help="which layout of a study makes so many videos soonest, most cheaply, or by a deadline")
    command.set_defaults(run=run_advise)
    command.add_argument("traces", nargs="+", type=Path, metavar="STUDY", help="a study's folder, or traces as for report")
    command.add_argument("--videos", type=videos_count, required=True, metavar="N", help="videos like those of the study")
    command.add_argument("--within", type=_seconds, default=math.inf, metavar="TIME", help="the deadline: 8h, 90m or 1h30m")
    command.add_argument("--gpu-hours", type=_positive, default=math.inf, metavar="N", help="the most GPU-hours")
    command.add_argument("--gpus", type=videos_count, metavar="MAX", help="the most GPUs (default: those of the largest start)")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the figures of all layouts")


def videos_count(text: str) -> int:
    """A number above 0."""
    if not re.fullmatch(r"[1-9]\d{0,6}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 to 9999999")
    return int(text)


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not above 0")
    return value


def _seconds(text: str) -> float:
    matched = re.fullmatch(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?", text)
    try:
        total_s = sum(float(value) * scale for value, scale in zip(matched.groups(), (86400, 3600, 60, 1), strict=True) if value)
    except (AttributeError, ValueError):
        total_s = 0.0
    if not 0.0 < total_s < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no time such as 8h, 90m or 1h30m")
    return total_s


def advice_of(study: Study, wishes: Wishes, record: StudyRecord | None = None) -> Advice:
    """The advice of a study, with layouts that can be predicted. Without a whole video it has no outcomes."""
    facts, left_out, runs = find_facts(study.cases, record)
    if not facts:
        return Advice(wishes, [], None, None, None)
    most = wishes.most_gpus or max(one.gpus for one in facts)
    table = next((table for table in study.step_tables if any(row.run in runs for row in table.rows)), None)
    predicted, steps = (predicted_facts(table, facts, most), step_seconds(table)) if table else ([], None)
    return replace(advise([*facts, *predicted], wishes, steps), left_out=tuple(left_out))


def run_advise(options: argparse.Namespace) -> int:
    """Prints the table and the sentences; returns the exit code."""
    study = make_study(read_traces(options.traces))
    for problem in study.problems:
        print(f"wan_analysis: {problem}", file=sys.stderr)
    wishes = Wishes(options.videos, options.within, options.gpu_hours, options.gpus)
    advice = advice_of(study, wishes, record_of(options.traces))
    if not advice.outcomes:
        print("wan_analysis: error: advice needs whole videos, and no start of wan_batch here finished one in all its groups; make a study "
              "with: jobs/study.sh --program wan_batch -- ... MANIFEST", file=sys.stderr)
        return FAILURE
    for text in advice.left_out:
        print(f"wan_analysis: {text}", file=sys.stderr)
    print(table_text(advice_table(advice, study.unit)))
    for entry in advice_sentences(advice, study.unit):
        print(sentence_text(entry))
    if options.json is not None:
        try:
            write_whole(options.json, advice_json(advice, study.unit))
        except OSError as error:
            print(f"wan_analysis: error: {error.filename}: {error.strerror}", file=sys.stderr)
            return FAILURE
    return DONE


def advice_json(advice: Advice, unit: str) -> str:
    """All layouts, with all digits."""
    def named(outcome: object) -> str | None:
        return getattr(outcome, "name", None)

    wishes = advice.wishes
    layouts = [{
        "name": one.name, "gpus": one.gpus, "groups": one.facts.groups, "group_gpus": one.facts.group_gpus, "jobs": one.facts.copies,
        "layout": one.facts.layout, "is_measured": one.facts.is_measured, "starts": len(one.facts.starts), "first_s": _values(one.first_s),
        "total_h": _values(one.total_s.scaled(1.0 / SECONDS_PER_HOUR)), "gpu_hours": _values(one.gpu_hours), "wh": _values(one.wh),
        "is_on_front": one.is_on_front, "sbatch": sbatch_line(one)} for one in advice.outcomes]
    document = {
        "format": ADVICE_FORMAT, "videos": wishes.videos, "within_h": _finite(wishes.within_s / SECONDS_PER_HOUR),
        "gpu_hours": _finite(wishes.gpu_hours), "gpus": wishes.most_gpus, "left_out": list(advice.left_out),
        "soonest": named(advice.soonest), "cheapest": named(advice.cheapest), "deadline": named(advice.by_deadline),
        "deadline_is_sure": advice.is_sure,
        "sentences": [sentence_text(entry) for entry in advice_sentences(advice, unit)], "layouts": layouts}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _values(interval: Interval) -> dict[str, float | None]:
    return {name: _finite(getattr(interval, name)) for name in ("median", "low", "high")}


def sentence_text(entry: Sentence) -> str:
    """A sentence for a terminal."""
    return "".join(part.text if isinstance(part, Number) else part for part in entry.parts)


def table_text(table: Table) -> str:
    """A table for a terminal."""
    def shown(cell: object) -> str:
        parts = cell if isinstance(cell, tuple) else (cell,)
        return "".join(part.text if isinstance(part, Number) else str(part) for part in parts)

    rows = [[f"{title} [{unit}]" if unit else title for title, unit in table.header]]
    rows += [[shown(cell) for cell in row] for row in table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
