"""Runs wan_batch on every parity case and layout of 1 to 4 CPU ranks and prints the errors as a table.

    .venv/bin/python analysis/parity_sweep.py [--build build] > table.md

Each line has the case, the layout, the error of the final latent (norm of the difference over norm) and the largest difference of a
frame's value in levels. It takes about three minutes on two idle cores.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy
from safetensors.numpy import load_file

from parity_runs import HEADS, ROOT, Layout, case_values, layouts, make_case


def run(program: pathlib.Path, case: str, ranks: int, layout: Layout, out: str) -> tuple[float, int | str]:
    """Makes one run. Returns (latent error, largest frame difference in levels; "-" if the case has no frames)."""
    make_case(program, case, ranks, layout, out)
    made = load_file(pathlib.Path(out) / "case.latent.safetensors")
    expected = load_file(ROOT / "tests/data/parity" / case / "expected.safetensors")
    latent = expected[f"step.{case_values(case)['steps'] - 1}.latent"]
    error = numpy.linalg.norm(made["latent"] - latent) / numpy.linalg.norm(latent)
    if "frames" not in expected:  # its autoencoder is another case's
        return error, "-"
    return error, numpy.abs(made["frames"].astype(int) - expected["frames"]).max()


def main() -> int:
    """Prints the table; 0 if every error is small."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--build", default=ROOT / "build", help="build folder (default: build)")
    program = pathlib.Path(arguments.parse_args().build) / "bin/wan_batch"
    print("| case | ranks | groups of | cfg | ulysses | FSDP | latent error | frames |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    worst = 0.0
    for case, heads in HEADS.items():
        for ranks in (1, 2, 3, 4):
            for layout in layouts(ranks, heads):
                with tempfile.TemporaryDirectory() as out:
                    error, levels = run(program, case, ranks, layout, out)
                worst = max(worst, error)
                print(f"| {case} | {ranks} | {' | '.join(map(str, layout))} | {error:.2e} | {levels} |", flush=True)
    print(f"worst latent error {worst:.2e}", file=sys.stderr)
    return 0 if worst < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
