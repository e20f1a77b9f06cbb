"""Runs wan_batch on every parity case and layout of 1 to 4 CPU ranks and prints the errors as a table.

    .venv/bin/python analysis/parity_sweep.py [--build build] > table.md

Each line has the case, the layout, the error of the final latent (norm of the difference over norm) and the largest difference of a
frame's value in levels. It takes about a minute and a quarter on two idle cores.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADS = {"i2v_landscape": 4, "i2v_portrait_ragged": 3, "t2v_square": 4}


def layouts(ranks: int, heads: int) -> Iterator[tuple[int, int, int, str]]:
    """(group size, cfg, ulysses, sharded) that fit the ranks and the heads."""
    for group in (size for size in range(1, ranks + 1) if ranks % size == 0):
        for cfg in (1, 2):
            if group % cfg == 0 and heads % (group // cfg) == 0:
                for sharded in ("off", "on") if group > 1 else ("off",):
                    yield group, cfg, group // cfg, sharded


def run(program: pathlib.Path, case: str, ranks: int, layout: tuple[int, int, int, str], out: str) -> tuple[float, int]:
    """Makes one run. Returns (latent error, largest frame difference in levels)."""
    folder = ROOT / "tests/data/parity" / case
    parameters = json.loads((folder / "case.json").read_text())
    group, cfg, ulysses, sharded = layout
    command = ["mpirun", "-np", str(ranks), "--oversubscribe", program, "--ckpt-dir", folder / "ckpt",
               "--size", parameters["size"], "--frame-num", parameters["frames"], "--sample-steps", parameters["steps"],
               "--sample-shift", parameters["shift"], "--sample-solver", parameters["solver"],
               "--sample-guide-scale", f"{parameters['guide_low']},{parameters['guide_high']}",
               "--boundary", parameters["boundary"], "--base-seed", parameters["noise_seed"],
               "--device", "cpu", "--precision", "fp32", "--save-latents", "--output-dir", out,
               "--group-size", group, "--cfg-size", cfg, "--ulysses-size", ulysses,
               "--dit-fsdp", sharded, "--t5-fsdp", sharded, "--log-level", "quiet", folder / "manifest.csv"]
    environment = dict(os.environ, OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       OMPI_MCA_mpi_yield_when_idle="1")
    subprocess.run([str(part) for part in command], check=True, env=environment)
    made = load_file(pathlib.Path(out) / "case.latent.safetensors")
    expected = load_file(folder / "expected.safetensors")
    latent = expected[f"step.{parameters['steps'] - 1}.latent"]
    error = numpy.linalg.norm(made["latent"] - latent) / numpy.linalg.norm(latent)
    levels = numpy.abs(made["frames"].astype(int) - expected["frames"]).max()
    return error, levels


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
