"""Runs of wan_batch on the parity cases, for the programs beside this file."""

import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADS = {"i2v_landscape": 4, "i2v_portrait_ragged": 3, "t2v_square": 4, "ti2v_image": 4, "ti2v_text": 6, "wan21_t2v": 4,
         "wan21_i2v": 4}

#: (group size, cfg, ulysses, sharded)
Layout = tuple[int, int, int, str]


def layouts(ranks: int, heads: int) -> Iterator[Layout]:
    """The layouts that fit the ranks and the heads."""
    for group in (size for size in range(1, ranks + 1) if ranks % size == 0):
        for cfg in (1, 2):
            if group % cfg == 0 and group // cfg <= heads:
                for sharded in ("off", "on") if group > 1 else ("off",):
                    yield group, cfg, group // cfg, sharded


def case_values(case: str) -> dict:
    """The values of a case, by name."""
    return json.loads((ROOT / "tests/data/parity" / case / "case.json").read_text())


def start(program: pathlib.Path, ranks: int, arguments: list[object], out: str) -> None:
    """Runs wan_batch on `ranks` ranks, with latents, into the folder `out`. Throws if it fails."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       OMPI_MCA_mpi_yield_when_idle="1")
    command = ["mpirun", "-np", ranks, "--oversubscribe", "--bind-to", "none", program, *arguments, "--save-latents",
               "--output-dir", out, "--log-level", "quiet"]
    subprocess.run([str(part) for part in command], check=True, env=environment, cwd=ROOT)


def make_case(program: pathlib.Path, case: str, ranks: int, layout: Layout, out: str, device: str = "cpu",
              precision: str = "fp32") -> None:
    """Makes the video of a case with a layout."""
    folder, values = ROOT / "tests/data/parity" / case, case_values(case)
    group, cfg, ulysses, sharded = layout
    boundary = [] if values["boundary"] is None else ["--boundary", values["boundary"]]  # of two experts
    start(program, ranks,
          ["--ckpt-dir", folder / "ckpt", "--size", values["size"], "--frame-num", values["frames"],
           "--sample-steps", values["steps"], "--sample-shift", values["shift"], "--sample-solver", values["solver"],
           "--sample-guide-scale", f"{values['guide_low']},{values['guide_high']}", *boundary,
           "--base-seed", values["noise_seed"], "--device", device, "--precision", precision,
           "--group-size", group, "--cfg-size", cfg, "--ulysses-size", ulysses,
           "--dit-fsdp", sharded, "--t5-fsdp", sharded, folder / "manifest.csv"], out)
