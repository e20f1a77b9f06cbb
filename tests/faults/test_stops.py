"""Runs that stop in time, by their limit or by a signal, that are killed while they stop, and that continue in the middle of an item."""

import functools
import json
import os
import signal
import time

from fault_case import DONE, FAILURE, NIGHTLY, STUB, Batch, Fault, FaultCase, Layout, check, until_in_time, wait_until

STOPPED = 85
REPEATS = 20 if NIGHTLY else 3
LIMIT_S = 30  # shorter ones get only a part of the 2.5 s that are kept for saving and leaving
LIMITS_S = (3, 12, 48)  # of stops that are disturbed: the first that is longer than the start of a busy machine
STEPS = ["--sample-steps", "12"]
LAYOUTS = [Layout(2, 1), Layout(2, 2), Layout(0, 1)]


class Stops(FaultCase):
    items = 16

    @classmethod
    def setUpClass(cls):
        with Batch(cls.items) as batch:
            ended = batch.run(Layout(2, 1), *STEPS)
            check(ended.code == DONE, str(ended))
            cls.reference = batch.contents()

    def check_goes_on(self, batch: Batch, layout: Layout) -> None:
        """The next run takes unfinished items up where they were left, and makes the rest."""
        batch.check_nothing_partial(self.reference)
        finished, made, states = batch.finished(), batch.engine_runs(), batch.saved_states()
        ended = batch.run(layout, *STEPS)
        check(ended.code == DONE, str(ended))
        batch.check_complete(self.reference, finished, made)
        batch.check_resumed(states, finished)

    def stop_in_time(self, repeat: int) -> None:
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        step_s = 0.5 + 0.02 * repeat
        with Batch(self.items) as batch:
            begin = time.monotonic()
            ended = batch.run(layout, *STEPS, "--step-seconds", str(step_s), "--time-limit", str(LIMIT_S))
            seconds = time.monotonic() - begin
            check(ended.code == STOPPED, str(ended))
            check(seconds <= 0.99 * LIMIT_S, f"{seconds:.2f} s of {LIMIT_S} with steps of {step_s} s")
            check(seconds >= 0.5 * LIMIT_S, f"only {seconds:.2f} s of {LIMIT_S} were used: {ended}")
            check(json.loads((batch.out / "run.json").read_text())["steps_gained"] > 0, "no step was gained")
            self.check_goes_on(batch, layout)

    def test_the_time_limit_alone_stops_in_time(self):
        self.all_of((f"repeat {repeat}", functools.partial(self.stop_in_time, repeat)) for repeat in range(REPEATS))

    def stop_at_signal(self, repeat: int) -> None:
        """To one rank, in the middle of a step; the others hear of it."""
        layout = LAYOUTS[repeat % len(LAYOUTS)]
        with Batch(self.items) as batch:
            running = batch.start(layout, *STEPS, "--step-seconds", "0.1")
            wait_until(lambda: len(batch.finished()) > repeat % 2, "a finished item")
            time.sleep(0.35)
            ranks = running.ranks(STUB)
            os.kill(ranks[repeat % len(ranks)], signal.SIGUSR1 if repeat % 2 else signal.SIGTERM)
            ended = running.wait(timeout_s=20)
            check(ended.code == STOPPED, str(ended))
            check(not [name for name in batch.hidden() if not name.startswith(".state/item")], f"left behind: {batch.hidden()}")
            self.check_goes_on(batch, layout)

    def test_a_signal_to_one_rank_stops_all(self):
        self.all_of((f"repeat {repeat}", functools.partial(self.stop_at_signal, repeat)) for repeat in range(REPEATS))

    def leaders(self, batch: Batch, idle: bool = False) -> list[int]:
        """Process ids of the groups' leaders: of all, or of those that have no item."""
        found = []
        for path in (batch.out / ".claims").glob(".owner-*"):
            lines = path.read_text(errors="replace").splitlines()
            if len(lines) > 2 and not (idle and '"id"' in lines[2]):
                found.append(json.loads(lines[1])["pid"])
        return found

    def test_a_signal_to_a_follower_of_an_idle_group_stops_all(self):
        with Batch(1) as batch:
            running = batch.start(Layout(4, 2), "--sample-steps", "40", "--step-seconds", "0.2")
            wait_until(lambda: batch.engine_runs(), "an item at work")
            wait_until(lambda: len(self.leaders(batch)) == 2 and len(self.leaders(batch, idle=True)) == 1, "an idle group")
            (leader,) = self.leaders(batch, idle=True)
            ranks = running.ranks(STUB)  # in the order in which mpirun started them: a group's follower comes after its leader
            os.kill(ranks[ranks.index(leader) + 1], signal.SIGUSR1)
            ended = running.wait(timeout_s=20)
            self.assertEqual(ended.code, STOPPED, ended)
            self.assertEqual(list(batch.saved_states()), ["item0"])

    def made_a_step(self, batch: Batch) -> bool:
        return (batch.folder / "journal.steps").exists()

    def kill_while_stopping(self, call: str, pattern: str, action: str, limit_s: int) -> bool:
        with Batch(self.items) as batch:
            ended = batch.run(Layout(2, 2), *STEPS, "--step-seconds", "0.3", "--time-limit", str(limit_s),
                              fault=Fault(call, pattern, action))
            if ended.code == STOPPED and not self.made_a_step(batch):
                return False
            check(batch.fault_log.exists(), f"the run never came to {call} of {pattern}: {ended}")
            check(ended.code not in (DONE, STOPPED), f"a killed run said that it had stopped in order: {ended}")
            batch.let_files_age()
            self.check_goes_on(batch, Layout(2, 2))
            return True

    def test_kills_while_stopping(self):
        moments = [("stage", "stage:save:*:1", "kill"), ("write", "*/.state/.*.safetensors", "kill"),
                   ("rename", "*/.state/*.safetensors", "kill-after"), ("rename", "*/.state/*.json", "kill"),
                   ("rename", "*/.state/*.json", "kill-after"), ("rename", "*/run.json", "kill")]
        self.all_of((f"{action} at {call} of {pattern}",
                     functools.partial(until_in_time, functools.partial(self.kill_while_stopping, call, pattern, action), LIMITS_S))
                    for call, pattern, action in moments)

    def fill_disk_while_stopping(self, limit_s: int) -> bool:
        with Batch(self.items) as batch:
            ended = batch.run(Layout(0, 1), *STEPS, "--step-seconds", "0.3", "--time-limit", str(limit_s),
                              fault=Fault("write", "*/.state/.*", "ENOSPC+"))
            if ended.code == STOPPED and not self.made_a_step(batch):
                return False
            self.assertEqual(ended.code, FAILURE, ended)
            self.assertIn("No space left on device", ended.text)
            self.assertEqual(batch.saved_states(), {})
            self.check_goes_on(batch, Layout(0, 1))
            return True

    def test_a_state_that_cannot_be_written_ends_the_run(self):
        until_in_time(self.fill_disk_while_stopping, LIMITS_S)
