"""Many starts on one output folder, and owners that die or are suspended. Every item is made once, and stale claims are taken over."""

import os
import signal
import time
from collections import Counter

from fault_case import DONE, STUB, Batch, Fault, FaultCase, Layout, check, wait_until

STARTS = 50
SLEEPERS = {
    "in_a_step": ("stage", "stage:low_noise:item0:0", "stop"),
    "before_the_video_appears": ("rename", "*/item0.mp4", "stop"),
    "before_the_latents_appear": ("rename", "*/item0.latent.safetensors", "stop"),
    "before_the_sidecar_is_written": ("open", "*/.item0.*.json", "stop"),
    "before_the_sidecar_appears": ("rename", "*/item0.json", "stop"),
    "before_the_claim_is_released": ("unlink", "*/.claims/item0.claim", "stop"),
}


class ManyStarts(FaultCase):
    items = 30

    def test_fifty_at_once_make_every_item_once(self):
        with Batch(self.items) as batch:
            # Under this load a heartbeat may come late: an owner is not given up for that.
            runs = [batch.start(Layout(), "--stale-after", "60", "--step-seconds", "0.02", "--writers", "2") for _ in range(STARTS)]
            ended = [run.wait(timeout_s=300) for run in runs]
            self.assertEqual([str(end) for end in ended if end.code != DONE], [])
            self.assertEqual(Counter(batch.engine_runs()), Counter(batch.ids), "an item was made more than once or not at all")
            batch.check_complete(self.reference, {}, [])

    def test_a_killed_owner_is_followed_at_once(self):
        with Batch(self.items) as batch:
            owner = batch.start(Layout(), fault=Fault("stage", "stage:high_noise:item3:0", "hold"))
            wait_until(batch.fault_log.exists, "the fault")
            owner.kill_all(STUB)
            owner.wait()
            finished, made = batch.finished(), batch.engine_runs()
            self.assertEqual(made[-1], "item3")
            begin = time.monotonic()
            ended = batch.run(Layout(2, 1), "--stale-after", "600")
            self.assertEqual(ended.code, DONE, ended)
            self.assertLess(time.monotonic() - begin, 60, "the dead owner of this machine was waited for")
            batch.check_complete(self.reference, finished, made)


def sleeper(self: ManyStarts, call: str, pattern: str, action: str) -> None:
    """A suspended owner's item is made by another run; waking up, the owner touches nothing and goes on."""
    with Batch(self.items) as batch:
        asleep = batch.start(Layout(), fault=Fault(call, pattern, action))
        wait_until(batch.fault_log.exists, "the fault")
        ended = batch.run(Layout(2, 1), "--stale-after", "2")
        self.assertEqual(ended.code, DONE, ended)
        finished, made = batch.finished(), batch.engine_runs()
        self.assertEqual(set(finished), set(batch.ids))
        for pid in asleep.ranks(STUB):
            os.kill(pid, signal.SIGCONT)
        woken = asleep.wait()
        self.assertEqual(woken.code, DONE, woken)
        check(batch.engine_runs() == made, f"the owner that woke made items again: {batch.engine_runs()[len(made):]}")
        batch.check_complete(self.reference, finished, made)


for _name, _fault in SLEEPERS.items():
    setattr(ManyStarts, f"test_an_owner_asleep_{_name}_gives_up", lambda self, fault=_fault: sleeper(self, *fault))
