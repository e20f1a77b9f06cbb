#!/usr/bin/env python3
"""Kills runs, fills their disk, starts many at once, and checks that nothing finished is lost, done twice or half there.

    .venv/bin/python tests/faults/run_fault_tests.py [unittest arguments, for example test_kill_matrix or -k decode]

WAN_NIGHTLY=1 asks for the long form, WAN_FAULT_WORKERS=N for N runs at a time.
WAN_STUB_BATCH, WAN_FAULT_SHIM, WAN_BATCH and WAN_MPIEXEC name other programs.
"""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))
sys.dont_write_bytecode = True

from fault_case import SHIM, STUB  # noqa: E402  (needs the path)

MODULES = [
    "test_kill_matrix",
    "test_full_disk",
    "test_many_starts",
    "test_stops",
    "test_writers",
    "test_drafts",
    "test_expert_turns",
    "test_lora_changes",
    "test_real_engine",
    "test_long_run",
]

if __name__ == "__main__":
    for built in (STUB, SHIM):
        if not built.is_file():
            sys.exit(f"{built} is not there: build it first (jobs/build.sh)")
    chosen = sys.argv[1:]
    if not any(argument.split(".")[0] in MODULES for argument in chosen):
        chosen += MODULES
    unittest.main(module=None, argv=[sys.argv[0], *chosen], verbosity=2)
