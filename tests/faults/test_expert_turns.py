"""Experts that take turns: groups that hold several items at a time are killed or stopped in each phase. No item is lost, and no step of
an item whose state was saved is made again."""

import functools
import signal
from collections import Counter

from fault_case import DONE, NIGHTLY, Batch, Fault, FaultCase, Layout, check, wait_until
from test_kill_matrix import SEVERAL_TIMES, STAGES

REPEATS = 20 if NIGHTLY else 3
LAYOUTS = [Layout(2, 1), Layout(2, 2), Layout(0, 1), Layout(4, 2)]
SWITCH, STEPS = 2, 4  # stub_batch's: steps of the first expert, and of an item
STOPPED_EARLY = 85
PHASES = ["claim", "text", "encode", "high_noise_step", "state_being_written", "rename_of_state_record", "low_noise_step", "decode",
          "video_being_written", "rename_of_video", "rename_of_sidecar", "release_of_claim"]


def turns(repeat: int) -> list[str]:
    return ["--items-in-turn", str((4, 2, 3)[repeat % 3]), "--writers", str(repeat % 2)]


class Turns(FaultCase):
    def steps_made(self, batch: Batch) -> Counter:
        path = batch.folder / "journal.steps"
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    def check_goes_on(self, batch: Batch, layout: Layout, repeat: int) -> None:
        """A last run makes what is left, and only that."""
        batch.check_nothing_partial(self.reference)
        finished, states, before = batch.finished(), batch.saved_states(), self.steps_made(batch)
        ended = batch.run(layout, *turns(repeat))
        check(ended.code == DONE, str(ended))
        check(batch.contents() == self.reference, f"not what an uninterrupted run makes: {ended}")
        again = self.steps_made(batch) - before
        saved = {f"{name} {step}" for name, steps in states.items() for step in range(steps)}
        made = {f"{name} {step}" for name in finished for step in range(STEPS)}
        check(not (saved | made) & again.keys(), f"finished {sorted(finished)}, saved {states}, made again {again}")
        check(max(again.values(), default=1) == 1, f"made twice by one run: {again}")
        check(not batch.hidden(), f"left behind: {batch.hidden()}")

    def kill(self, phase: str, repeat: int) -> None:
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        call, pattern = STAGES[phase]
        fault = Fault(call, pattern.format(id=f"item{repeat % self.items}", rank=repeat % layout.group_size),
                      action="kill-after" if repeat % 2 else "kill", at=1 + repeat % min(SEVERAL_TIMES.get(phase, 1), SWITCH))
        if phase in ("state_being_written", "rename_of_state_record"):
            fault = Fault(call, fault.pattern, fault.action)  # an item that waits has saved one state
        with Batch(self.items) as batch:
            ended = batch.run(layout, *turns(repeat), fault=fault)
            check(batch.fault_log.exists(), f"the run never came to {fault}: {ended}")
            check(ended.code != DONE, f"a killed run said that all was done: {ended}")
            self.check_goes_on(batch, LAYOUTS[(repeat + 1) % len(LAYOUTS)], repeat)

    def test_kills(self):
        self.all_of((f"{phase}, repeat {repeat}", functools.partial(self.kill, phase, repeat))
                    for phase in PHASES for repeat in range(REPEATS))

    def stop(self, wanted_steps: int, repeat: int) -> None:
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        with Batch(self.items) as batch:
            running = batch.start(layout, *turns(repeat), "--step-seconds", "0.1", "--hold-at-steps", str(wanted_steps))
            wait_until(lambda: self.steps_made(batch).total() >= wanted_steps or running.process.poll() is not None, "the steps")
            running.signal_all(signal.SIGTERM)
            (batch.folder / "journal.go_on").touch()
            ended = running.wait()
            check(ended.code == STOPPED_EARLY, f"{ended}")
            states, made = batch.saved_states(), self.steps_made(batch)
            for name in batch.ids:
                steps = sum(f"{name} {step}" in made for step in range(STEPS))
                check(name in batch.finished() or states.get(name, 0) == steps, f"{name}: {steps} steps, states {states}")
            self.check_goes_on(batch, LAYOUTS[(repeat + 1) % len(LAYOUTS)], repeat)

    def test_stops(self):
        """In the first turn, at its end, and in the second turn: all steps are kept."""
        self.all_of((f"after {steps} steps, repeat {repeat}", functools.partial(self.stop, steps, repeat))
                    for steps in (1, 5, 8, 10) for repeat in range(REPEATS))
