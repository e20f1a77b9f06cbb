"""Runs that are killed, stopped, or out of disk space or time while threads write 1 to 3 videos beside the steps of the next item:
nothing is lost, doubled or partial, and no step of a video that was being written is made again."""

import functools
import os
import signal
import time
from collections import Counter

from fault_case import DONE, FAILURE, NIGHTLY, STUB, Batch, Fault, FaultCase, Layout, check, until_in_time, wait_until

STOPPED = 85
REPEATS = 20 if NIGHTLY else 3
STEPS = 4  # the stub's default
LAYOUTS = [Layout(2, 1), Layout(2, 2), Layout(0, 1)]
SLOW = ["--write-seconds", "0.2"]  # a step takes nothing, so that all threads have a video soon

# Where the writing of item2 is. The state after the last step is published by then, apart from the last two moments.
MOMENTS = {
    "writing_begins": ("stage", "stage:write:item2:0", ""),
    "video_being_written": ("write", "*/.item2.*.mp4", ""),
    "latents_being_written": ("write", "*/out/.item2.*.safetensors", ""),
    "video_flushed": ("fsync", "*/.item2.*.mp4", "-after"),
    "video_has_its_name": ("rename", "*/item2.mp4", "-after"),
    "record_has_its_name": ("rename", "*/out/item2.json", "-after"),
    "state_being_written": ("write", "*/.state/.item2.*", ""),
    "state_has_its_record": ("rename", "*/.state/item2.json", "-after"),
}
SEVERAL_TIMES = {"video_being_written": 6}


def writers(repeat: int) -> list[str]:
    return ["--writers", str(1 + repeat % 3)]


