"""``wan-analysis nightly``: its options. jobs/nightly.sh calls it."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from wan_analysis.nightly import JUNIT, VERDICT, Nightly, accept
from wan_analysis.nightly_result import NightlyError
from wan_analysis.nightly_verdict import DONE, REFUSED, verdict_text


def add_nightly(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    nightly = commands.add_parser("nightly", help="run a benchmark, add it to a history, and find changes; see jobs/nightly.sh")
    nightly.set_defaults(run=_run)
    nightly.add_argument("--project", type=Path, default=Path(), help="the checkout (default: here)")
    nightly.add_argument("--history", type=Path, metavar="FOLDER", help="history, verdict and trend page (default: nightly/ in it)")
    nightly.add_argument("--references", type=Path, metavar="FILE", help="bounds for the first nights (default: analysis/references/"
                         "GPU.json in it, else those that came with this program)")
    nightly.add_argument("--update", action="store_true", help="store the result as the bounds for the first nights")
    nightly.add_argument("--manifest-command", metavar="COMMAND", help="a run of wan_batch on a fixed manifest, to be timed as a whole")
    nightly.add_argument("--new-key", action="store_true", help="the history already holds another benchmark, and this one is to be added")
    nightly.add_argument("--json", type=Path, metavar="FILE", help=f"write the verdict here too (it is {VERDICT} in the folder)")
    nightly.add_argument("--junit", type=Path, metavar="FILE", help=f"write the JUnit file here too (it is {JUNIT} in the folder)")
    nightly.add_argument("--accept", nargs=2, metavar=("NIGHT", "WHY"), help="measure nothing; record that the change at this night "
                         "(number or date) is accepted")
    nightly.add_argument("--key", metavar="TEXT", help="with --accept: a part of the benchmark's name, if the history holds several")
    nightly.add_argument("command", nargs="*", help="the benchmark; the last line that it prints is a JSON object")


def _run(options: argparse.Namespace) -> int:
    folder = options.history or options.project / "nightly"
    try:
        if options.accept:
            print("\n".join(accept(folder, *options.accept, options.project, options.key)))
            return DONE
        if not options.command:
            raise NightlyError("no benchmark is given: put its command after --")
        manifest = shlex.split(options.manifest_command) if options.manifest_command else None
        verdict = Nightly(options.project, folder, options.command, manifest, options.references, options.update, options.new_key).run()
        for name, copy in ((VERDICT, options.json), (JUNIT, options.junit)):
            if copy:
                shutil.copyfile(folder / name, copy)
    except (NightlyError, ValueError) as error:
        print(f"wan_analysis: error: {error}", file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"wan_analysis: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return REFUSED
    if verdict.night is None:
        print("\n".join(f"wan_analysis: error: {failure.reason}" for failure in verdict.failures), file=sys.stderr)
    else:
        print(verdict_text(verdict), end="")
    return verdict.exit_code
