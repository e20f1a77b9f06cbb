#!/usr/bin/env python3
"""Builds containers/Containerfile by ch-image on a base that debootstrap makes, and runs jobs from the image on a Slurm of two nodes.

    tests/slurm/run_image.py

Needs root, Charliecloud, debootstrap, a network and, for the build, half an hour of two cores. WAN_ARCHIVES names a folder of
`jobs/build.sh --fetch --cpu`, so that they are not downloaded again. Exit code 77: it cannot be done here.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SKIPPED = 77


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, cwd=PROJECT)


def build(folder: Path) -> Path:
    """The image's folder."""
    # Not the Python of .venv: ch-image takes its modules from the system's.
    os.environ |= {"CH_IMAGE_STORAGE": str(folder / "storage"), "USER": os.environ.get("USER", "root"),
                   "PATH": "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ["PATH"]}
    run("debootstrap", "--variant=minbase", "bookworm", folder / "base")
    run("tar", "-C", folder / "base", "--exclude=./dev/*", "-cf", folder / "base.tar", ".")
    run("ch-image", "--no-cache", "import", folder / "base.tar", "debian:12")
    options = f"--cpu -j {os.cpu_count()}"
    archives = os.environ.get("WAN_ARCHIVES")
    binds = ["--bind", f"{archives}:/mnt/0"] if archives else []
    if archives:
        options += " --from /mnt/0"
    run("ch-image", "build", "--no-cache", *binds, "--build-arg", f"OPTIONS={options}", "-t", "wan_batch",
        "-f", "containers/Containerfile", ".")
    return folder / "storage" / "img" / "wan_batch"


def main() -> int:
    missing = [name for name in ("debootstrap", "ch-image", "ch-run", "slurmctld") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        print(f"skipped: needs root and {', '.join(missing)}")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="wan_image_") as scratch:
        # Slurm's users read the image.
        Path(scratch).chmod(0o755)
        python = sys.executable
        os.environ["WAN_TEST_IMAGE"] = str(build(Path(scratch)))
        return subprocess.run([python, "-B", str(PROJECT / "tests/slurm/run_slurm_tests.py"), "test_image"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
