"""The subcommand ``export``: what traces hold, for other programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wan_analysis.export_csv import export_csv
from wan_analysis.export_perfetto import export_perfetto
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces

DONE, FAILURE, USAGE = 0, 1, 2


def add_export(commands: argparse._SubParsersAction) -> None:
    """Adds ``export`` to the commands of a parser."""
    export = commands.add_parser("export", help="write tidy tables (CSV) or a timeline (Chrome trace format) for other programs")
    export.set_defaults(run=run_export)
    export.add_argument("traces", nargs="+", type=Path, metavar="TRACE", help="as for report")
    export.add_argument("--csv", type=Path, metavar="DIR", help="tables with units in their columns' names; columns.csv explains them")
    export.add_argument("--perfetto", type=Path, metavar="FILE", help="a timeline for ui.perfetto.dev or chrome://tracing")


def run_export(options: argparse.Namespace) -> int:
    """Writes what the options ask for; returns the exit code."""
    if options.csv is None and options.perfetto is None:
        print("wan_analysis: error: export needs --csv DIR or --perfetto FILE", file=sys.stderr)
        return USAGE
    traces = read_traces(options.traces)
    runs = gather_runs(traces.groups)
    for problem in (*traces.problems, *(problem for run in runs for problem in run.problems)):
        print(f"wan_analysis: {problem}", file=sys.stderr)
    if not runs:
        print("wan_analysis: error: there is no trace to export; nothing was written", file=sys.stderr)
        return FAILURE
    place = options.csv  # where it writes: a full disk is an error without a name
    try:
        if options.csv is not None:
            files = export_csv(runs, options.csv)
            print(f"{options.csv}: {', '.join(file.name for file in files)}")
        if options.perfetto is not None:
            place = options.perfetto
            print(f"{options.perfetto}: {export_perfetto(runs, options.perfetto)} events")
    except OSError as error:
        print(f"wan_analysis: error: {error.filename or place}: {error.strerror}", file=sys.stderr)
        return FAILURE
    return DONE
