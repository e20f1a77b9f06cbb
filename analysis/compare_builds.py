"""Compares the bytes that two builds make: videos and latents of the toy manifest and of the parity cases.

    .venv/bin/python analysis/compare_builds.py OLD_BUILD NEW_BUILD
    .venv/bin/python analysis/compare_builds.py OLD_BUILD NEW_BUILD --device cuda --ranks 1,2 --precision fp32,bf16 --jobs 4

Use it for a change that must not change a result, such as a move of code. Each argument is a build folder. Prints one line per run.
Exits with 1 if a file differs or is missing. The toy manifest runs on each number of ranks, each parity case on every layout of
analysis/parity_sweep.py. The default is fp32 on 1 to 4 CPU ranks. A build of version 0.1 knows bf16 as "exact", which all versions take.
"""

import argparse
import pathlib
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from parity_runs import HEADS, layouts, make_case, start

TOY = ("--ckpt-dir", "inputs/toy/checkpoint", "--base-seed", "42", "inputs/toy/manifest.csv")


def contents(folder: str) -> dict[str, bytes]:
    """Videos and latents by name."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir() if path.suffix in (".mp4", ".safetensors")}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("builds", nargs=2, type=pathlib.Path, metavar="BUILD", help="build folder: the old one, then the new one")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    parser.add_argument("--ranks", default="1,2,3,4", metavar="N[,N...]", help="numbers of ranks (default: %(default)s)")
    parser.add_argument("--precision", default="fp32", metavar="P[,P...]", help="precisions (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    """Prints the comparison; 0 if everything is the same."""
    options = parse()
    programs = [build.resolve() / "bin/wan_batch" for build in options.builds]
    counts = [int(count) for count in options.ranks.split(",")]
    jobs = []
    for precision in options.precision.split(","):
        chosen = ["--device", options.device, "--precision", precision]
        jobs += [(f"toy in {precision} on {ranks} ranks",
                  lambda program, out, ranks=ranks, chosen=chosen:
                  start(program, ranks, [*TOY, *chosen], out))
                 for ranks in counts if ranks != 3]  # fmt: skip
        jobs += [(f"{case} in {precision} on {ranks} ranks, groups of {layout[0]}, cfg {layout[1]}, ulysses {layout[2]}, FSDP {layout[3]}",
                  lambda program, out, case=case, ranks=ranks, layout=layout, precision=precision:
                  make_case(program, case, ranks, layout, out, options.device, precision))
                 for case, heads in HEADS.items() for ranks in counts for layout in layouts(ranks, heads)]  # fmt: skip

    def compare(job: tuple) -> bool:
        name, make = job
        made = []
        for program in programs:
            with tempfile.TemporaryDirectory() as out:
                make(program, out)
                made.append(contents(out))
        same = bool(made[0]) and made[0] == made[1]
        print(f"{'the same' if same else 'DIFFERENT'}: {name} ({len(made[0])} files)", flush=True)
        return same

    with ThreadPoolExecutor(options.jobs) as pool:
        different = [*pool.map(compare, jobs)].count(False)
    print(f"{len(jobs)} runs, {different} different")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
