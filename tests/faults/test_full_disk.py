"""ENOSPC and EIO on one write after the other: clear message, non-zero exit, nothing truncated, and the next run completes."""

import functools
import json
from pathlib import Path

from fault_case import DONE, FAILURE, NIGHTLY, Batch, Fault, FaultCase, Layout, check

WRITES = 500 if NIGHTLY else 30
FLUSHES = 100 if NIGHTLY else 10
REASON = {"ENOSPC": "No space left on device", "EIO": "Input/output error", "EDQUOT": "Disk quota exceeded",
          "EROFS": "Read-only file system",
          "ESTALE": "Stale file handle"}
# Beats and progress that cannot be written are not missed (the last test); a claim that cannot be noted is.
CLAIMS = "*/.claims/.owner-*"


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
            check(ended.code == FAILURE, f"storage that fails ends a run with 1: {ended}")
            check(not list(batch.out.glob("*.failed.json")), f"an item failed for it: {ended}")
            reason = REASON[action.removesuffix("+")]
            told = [line for line in ended.text.splitlines() if reason in line]
            check(told, f"nobody said '{reason}': {ended}")
            path = Path(batch.fault_log.read_text().splitlines()[0].split(maxsplit=2)[2])
            check(any(str(path.parent) in line for line in told), f"no message names {path}: {told}")
            batch.check_nothing_partial(self.reference)
            finished, made = batch.finished(), batch.engine_runs()

            ended = batch.run(Layout())
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

    def test_other_errors_of_storage(self):
        cases = [("write", "*/.item1.*.mp4", "EDQUOT+"), ("write", "*/.item1.*.safetensors", "EROFS+"),
                 ("fsync", "*/.item1.*.json", "ESTALE"),
                 ("rename", "*/item1.mp4", "EROFS"), ("link", "*/item1.claim", "EDQUOT+"), ("write", "*/.run.*.json", "ENOSPC+"),
                 ("open", "*/.item1.*.mp4", "EROFS+")]
        self.all_of((f"{action} at {call} of {pattern}", functools.partial(self.fail_at, call, 1, action, pattern))
                    for call, pattern, action in cases)

    def test_one_group_ends_for_all(self):
        with Batch(self.items) as batch:
            ended = batch.run(Layout(4, 2), "--step-seconds", "0.2", fault=Fault("write", "*/.item0.*.mp4", "ENOSPC+"))
            self.assertEqual(ended.code, FAILURE, ended)
            self.assertIn(REASON["ENOSPC"], ended.text)
            record = json.loads((batch.out / "run.json").read_text())
            self.assertEqual((record["exit_code"], record["counts"]["failed"]), (FAILURE, 0))
            self.assertGreater(record["counts"]["open"], 0)
            batch.check_nothing_partial(self.reference)

    def test_an_owner_file_that_cannot_be_made(self):
        for action in ("ENOSPC+", "EIO"):
            self.fail_at("write", 1, action, CLAIMS)

    def test_a_heartbeat_that_cannot_be_written_hurts_nobody(self):
        with Batch(self.items) as batch:
            ended = batch.run(Layout(2, 1), "--step-seconds", "0.05", fault=Fault("write", CLAIMS, "ENOSPC", at=4))
            check(batch.fault_log.exists(), f"no heartbeat was written: {ended}")
            self.assertEqual(ended.code, DONE, ended)
            batch.check_complete(self.reference, {}, [])
