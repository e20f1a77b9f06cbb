"""The subcommand ``compare``: two sets of starts with intervals, or one start with one start by thresholds."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wan_analysis.compare import Change, changes_text, choose_comparable, compare_runs, culprits, late_ranks
from wan_analysis.run import Run, gather_runs
from wan_analysis.same_bits import SameBits, same_bits
from wan_analysis.texts import plural, printable
from wan_analysis.trace_file import read_traces
from wan_analysis.two_sets import Comparison, compare_sets, grown_parts, verdicts_text
from wan_analysis.verdicts import LEAST_STARTS, RISK, WITHIN, Verdict
from wan_analysis.whole_file import write_whole

DONE, FAILURE, USAGE, REGRESSION = 0, 1, 2, 3
#: Raised when a key of the JSON file changes its meaning.
JSON_FORMAT = 1


def add_compare(commands: argparse._SubParsersAction) -> None:
    """Adds ``compare`` to the commands of a parser."""
    compare = commands.add_parser(
        "compare", help="compare runs with earlier ones: which metrics and which part became slower, with intervals",
        usage="%(prog)s BASE NEW | BASE... --with NEW... [--within PERCENT] [--json FILE]",
        epilog="Several starts of each side give intervals, one start gives none. Exit code 3: something became slower or takes more.")
    compare.set_defaults(run=run_compare)
    compare.add_argument("base", type=Path, nargs="+", metavar="BASE", help="traces of the earlier runs: an output folder, its trace.h5, "
                         "or one group's file; the second of two is NEW without --with")
    compare.add_argument("--with", dest="new", type=Path, nargs="+", metavar="NEW", help="traces of the later runs")
    add_verdict_options(compare)


def add_verdict_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a verdict: --within and --json."""
    parser.add_argument("--within", type=_percent, default=100 * WITHIN, metavar="PERCENT",
                        help="a change of so much matters; smaller ones are equal (default: %(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all verdicts")


