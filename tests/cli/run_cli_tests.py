#!/usr/bin/env python3
"""Runs build/bin/wan_batch as a user would and checks exit codes, messages and files.

    .venv/bin/python tests/cli/run_cli_tests.py [unittest arguments, for example test_usage or -k duplicate]

WAN_BATCH names another program, WAN_MPIEXEC another mpirun.
"""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from cli_case import PROGRAM  # noqa: E402  (needs the path)

MODULES = ["test_usage", "test_rows", "test_manifests", "test_runs", "test_identity", "test_kill", "test_stop",
           "test_bench", "test_status", "test_doctor", "test_starts", "test_progress"]

if __name__ == "__main__":
    if not PROGRAM.is_file():
        sys.exit(f"{PROGRAM} is not there: build it first (jobs/build.sh)")
    chosen = sys.argv[1:]
    if not any(argument.split(".")[0] in MODULES for argument in chosen):
        chosen += MODULES
    unittest.main(module=None, argv=[sys.argv[0], *chosen], verbosity=2)
