"""The command line: ``wan-analysis report TRACE...``, ``compare BASE... --with NEW...``, ``ab``, ``model TRACE...`` and others."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from wan_analysis.ab_command import add_ab, split_programs
from wan_analysis.advice import Wishes
from wan_analysis.advise_command import DEFAULT_VIDEOS, add_advise, advice_of, videos_count
from wan_analysis.compare_command import add_compare
from wan_analysis.efficiency import ANY_FRAMES, SAME_KINDS
from wan_analysis.export_command import add_export
from wan_analysis.model_command import add_model
from wan_analysis.nightly_command import add_nightly
from wan_analysis.plan import read_plans
from wan_analysis.quality_command import add_quality
from wan_analysis.report import Report
from wan_analysis.scaling_parts import read_parts
from wan_analysis.study import make_study
from wan_analysis.study_command import add_study
from wan_analysis.study_record import record_of
from wan_analysis.trace_file import Problem, read_traces
from wan_analysis.version import package_version

DONE, FAILURE, INTERRUPTED = 0, 1, 130
WEAK = {"frames": ANY_FRAMES, "items": SAME_KINDS}


#: New objects between two searches for cycles. Tables of pandas are many small objects without cycles: with Python's own number, the
#: searches take an eighth of the time of a page of 200 starts.
OBJECTS_BETWEEN_SEARCHES = 200_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; argparse leaves with 2 on wrong usage."""
    own, programs = split_programs(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(own, argparse.Namespace(programs=programs))
    thresholds = gc.get_threshold()
    gc.set_threshold(OBJECTS_BETWEEN_SEARCHES, *thresholds[1:])
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("wan_analysis: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        gc.set_threshold(*thresholds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wan-analysis", description="Reads the traces of wan_batch and wan_bench.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report = commands.add_parser("report", help="one page about how a study scaled, and where time and memory went")
    report.set_defaults(run=_report)
    report.add_argument("traces", nargs="+", type=Path, metavar="TRACE",
                        help="an output folder, its trace.h5, or one group's file; several runs make a scaling study")
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE",
                        help="the page (default: %(default)s)")
    report.add_argument("--png", type=Path, metavar="DIR", help="also write every chart as a PNG")
    report.add_argument("--json", type=Path, metavar="FILE", help="also write every number and chart of the page, under the page's keys")
    report.add_argument("--weak", choices=sorted(WEAK), help="weak scaling: what grows with the GPUs, frames (work in the plan's "
                        "floating-point operations) or items")
    report.add_argument("--plan", type=Path, action="append", default=[], metavar="FILE",
                        help="output of wan_batch --plan, to compare with peaks; may be given several times")
    report.add_argument("--videos", type=videos_count, default=DEFAULT_VIDEOS, metavar="N",
                        help="advise which layout makes so many videos (default: %(default)s)")
    report.add_argument("--parts", type=Path, metavar="DIR",
                        help="a study of jobs/scaling.sh: the page has its checks, loads and stops, and what is missing")
    report.add_argument("--title", default="Scaling study", help="heading of the page (default: %(default)s)")
    add_compare(commands)
    add_ab(commands)
    add_study(commands)
    add_advise(commands)
    add_model(commands)
    add_nightly(commands)
    add_export(commands)
    add_quality(commands)
    return parser


def _report(options: argparse.Namespace) -> int:
    plan_problems: list[Problem] = []
    plans = read_plans(options.plan, plan_problems)
    study = make_study(read_traces(options.traces), WEAK[options.weak] if options.weak else None)
    record = record_of(options.traces)
    try:
        parts = read_parts(options.parts) if options.parts else []
    except (OSError, ValueError) as error:
        print(f"wan_analysis: error: {error}", file=sys.stderr)
        return FAILURE
    page = Report(study, plans, options.title, plan_problems, record, advice_of(study, Wishes(options.videos), record), parts)
    for problem in page.problems:
        print(f"wan_analysis: {problem}", file=sys.stderr)
    if not any(not run.steps.empty for run in study.runs):
        print("wan_analysis: error: none of the traces holds a step; nothing was written", file=sys.stderr)
        return FAILURE
    try:
        page.write(options.output, options.png, options.json)
    except OSError as error:
        print(f"wan_analysis: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILURE
    print(f"{options.output}: {len(study.runs)} run{'s' if len(study.runs) != 1 else ''}, {len(page.charts)} charts")
    return DONE
