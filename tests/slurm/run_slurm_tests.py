#!/usr/bin/env python3
"""Submits the scripts of slurm/ to a Slurm of two nodes that lives for these tests, and checks jobs, logs and files.

    .venv/bin/python tests/slurm/run_slurm_tests.py [unittest arguments, for example test_scripts or -k array]

As root, after tests/slurm/setup.sh. WAN_BATCH names another program. Exit code 77: Slurm cannot be run here; the reason is printed.
"""

import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from cluster import UnavailableError  # noqa: E402  (needs the path)
from slurm_case import PROGRAM, cluster  # noqa: E402

MODULES = ["test_style", "test_scripts", "test_requeue", "test_failures", "test_prompts", "test_installed", "test_lines", "test_image",
           "test_account", "test_survival"]
SKIPPED = 77

if __name__ == "__main__":
    if not PROGRAM.is_file():
        sys.exit(f"{PROGRAM} is not there: build it first (jobs/build.sh)")
    chosen = sys.argv[1:]
    if not any(argument.split(".")[0] in MODULES for argument in chosen):
        chosen += MODULES
    if chosen != ["test_style"]:
        try:
            cluster()
        except UnavailableError as reason:
            print(f"skipped: {reason}")
            sys.exit(SKIPPED)
    unittest.main(module=None, argv=[sys.argv[0], *chosen], verbosity=2)
