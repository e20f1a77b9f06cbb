"""wan_batch itself on the toy model: killed at several moments, its disk full, and a long manifest with many bad rows."""

import functools
import json
import os
import time
from collections import Counter
from pathlib import Path

from bad_rows import KINDS, write_manifest
from cli_case import CHECKPOINT, PROGRAM, SMALL
from fault_case import DONE, FAILURE, NIGHTLY, SOME_FAILED, Batch, Fault, FaultCase, Layout, check, wait_until

ROWS, BAD_ROWS, LIMIT_S = (1000, 200, 900) if NIGHTLY else (100, 20, 300)
STEPS = 8

# Where the middle one of three items is when the kill comes.
MOMENTS = {
    "claimed": ("link", "*/.claims/item1.claim", "-after"),
    "in_its_steps": ("write", "*/.claims/.owner-*", ""),  # the progress that other jobs see; the count is measured
    "video_being_written": ("open", "*/.item1.*.mp4", "-after"),
    "video_has_its_name": ("rename", "*/item1.mp4", "-after"),
    "sidecar_is_written": ("rename", "*/item1.json", ""),
}
LAYOUTS = [Layout(0, 1), Layout(2, 2)]


class RealBatch(Batch):
    def __init__(self, items: int):
        super().__init__(items, PROGRAM)

    def arguments(self, layout: Layout) -> list[str]:
        return ["--device", "cpu", "--ckpt-dir", str(CHECKPOINT), "--output-dir", str(self.out), *SMALL, "--sample-steps", str(STEPS),
                "--group-size", str(layout.group_size), "--save-latents", "rows.csv"]

    def engine_runs(self) -> list[str]:
        """From the traces, whose names begin with the time of their run."""
        import h5py
        begun = []
        for path in sorted((self.out / "trace").glob("*.h5")):
            with h5py.File(path, "r") as file:
                begun += [name.decode() for name in file["items/id"][:]]
        return begun


