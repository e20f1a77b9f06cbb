"""wan_batch on the toy model with rows of different LoRAs: killed, stopped and without a file in the middle of a change."""

import functools
import signal

from cli_case import PROGRAM
from fault_case import DONE, NIGHTLY, SOME_FAILED, Batch, Fault, FaultCase, Layout, check, wait_until
from lora_files import pairs, write_lora
from test_lora import MODEL
from test_real_engine import RealBatch

LAYOUTS = [Layout(0, 1), Layout(2, 2)]
STOPPED_EARLY = 85
CHANGED = "?(*/)b.safetensors"  # its last two openings are those of the change: one for each expert


class LoraBatch(RealBatch):
    """Rows 0 and 2 have the checkpoint's weights, rows 1 and 3 those of one LoRA each."""

    def __enter__(self) -> Batch:
        super().__enter__()
        for number, name in enumerate(("a", "b")):
            write_lora(self.folder / f"{name}.safetensors", pairs(MODEL, seed=9 * number))
        loras = ["", "a.safetensors", "", "b.safetensors:0.5"]
        self.manifest.write_text("id,image,prompt,lora\n" + "".join(
            f"{name},good.png,prompt of {name},{lora}\n" for name, lora in zip(self.ids, loras, strict=True)))
        return self


class LoraRows(FaultCase):
    items = 4

    @classmethod
    def setUpClass(cls):
        """By layout: what is made, and by rank how often the LoRA is opened."""
        cls.references, cls.openings = {}, {}
        for layout in LAYOUTS:
            for rank in range(layout.group_size):
                with LoraBatch(cls.items) as batch:
                    ended = batch.run(layout, fault=Fault("open_to_read", CHANGED, "count", rank=rank))
                    check(ended.code == DONE, str(ended))
                    cls.references[layout] = batch.contents()
                    cls.openings[layout, rank] = len(batch.fault_log.read_text().splitlines())

    def fault(self, action: str, layout: Layout, rank: int, expert: int) -> Fault:
        return Fault("open_to_read", CHANGED, action, self.openings[layout, rank] - 1 + expert, rank)

    def go_on(self, batch: Batch, layout: Layout, *more: str) -> None:
        batch.check_nothing_partial(self.references[layout])
        finished, made = batch.finished(), batch.engine_runs()
        check("item3" not in finished, f"the fault came at another moment: {finished.keys()}")
        check(len(finished) == 3 or not more, f"lost: {finished.keys()}")
        ended = batch.run(layout, *more)
        check(ended.code == DONE, str(ended))
        batch.check_complete(self.references[layout], finished, made)

    def kill(self, layout: Layout, rank: int, expert: int) -> None:
        with LoraBatch(self.items) as batch:
            ended = batch.run(layout, fault=self.fault("kill", layout, rank, expert))
            check(batch.fault_log.exists(), f"the run never came to the change: {ended}")
            check(ended.code != DONE, f"a killed run said that all was done: {ended}")
            self.go_on(batch, layout)

    def stop(self, layout: Layout, rank: int, expert: int) -> None:
        with LoraBatch(self.items) as batch:
            running = batch.start(layout, fault=self.fault("wait", layout, rank, expert))
            wait_until(lambda: batch.fault_log.exists() or running.process.poll() is not None, "the change")
            running.signal_all(signal.SIGTERM, PROGRAM)
            batch.fault_log.unlink()
            ended = running.wait()
            check(ended.code == STOPPED_EARLY, f"{ended}")
            self.go_on(batch, layout)

    def fail_to_read(self, layout: Layout, rank: int, expert: int) -> None:
        """One rank cannot open the file: the row fails alone, on all ranks."""
        with LoraBatch(self.items) as batch:
            ended = batch.run(layout, fault=self.fault("EIO", layout, rank, expert))
            check(ended.code == SOME_FAILED, f"{ended}")
            check("item3" in ended.text and "b.safetensors" in ended.text, f"{ended}")
            check([path.name for path in batch.out.glob("*.failed.json")] == ["item3.failed.json"], f"{ended}")
            self.go_on(batch, layout, "--retry-failed")

    def test_a_change(self):
        self.all_of((f"{case.__name__} of rank {rank} of {layout} at expert {expert}", functools.partial(case, layout, rank, expert))
                    for case in (self.kill, self.stop, self.fail_to_read)
                    for layout, rank, expert in ((LAYOUTS[0], 0, 0), (LAYOUTS[0], 0, 1), (LAYOUTS[1], 0, 1), (LAYOUTS[1], 1, 0))
                    if NIGHTLY or (layout is LAYOUTS[1]) == (rank + expert == 1))