def _percent(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 100.0:
        raise argparse.ArgumentTypeError(f"{text} is not a percentage between 0 and 100")
    return value


def run_compare(options: argparse.Namespace) -> int:
    """Compares what the options name; returns the exit code."""
    base_paths, new_paths = options.base, options.new
    if new_paths is None:
        if len(base_paths) != 2:
            print(f"wan_analysis: error: compare needs two folders, or BASE... --with NEW...; it got {plural(len(base_paths), 'folder')} "
                  "without --with", file=sys.stderr)
            return USAGE
        base_paths, new_paths = base_paths[:1], base_paths[1:]
    sides = [(_named(paths), *_runs_with_steps(paths)) for paths in (base_paths, new_paths)]
    (base_name, base, problems), (new_name, new, more) = sides
    if not base or not new:
        return FAILURE
    bits = same_bits(base, new)
    print(f"bits: {bits.text}")
    try:
        if min(len(base), len(new)) >= LEAST_STARTS:
            comparison = compare_sets(base, new, options.within / 100)
            if min(len(comparison.base), len(comparison.new)) >= LEAST_STARTS:
                _say_which(base_name, base, comparison.base)
                _say_which(new_name, new, comparison.new)
                return _finish(options.json, _sets_json(comparison, options.within / 100, problems + more), bits, _print_sets(comparison))
        chosen = choose_comparable(base, new)
        _say_which(base_name, base, chosen[0])
        _say_which(new_name, new, chosen[1])
        changes = compare_runs(*chosen)
    except ValueError as error:
        print(f"wan_analysis: error: {error}", file=sys.stderr)
        return FAILURE
    return _finish(options.json, _changes_json(changes, *chosen, problems + more), bits, _print_changes(changes, *chosen))


def _named(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _finish(file: Path | None, document: dict[str, Any], bits: SameBits, code: int) -> int:
    """Writes the JSON file, if one is asked for, and returns the exit code."""
    if file is None:
        return code
    try:
        document |= {"bits": bits.as_json()}
        write_whole(file, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    except OSError as error:
        print(f"wan_analysis: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILURE
    return code


def _print_sets(comparison: Comparison) -> int:
    print(f"{plural(len(comparison.base), 'start')} against {len(comparison.new)}: medians over starts; "
          f"intervals that all hold together with {100 * (1 - RISK):g} %")
    print(verdicts_text(comparison.verdicts), end="")
    if comparison.undecided:
        most = max(comparison.undecided, key=lambda verdict: verdict.more_runs)
        print(f"cannot tell: {plural(len(comparison.undecided), 'metric')} of {len(comparison.verdicts)}; "
              f"most runs are missing for: {most.metric}")
    if not comparison.regressions:
        return DONE
    print(f"regression: {'; '.join(verdict.metric for verdict in comparison.regressions)}")
    for rank in comparison.late:
        print(f"late: {rank}")
    if parts := grown_parts(comparison):
        print(f"a step's time grew in: {', '.join(parts)}")
    return REGRESSION


def _print_changes(changes: list[Change], base: Sequence[Run], new: Sequence[Run]) -> int:
    print(changes_text(changes), end="")
    if min(len(base), len(new)) < LEAST_STARTS:
        sides = "one start on each side" if len(base) == len(new) else "one start on a side"
        print(f"wan_analysis: {sides} cannot give an interval; a change counts if it passes fixed thresholds. With {LEAST_STARTS} or more "
              "starts of each side (better 5) compare gives intervals", file=sys.stderr)
    if not any(change.is_regression for change in changes):
        return DONE
    parts = culprits(changes)
    print(f"regression: {', '.join(change.metric for change in changes if change.is_regression)}")
    for rank in late_ranks(changes):
        print(f"late: {rank}")
    if parts:
        print(f"a step's time grew in: {', '.join(parts)}")
    return REGRESSION


def _runs_with_steps(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The starts with steps among the traces of `paths`, and the problems. Reports these on stderr, also if there are no starts."""
    traces = read_traces(paths)
    every = gather_runs(traces.groups)
    problems = [str(problem) for problem in (*traces.problems, *(problem for run in every for problem in run.problems))]
    for problem in problems:
        print(f"wan_analysis: {problem}", file=sys.stderr)
    runs = [run for run in every if not run.steps.empty]
    if not runs:
        print(f"wan_analysis: error: {_named(paths)}: there is no trace with a step to compare", file=sys.stderr)
    return runs, problems


def _say_which(name: str, runs: Sequence[Run], chosen: Sequence[Run]) -> None:
    """Prints which of several starts are compared."""
    if len(runs) == 1:
        return
    names = ", ".join(run.name for run in chosen)
    left_out = [f"{run.name} ({run.gpus} ranks in groups of {run.group_size})" for run in runs if run not in chosen]
    together = "each start counts once" if len(chosen) > 1 else "one start is taken"
    print(f"wan_analysis: {name}: {together}: {names}"
          + (f"; left out, because the other run has none like it: {', '.join(left_out)}" if left_out else ""), file=sys.stderr)


def _sets_json(comparison: Comparison, within: float, problems: Sequence[str]) -> dict[str, Any]:
    return {"format": JSON_FORMAT, "method": "intervals", "within": within, **_starts_json(comparison.base, comparison.new),
            "metrics": [_verdict_json(verdict) for verdict in comparison.verdicts],
            "late": [printable(text) for text in comparison.late], "problems": [printable(text) for text in problems]}


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    numbers = {name: _number(getattr(verdict, name)) for name in ("base", "new", "change", "low", "high", "level", "margin")}
    return {"metric": printable(verdict.metric), "unit": verdict.unit, **numbers, "base_starts": verdict.base_starts,
            "new_starts": verdict.new_starts, "answer": verdict.answer, "regression": verdict.is_regression,
            "more_runs": verdict.more_runs, "cause": printable(verdict.cause), "text": printable(verdict.text)}


def _changes_json(changes: Sequence[Change], base: Sequence[Run], new: Sequence[Run], problems: Sequence[str]) -> dict[str, Any]:
    metrics = [{"metric": printable(change.metric), "unit": change.unit, "base": _number(change.base), "new": _number(change.new),
                "change": _number(change.percent / 100), "answer": change.verdict, "regression": change.is_regression,
                "cause": printable(change.who)} for change in changes]
    return {"format": JSON_FORMAT, "method": "thresholds", **_starts_json(base, new), "metrics": metrics,
            "late": [printable(text) for text in late_ranks(list(changes))], "problems": [printable(text) for text in problems]}


def _starts_json(base: Sequence[Run], new: Sequence[Run]) -> dict[str, Any]:
    return {name: [{"start": printable(run.name), "ranks": run.gpus, "group_size": run.group_size, "layout": printable(run.layout)}
                   for run in runs] for name, runs in (("base", base), ("new", new))}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