class RealEngine(FaultCase):
    items = 3

    @classmethod
    def setUpClass(cls):
        """By layout, as the sums of another layout may round another way: what is made, and how often its progress is shown."""
        cls.references, cls.progress_writes = {}, {}
        for layout in LAYOUTS:
            with RealBatch(cls.items) as batch:
                ended = batch.run(layout, fault=Fault("write", MOMENTS["in_its_steps"][1], "count", rank=0))
                check(ended.code == DONE, str(ended))
                cls.references[layout] = batch.contents()
                cls.progress_writes[layout] = len(batch.fault_log.read_text().splitlines())

    def kill(self, moment: str, layout: Layout, everybody: bool) -> None:
        call, pattern, after = MOMENTS[moment]
        reference = self.references[layout]
        at = self.progress_writes[layout] // 2 if moment == "in_its_steps" else 1
        with RealBatch(self.items) as batch:
            running = batch.start(layout, fault=Fault(call, pattern, ("hold" if everybody else "kill") + after, at))
            if everybody:
                wait_until(lambda: batch.fault_log.exists() or running.process.poll() is not None, "the fault")
                running.kill_all(PROGRAM)
            ended = running.wait()
            check(batch.fault_log.exists(), f"the run never came to {moment}: {ended}")
            check(ended.code != DONE, f"a killed run said that all was done: {ended}")
            finished, made = batch.finished(), batch.engine_runs()
            # A thread may still have been writing the item before, and the one after may have begun.
            check("item1" not in finished and "item2" not in finished, f"the kill came at another moment: {finished.keys()}")
            batch.check_nothing_partial(reference)
            ended = batch.run(layout)
            check(ended.code == DONE, str(ended))
            batch.check_complete(reference, finished, made)

    def test_kills(self):
        self.all_of((f"{moment}, {'all ranks' if everybody else 'one rank'} of {layout}",
                     functools.partial(self.kill, moment, layout, everybody))
                    for number, moment in enumerate(MOMENTS) for layout in LAYOUTS for everybody in (False, True)
                    if NIGHTLY or (layout == LAYOUTS[number % 2] and everybody == (number % 3 == 0)))

    def fail_with(self, call: str, pattern: str, action: str, at: int, reason: str) -> None:
        with RealBatch(self.items) as batch:
            ended = batch.run(LAYOUTS[0], fault=Fault(call, pattern, action, at))
            check(batch.fault_log.exists(), f"the run never came to {call} {at} of {pattern}: {ended}")
            check(ended.code == FAILURE, f"storage that fails ends a run with 1: {ended}")
            check(not list(batch.out.glob("*.failed.json")), f"an item failed for it: {ended}")
            check(reason in ended.text, f"nobody said '{reason}': {ended}")
            batch.check_nothing_partial(self.references[LAYOUTS[0]])
            finished, made = batch.finished(), batch.engine_runs()
            ended = batch.run(LAYOUTS[0])
            check(ended.code == DONE, str(ended))
            batch.check_complete(self.references[LAYOUTS[0]], finished, made)

    def stall(self, call: str, pattern: str) -> None:
        """A disk that stalls longer than a collective may take."""
        layout = LAYOUTS[1]
        with RealBatch(self.items) as batch:
            ended = batch.run(layout, "--collective-timeout", "1", "--checkpoint-interval", "0", fault=Fault(call, pattern, "stall"))
            check(batch.fault_log.exists(), f"the run never came to {call} of {pattern}: {ended}")
            check(ended.code == DONE, str(ended))
            batch.check_nothing_partial(self.references[layout])

    def test_a_stalled_disk_is_waited_for(self):
        places = [("write", "*/.item1.*.mp4"), ("write", "*/.state/.item1.*")]
        if NIGHTLY:
            places += [("write", "*/trace/*"), ("write", "*/.item1.*.safetensors"), ("fsync", "*/.item1.*.mp4"),
                       ("write", "*/.claims/.owner-*")]
        self.all_of((f"{call} of {pattern}", functools.partial(self.stall, call, pattern)) for call, pattern in places)

    def test_full_disk(self):
        cases = [("write", "*/.item1.*.mp4", "ENOSPC+", 2), ("write", "*/.item1.*.safetensors", "ENOSPC+", 1),
                 ("fsync", "*/.item1.*.mp4", "EIO", 1), ("write", "*/.item1.*.json", "ENOSPC+", 1)]
        if NIGHTLY:
            cases += [(call, f"*/.item1.*.{suffix}", action, at) for call in ("write", "fsync") for suffix in ("mp4", "json")
                      for action in ("ENOSPC", "EIO") for at in range(1, 3 if (call, suffix) == ("write", "mp4") else 2)]
        reasons = {"ENOSPC": "No space left on device", "EIO": "Input/output error"}
        self.all_of((f"{action} at {call} {at} of {pattern}",
                     functools.partial(self.fail_with, call, pattern, action, at, reasons[action.rstrip("+")]))
                    for call, pattern, action, at in cases)

    def test_a_trace_that_cannot_be_written_ends_the_run(self):
        with RealBatch(self.items) as batch:
            ended = batch.run(LAYOUTS[0], fault=Fault("write", "*/trace/*", "ENOSPC+", 3))  # the thread's first rows
            self.assertEqual(ended.code, FAILURE, ended)
            self.assertIn("the trace ends here", ended.text)
            batch.check_nothing_partial(self.references[LAYOUTS[0]])
            ended = batch.run(LAYOUTS[0])
            self.assertEqual(ended.code, DONE, ended)
            self.assertEqual(set(batch.finished()), set(batch.ids))


class ManyRows(FaultCase):
    @classmethod
    def setUpClass(cls):
        """Compared with the manifest, not with another run."""

    def test_a_long_manifest_with_bad_rows_of_many_kinds(self):
        with RealBatch(0) as batch:
            expected = write_manifest(batch.folder, ROWS, BAD_ROWS)
            self.assertEqual(len(KINDS), 20)
            begin = time.monotonic()
            ended = batch.run(Layout(2, 1), "--sample-steps", "2", timeout_s=LIMIT_S)
            seconds = time.monotonic() - begin
            self.assertEqual(ended.code, SOME_FAILED, ended)
            counts = json.loads((batch.out / "run.json").read_text())["counts"]
            self.assertEqual((counts["made"], counts["failed"], counts["open"]), (ROWS - BAD_ROWS, BAD_ROWS, 0))
            self.assertEqual(len(list(batch.out.glob("[!.]*.mp4"))), ROWS - BAD_ROWS)
            records = [json.loads(path.read_text()) for path in batch.out.glob("*.failed.json")]
            places = Counter(record["manifest"]["line"] for record in records)
            self.assertEqual(places, Counter(bad.line for bad in expected))
            messages = {record["manifest"]["line"]: record["message"] for record in records}
            for bad in expected:
                self.assertRegex(messages[bad.line], rf"rows\.csv:{bad.line}:{bad.column}: .*{bad.reason}", bad.kind)
            print(f"{ROWS} rows, {BAD_ROWS} of them bad in {len(KINDS)} ways: {seconds:.1f} s with 2 ranks in 2 groups on "
                  f"{len(os.sched_getaffinity(0))} cores")
            batch.ids = [path.stem for path in batch.out.glob("[!.]*.mp4")]
            self.assertEqual(batch.hidden(), [])
            self.assertTrue(all(Path(batch.out / f"{name}.json").exists() for name in batch.ids))
