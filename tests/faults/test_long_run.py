"""Thousands of items in one run: memory and descriptors stay what they were, the log stays short."""

import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from fault_case import DONE, NIGHTLY, STUB, Batch, FaultCase, Layout, check, wait_until

ITEMS, LAYOUT = (10_000, Layout(8, 2)) if NIGHTLY else (400, Layout(2, 1))
FIRST = ITEMS // 10
ARENA_KIB = 512
GROWTH = 0.01 if NIGHTLY else 0.05  # of a shorter run the allocator's first arenas are a larger part
LINE_EVERY_S = 10


@dataclass
class Use:
    rss_kib: int
    descriptors: int


def use_of(pid: int) -> Use:
    status = Path(f"/proc/{pid}/status").read_text()
    return Use(int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]), len(list(Path(f"/proc/{pid}/fd").iterdir())))


class LongRun(FaultCase):
    items = ITEMS

    @classmethod
    def setUpClass(cls):
        """No reference: a run of this length is made once."""

    def check_heap(self, batch: Batch) -> None:
        """Pages once touched hide a slow leak from RSS: the heap in use, which leaders write into the journal, shows it."""
        heap: dict[str, list[int]] = {}
        for number, line in enumerate(batch.journal.read_text().splitlines()):
            if number >= FIRST:
                _, _, pid, used_bytes = line.split()
                heap.setdefault(pid, []).append(int(used_bytes))
        for pid, used_bytes in heap.items():
            tenth = len(used_bytes) // 10
            early, late = statistics.median(used_bytes[:tenth]), statistics.median(used_bytes[-tenth:])
            print(f"leader {pid}: heap in use {early / 1024:.0f} -> {late / 1024:.0f} KiB ({100 * (late / early - 1):+.2f} %)")
            self.assertLess(late, early * (1 + GROWTH))

    def test_nothing_grows(self):
        with Batch(self.items) as batch:
            begin = time.monotonic()
            running = batch.start(LAYOUT, "--video-bytes", "1000")

            def begun() -> int:
                return batch.journal.read_bytes().count(b"\n") if batch.journal.exists() else 0

            def use_at(items: int) -> dict[int, Use]:
                wait_until(lambda: begun() >= items or running.process.poll() is not None, f"item {items}", timeout_s=3000)
                check(running.process.poll() is None, f"the run ended before item {items}")
                return {pid: use_of(pid) for pid in running.ranks(STUB)}

            early, late = use_at(FIRST), use_at(ITEMS - 20)
            ended = running.wait(timeout_s=600)
            seconds = time.monotonic() - begin
            self.assertEqual(ended.code, DONE, ended)
            self.assertEqual(len(batch.finished()), ITEMS)
            self.assertEqual(len(early), LAYOUT.ranks)
            self.assertEqual(batch.hidden(), [])
            for rank, pid in enumerate(sorted(early)):
                print(f"rank {rank}: RSS {early[pid].rss_kib} -> {late[pid].rss_kib} KiB "
                      f"({100 * (late[pid].rss_kib / early[pid].rss_kib - 1):+.2f} %), "
                      f"descriptors {early[pid].descriptors} -> {late[pid].descriptors}")
            print(f"{ITEMS} items in {seconds:.0f} s, {begun()} engine runs")
            self.check_heap(batch)
            for pid, use in early.items():
                # The heap in use is held to GROWTH; the allocator may begin another arena.
                self.assertLess(late[pid].rss_kib, use.rss_kib * (1 + GROWTH) + ARENA_KIB)
                # A file that happens to be open at the moment is no leak.
                self.assertLessEqual(late[pid].descriptors, use.descriptors + 2)
            lines = [line for line in ended.text.splitlines() if re.match(rf"\d+/{ITEMS} ", line)]
            self.assertLessEqual(len(lines), seconds / LINE_EVERY_S + 1)
            log = (batch.out / "wan_batch.log").read_text().splitlines()
            self.assertLessEqual(len(log), seconds / LINE_EVERY_S + 10)
