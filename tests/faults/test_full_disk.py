"""ENOSPC and EIO on one write after the other: clear message, non-zero exit, nothing truncated, and the next run completes."""

import functools
from pathlib import Path

from fault_case import DONE, NIGHTLY, Batch, Fault, FaultCase, Layout, check

WRITES = 500 if NIGHTLY else 30
FLUSHES = 100 if NIGHTLY else 10
REASON = {"ENOSPC": "No space left on device", "EIO": "Input/output error"}
CLAIMS = "*/.claims/.owner-*"  # beats and progress: what cannot be written there is not missed, see the last test


class FullDisk(FaultCase):
    items = 36 if NIGHTLY else 4

    def count(self, call: str) -> int:
        """How often an undisturbed run writes or flushes, its claims not counted."""
        with Batch(self.items) as batch:
            ended = batch.run(Layout(), fault=Fault(call, f"{batch.out}!(/.claims/*)", "count"))
            check(ended.code == DONE, str(ended))
            return len(batch.fault_log.read_text().splitlines())

    def fail_at(self, call: str, at: int, action: str, pattern: str = "*/out!(/.claims/*)") -> None:
        """ENOSPC lasts from the `at`-th call on, EIO happens once."""
        with Batch(self.items) as batch:
            ended = batch.run(Layout(), fault=Fault(call, pattern, action, at))
            check(batch.fault_log.exists(), f"the run never came to call {at}: {ended}")
            check(ended.code != DONE, f"a run that could not write said that all was done: {ended}")
            reason = REASON[action.removesuffix("+")]
            told = [line for line in ended.text.splitlines() if reason in line]
            check(told, f"nobody said '{reason}': {ended}")
            path = Path(batch.fault_log.read_text().splitlines()[0].split(maxsplit=2)[2])
            check(any(str(path.parent) in line for line in told), f"no message names {path}: {told}")
            batch.check_nothing_partial(self.reference)
            finished, made = batch.finished(), batch.engine_runs()

            ended = batch.run(Layout(), "--retry-failed")
            check(ended.code == DONE, str(ended))
            batch.check_complete(self.reference, finished, made)

    def spread(self, call: str, wanted: int) -> list[int]:
        count = self.count(call)
        return sorted({1 + i * (count - 1) // (wanted - 1) for i in range(wanted)}) if count > wanted else list(range(1, count + 1))

    def every(self, call: str, wanted: int) -> None:
        places = self.spread(call, wanted)
        self.assertGreaterEqual(len(places), wanted, f"the run has only {len(places)} calls of {call}")
        self.all_of((f"{action} at {call} {at}", functools.partial(self.fail_at, call, at, action))
                    for at in places for action in ("ENOSPC+", "EIO"))

    def test_writes(self):
        self.every("write", WRITES)

    def test_flushes(self):
        self.every("fsync", FLUSHES)

    def test_an_owner_file_that_cannot_be_made(self):
        for action in ("ENOSPC+", "EIO"):
            self.fail_at("write", 1, action, CLAIMS)

    def test_a_heartbeat_that_cannot_be_written_hurts_nobody(self):
        with Batch(self.items) as batch:
            ended = batch.run(Layout(2, 1), "--step-seconds", "0.05", fault=Fault("write", CLAIMS, "ENOSPC+", at=2))
            check(batch.fault_log.exists(), f"no heartbeat was written: {ended}")
            self.assertEqual(ended.code, DONE, ended)
            batch.check_complete(self.reference, {}, [])
