"""The subcommand ``ab``: runs two programs in turn on one machine, and ends with the verdict of ``compare``.

In each pair the order is random, so that a drift of the machine hits both programs alike.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wan_analysis.compare_command import FAILURE, USAGE, add_verdict_options, run_compare
from wan_analysis.texts import printable
from wan_analysis.times import time_text
from wan_analysis.verdicts import LEAST_STARTS

#: A program writes its trace to the folder that stands in the place of this.
FOLDER = "{out}"
SIDES = ("old", "new")
DEFAULT_RUNS = 6


def add_ab(commands: argparse._SubParsersAction) -> None:
    """Adds ``ab`` to the commands of a parser."""
    ab = commands.add_parser(
        "ab", help="run two programs in turn on this machine, then compare them", usage="%(prog)s [options] -- OLD ... -- NEW ...",
        epilog=f"Both commands must name {FOLDER} where their trace goes, such as --trace {FOLDER}/trace.h5 for wan_bench or --output-dir "
               f"{FOLDER} for wan_batch: each run gets a folder of its own there. Exit codes as for compare.")
    ab.set_defaults(run=run_ab)
    ab.add_argument("--runs", type=_runs, default=DEFAULT_RUNS, metavar="N", help="runs of each program (default: %(default)s)")
    ab.add_argument("-o", "--output", type=Path, default=Path("ab"), metavar="DIR", help="new folder for traces and output of all runs "
                    "(default: %(default)s)")
    ab.add_argument("--seed", type=int, metavar="N", help="of the random order (default: another one each time)")
    add_verdict_options(ab)


def _runs(text: str) -> int:
    count = int(text)
    if count < LEAST_STARTS:
        raise argparse.ArgumentTypeError(f"{text} runs of each program give no interval; at least {LEAST_STARTS} do")
    return count


def split_programs(arguments: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The arguments of ``ab`` itself, and the command lines that follow each "--". Other subcommands keep all their arguments."""
    if list(arguments[:1]) != ["ab"]:
        return list(arguments), []
    pieces: list[list[str]] = [[]]
    for argument in arguments:
        if argument == "--":
            pieces.append([])
        else:
            pieces[-1].append(argument)
    return pieces[0], pieces[1:]


def run_ab(options: argparse.Namespace) -> int:
    """Runs both programs `options.runs` times and compares the traces; returns the exit code."""
    if wrong := _wrong_usage(options.programs, options.output):
        print(f"wan_analysis: error: {wrong}", file=sys.stderr)
        return USAGE
    folders: dict[str, list[Path]] = {side: [] for side in SIDES}
    order = _order(options.runs, options.seed)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        for number, side in enumerate(order, 1):
            folder = options.output / f"{side}-{len(folders[side]) + 1}"
            folder.mkdir()
            began_s = time.monotonic()
            if problem := _run(options.programs[SIDES.index(side)], folder):
                print(f"wan_analysis: error: {problem}", file=sys.stderr)
                return FAILURE
            folders[side].append(folder)
            print(f"run {number} of {len(order)}: {folder}, {time_text(time.monotonic() - began_s)}", file=sys.stderr)
    except OSError as error:
        print(f"wan_analysis: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        done = sum(len(found) for found in folders.values())
        print(f"wan_analysis: error: stopped after {done} of {len(order)} runs; compare can read those in {options.output}",
              file=sys.stderr)
        return FAILURE
    return run_compare(argparse.Namespace(base=folders["old"], new=folders["new"], within=options.within, json=options.json))


def _wrong_usage(programs: Sequence[Sequence[str]], output: Path) -> str:
    """The mistake in the command line. Empty: there is none."""
    if len(programs) != len(SIDES) or not all(programs):
        return f"ab needs two programs: ab -- OLD ... -- NEW ...; it got {len([program for program in programs if program])}"
    for side, program in zip(SIDES, programs, strict=True):
        if not any(FOLDER in argument for argument in program):
            command = printable(" ".join(program), 200)
            return f"the {side} program's command does not name {FOLDER}, so its trace would not be found: {command}"
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        return f"{output} is there and not an empty folder; name a new one with --output"
    return ""


def _order(runs: int, seed: int | None) -> list[str]:
    """Which program runs when: pairs in random order."""
    random = np.random.default_rng(seed)
    return [SIDES[place] for _ in range(runs) for place in random.permutation(len(SIDES))]


def _run(program: Sequence[str], folder: Path) -> str:
    """Runs a program whose output goes to FOLDER.log. Returns what went wrong, or an empty text."""
    command = [argument.replace(FOLDER, str(folder)) for argument in program]
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w", encoding="utf-8") as output:
        try:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
        except OSError as error:
            return f"{command[0]} cannot be started: {error.strerror}"
    if code == 0:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = f"; it ends with: {printable(lines[-1], 200)}" if lines else ""
    return f"{command[0]} ended with {f'exit code {code}' if code > 0 else f'signal {-code}'}. Its output is in {log}{last}"