class Writers(FaultCase):
    items = 6

    def steps_made(self, batch: Batch) -> Counter:
        """How many steps of each item were made, over all runs."""
        path = batch.folder / "journal.steps"
        return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()

    def check_goes_on(self, batch: Batch, layout: Layout, repeat: int) -> None:
        """The next run finishes, and makes no step of an item whose last step had been saved."""
        batch.check_nothing_partial(self.reference)
        finished, made, states = batch.finished(), batch.engine_runs(), batch.saved_states()
        steps_before = self.steps_made(batch)
        ended = batch.run(layout, *writers(repeat))
        check(ended.code == DONE, str(ended))
        batch.check_complete(self.reference, finished, made)
        batch.check_resumed(states, finished)
        again = self.steps_made(batch) - steps_before
        for name, steps in {**dict.fromkeys(batch.ids, 0), **states, **dict.fromkeys(finished, STEPS)}.items():
            check(again[name] == STEPS - steps, f"{name} had {steps} steps, and {again[name]} were made")

    def kill(self, moment: str, everybody: bool, repeat: int) -> None:
        call, pattern, after = MOMENTS[moment]
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        with Batch(self.items) as batch:
            fault = Fault(call, pattern, ("hold" if everybody else "kill") + after, at=1 + repeat % SEVERAL_TIMES.get(moment, 1))
            running = batch.start(layout, *SLOW, *writers(repeat), fault=fault)
            if everybody:
                wait_until(lambda: batch.fault_log.exists() or running.process.poll() is not None, "the fault")
                running.kill_all(STUB)
            ended = running.wait()
            check(batch.fault_log.exists(), f"the run never came to {moment}: {ended}")
            check(ended.code != DONE, f"a killed run said that all was done: {ended}")
            if moment != "state_being_written":  # another group of the run may have written it meanwhile
                is_safe = batch.saved_states().get("item2") == STEPS or "item2" in batch.finished()
                check(is_safe, f"item2's steps are not saved: {batch.saved_states()}")
            self.check_goes_on(batch, LAYOUTS[(repeat + 1) % len(LAYOUTS)], repeat)

    def test_kills(self):
        self.all_of((f"{moment}, {'all ranks' if everybody else 'one rank'}, repeat {repeat}",
                     functools.partial(self.kill, moment, everybody, repeat))
                    for number, moment in enumerate(MOMENTS) for repeat in range(REPEATS)
                    for everybody in ((False, True) if NIGHTLY else ((number + repeat) % 2 == 0,)))

    def fill_disk(self, call: str, pattern: str, action: str, repeat: int) -> None:
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        with Batch(self.items) as batch:
            ended = batch.run(layout, *SLOW, *writers(repeat), fault=Fault(call, pattern, action))
            check(batch.fault_log.exists(), f"the run never came to {call} of {pattern}: {ended}")
            check(ended.code == FAILURE, f"storage that fails ends a run with 1: {ended}")
            check(not list(batch.out.glob("*.failed.json")), f"an item failed for it: {ended}")
            check("No space left on device" in ended.text or "Input/output error" in ended.text, f"nobody said why: {ended}")
            self.check_goes_on(batch, layout, repeat)

    def test_a_full_disk(self):
        cases = [("write", "*/.item1.*.mp4", "ENOSPC+"), ("write", "*/.state/.item2.*", "ENOSPC+"), ("fsync", "*/.item1.*.mp4", "EIO"),
                 ("write", "*/out/.item1.*.json", "ENOSPC+")]
        self.all_of((f"{action} at {call} of {pattern}, repeat {repeat}", functools.partial(self.fill_disk, call, pattern, action, repeat))
                    for call, pattern, action in cases for repeat in range(REPEATS))

    def stop(self, repeat: int) -> None:
        """By a signal: what is being written is finished, what is being made is saved."""
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        with Batch(self.items) as batch:
            running = batch.start(layout, "--write-seconds", "1.5", "--step-seconds", "0.02", *writers(repeat))
            wait_until(lambda: STEPS in batch.saved_states().values(), "a video that is being written")
            time.sleep(0.1 * (repeat % 3))
            written = {name for name, steps in batch.saved_states().items() if steps == STEPS}
            ranks = running.ranks(STUB)
            os.kill(ranks[repeat % len(ranks)], signal.SIGUSR1 if repeat % 2 else signal.SIGTERM)
            ended = running.wait(timeout_s=30)
            check(ended.code == STOPPED, str(ended))
            check(written <= batch.finished().keys(), f"{written} were being written, {set(batch.finished())} are done")
            check(not [name for name in batch.hidden() if not name.startswith(".state/item")], f"left behind: {batch.hidden()}")
            self.check_goes_on(batch, layout, repeat)

    def test_a_stop_waits_for_the_writers(self):
        self.all_of((f"repeat {repeat}", functools.partial(self.stop, repeat)) for repeat in range(REPEATS))

    def run_out_of_time(self, repeat: int, limit_s: int) -> bool:
        """Videos that would take longer than the limit are left, with their steps."""
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        with Batch(self.items) as batch:
            begin = time.monotonic()
            ended = batch.run(layout, "--write-seconds", "600", *writers(repeat), "--time-limit", str(limit_s), timeout_s=500)
            seconds = time.monotonic() - begin
            check(ended.code == STOPPED, str(ended))
            check(seconds < limit_s + 60, f"{seconds:.2f} s of {limit_s}")
            if len(batch.engine_runs()) < 1 + repeat % 3:
                return False
            saved = [name for name, steps in batch.saved_states().items() if steps == STEPS]
            check(len(saved) >= 1 + repeat % 3, f"only {saved} were made with {writers(repeat)}")
            check(not [name for name in batch.hidden() if not name.startswith(".state/item")], f"left behind: {batch.hidden()}")
            self.check_goes_on(batch, layout, repeat)
            return True

    def test_a_time_limit_leaves_the_writers(self):
        self.all_of((f"repeat {repeat}", functools.partial(until_in_time, functools.partial(self.run_out_of_time, repeat)))
                    for repeat in range(REPEATS))
