"""The command line: ``wan_analysis report TRACE...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wan_analysis.plan import read_plans
from wan_analysis.report import Report
from wan_analysis.study import make_study
from wan_analysis.trace_file import Problem, read_traces

DONE, FAILURE = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; argparse leaves with 2 on wrong usage."""
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wan_analysis", description="Reads the traces of wan_batch and wan_bench.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report = commands.add_parser("report", help="one page about how a study scaled, and where time and memory went")
    report.set_defaults(run=_report)
    report.add_argument("traces", nargs="+", type=Path, metavar="TRACE",
                        help="an output folder, its trace.h5, or one group's file; several runs make a scaling study")
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE",
                        help="the page (default: %(default)s)")
    report.add_argument("--png", type=Path, metavar="DIR", help="also write every chart as a PNG")
    report.add_argument("--plan", type=Path, action="append", default=[], metavar="FILE",
                        help="what wan_batch --plan printed, to hold peaks against; may be given several times")
    report.add_argument("--title", default="Scaling study", help="heading of the page (default: %(default)s)")
    return parser


def _report(options: argparse.Namespace) -> int:
    plan_problems: list[Problem] = []
    plans = read_plans(options.plan, plan_problems)
    study = make_study(read_traces(options.traces))
    page = Report(study, plans, options.title, plan_problems)
    for problem in page.problems:
        print(f"wan_analysis: {problem}", file=sys.stderr)
    if not any(not run.steps.empty for run in study.runs):
        print("wan_analysis: error: none of the traces holds a step; nothing was written", file=sys.stderr)
        return FAILURE
    try:
        page.write(options.output, options.png)
    except OSError as error:
        print(f"wan_analysis: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILURE
    print(f"{options.output}: {len(study.runs)} run{'s' if len(study.runs) != 1 else ''}, {len(page.figures)} charts")
    return DONE
