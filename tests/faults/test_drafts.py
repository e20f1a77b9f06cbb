"""Draft runs that are killed or out of disk space while threads write previews beside the steps of the next item: no preview is lost or
partial, and no step of an item whose state was saved is made again, neither by the next draft run nor by the run that goes on."""

import functools
import json
from collections import Counter

from fault_case import DONE, FAILURE, NIGHTLY, Batch, Fault, FaultCase, Layout, check, sha256
from test_writers import LAYOUTS, SLOW, STEPS, writers

REPEATS = 20 if NIGHTLY else 2
AFTER = 2  # of STEPS
DRAFT = ["--draft-after", str(AFTER)]

MOMENTS = {
    "state_being_written": ("write", "*/.state/.item1.*", ""),
    "state_has_its_record": ("rename", "*/.state/item1.json", "-after"),
    "preview_being_written": ("write", "*/.item1.*.mp4", ""),
    "record_has_its_name": ("rename", "*/item1.draft.json", "-after"),
    "preview_has_its_name": ("rename", "*/item1.draft.mp4", "-after"),
}


class Drafts(FaultCase):
    def steps_made(self, batch: Batch) -> Counter:
        """How often each step of each item was made, over all runs."""
        path = batch.folder / "journal.steps"
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    def drafted(self, batch: Batch) -> set[str]:
        """Items whose draft counts: a record, and the preview that it names. Anything else that is there must be whole."""
        found = set()
        for record in batch.out.glob("[!.]*.draft.json"):
            video = json.loads(record.read_text())["outputs"]["video"]
            file = batch.out / video["file"]
            if file.exists() and sha256(file) == video["sha256"]:
                found.add(record.name.removesuffix(".draft.json"))
        for preview in batch.out.glob("[!.]*.draft.mp4"):
            check(preview.read_bytes().startswith(b"draft of ") and preview.stat().st_size > 100_000, f"{preview.name} is partial")
        return found

    def check_goes_on(self, batch: Batch, layout: Layout, repeat: int) -> None:
        states, drafted, before = batch.saved_states(), self.drafted(batch), self.steps_made(batch)
        # Another group may have been stopped before it came so far.
        check(all(1 <= steps <= AFTER for steps in states.values()), f"states: {states}")
        check(all(states.get(name) == AFTER for name in drafted), f"drafted: {drafted}, states: {states}")
        ended = batch.run(layout, *DRAFT, *writers(repeat))
        check(ended.code == DONE, str(ended))
        check(self.drafted(batch) == set(batch.ids), f"drafts of {self.drafted(batch)} only: {ended}")
        check(batch.saved_states() == dict.fromkeys(batch.ids, AFTER), f"{batch.saved_states()}")
        again = self.steps_made(batch) - before
        saved = {f"{name} {step}" for name, steps in states.items() for step in range(steps)}
        check(not saved & again.keys(), f"steps of {states} were made again: {again}")
        ended = batch.run(layout, *writers(repeat))
        check(ended.code == DONE, str(ended))
        for name, checksum in self.reference.items():
            check(sha256(batch.out / name) == checksum, f"{name} is not what an uninterrupted run makes")
        finishing = self.steps_made(batch) - before - again
        wanted = Counter(f"{name} {step}" for name in batch.ids for step in range(AFTER, STEPS))
        check(finishing == wanted, f"going on made the steps {finishing}")
        check(not batch.hidden(), f"left behind: {batch.hidden()}")

    def kill(self, moment: str, repeat: int) -> None:
        call, pattern, after = MOMENTS[moment]
        with Batch(self.items) as batch:
            ended = batch.run(LAYOUTS[repeat % len(LAYOUTS)], *DRAFT, *SLOW, *writers(repeat), fault=Fault(call, pattern, "kill" + after))
            check(batch.fault_log.exists(), f"the run never came to {moment}: {ended}")
            check(ended.code != DONE, f"a killed run said that all was done: {ended}")
            self.check_goes_on(batch, LAYOUTS[(repeat + 1) % len(LAYOUTS)], repeat)

    def test_kills(self):
        self.all_of((f"{moment}, repeat {repeat}", functools.partial(self.kill, moment, repeat))
                    for moment in MOMENTS for repeat in range(REPEATS))

    def fill_disk(self, call: str, pattern: str, repeat: int) -> None:
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        with Batch(self.items) as batch:
            ended = batch.run(layout, *DRAFT, *SLOW, *writers(repeat), fault=Fault(call, pattern, "ENOSPC+"))
            check(batch.fault_log.exists(), f"the run never came to {call} of {pattern}: {ended}")
            check(ended.code == FAILURE, f"storage that fails ends a run with 1: {ended}")
            check("No space left on device" in ended.text, f"nobody said why: {ended}")
            check(not list(batch.out.glob("*.failed.json")), f"an item failed for it: {ended}")
            self.check_goes_on(batch, layout, repeat)

    def test_a_full_disk(self):
        cases = [("write", "*/.item1.*.mp4"), ("write", "*/.state/.item1.*"), ("write", "*/out/.item1.*.json")]
        self.all_of((f"{call} of {pattern}, repeat {repeat}", functools.partial(self.fill_disk, call, pattern, repeat))
                    for call, pattern in cases for repeat in range(REPEATS))
