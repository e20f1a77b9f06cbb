"""Compares the bytes that two builds make: videos and latents of the demo and of the parity cases, on 1 to 4 CPU ranks.

    .venv/bin/python analysis/compare_builds.py OLD_BUILD NEW_BUILD

Use it for a change that must not change a result, such as a move of code. Each argument is a build folder. Prints one line per run.
Exits with 1 if a file differs or is missing. The demo runs on 1, 2 and 4 ranks, each parity case on every layout of
analysis/parity_sweep.py.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from parity_sweep import HEADS, ROOT, layouts, run


def demo(program: pathlib.Path, ranks: int, out: str) -> None:
    """The demo's four videos, with latents."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       OMPI_MCA_mpi_yield_when_idle="1")
    command = ["mpirun", "-np", str(ranks), "--oversubscribe", program, "--config", "inputs/demo/demo.cfg", "--output-dir", out,
               "--save-latents", "--log-level", "quiet"]
    subprocess.run([str(part) for part in command], check=True, env=environment, cwd=ROOT)


def contents(folder: str) -> dict[str, bytes]:
    """Videos and latents by name."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir() if path.suffix in (".mp4", ".safetensors")}


def main() -> int:
    """Prints the comparison; 0 if everything is the same."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    programs = [pathlib.Path(build).resolve() / "bin/wan_batch" for build in sys.argv[1:]]
    jobs = [(f"demo on {ranks} ranks", lambda program, out, ranks=ranks: demo(program, ranks, out)) for ranks in (1, 2, 4)]
    for case, heads in HEADS.items():
        for ranks in (1, 2, 3, 4):
            jobs += [
                (f"{case} on {ranks} ranks, groups of {layout[0]}, cfg {layout[1]}, ulysses {layout[2]}, FSDP {layout[3]}",
                 lambda program, out, case=case, ranks=ranks, layout=layout: run(program, case, ranks, layout, out))
                for layout in layouts(ranks, heads)
            ]  # fmt: skip
    different = 0
    for name, job in jobs:
        made = []
        for program in programs:
            with tempfile.TemporaryDirectory() as out:
                job(program, out)
                made.append(contents(out))
        same = bool(made[0]) and made[0] == made[1]
        different += not same
        print(f"{'the same' if same else 'DIFFERENT'}: {name} ({len(made[0])} files)", flush=True)
    print(f"{len(jobs)} runs, {different} different")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
