"""The account of a chain of starts against Slurm's own record of them (jobcomp/filetxt)."""

import contextlib
import os
import re
import signal
import time
import unittest
from datetime import datetime

from slurm_case import Job, cluster, wait_until
from survival_case import STEPS, SurvivalCase
from test_requeue import steps_in_flight

RAN_OUT, PREEMPTED = "stopped before the time limit, or by SIGUSR1", "preempted"


class Account(SurvivalCase):
    def starts_of(self, job: Job) -> list[float]:
        """Seconds of each start, by Slurm's record."""
        seconds = []
        for line in (cluster().folder / "starts.txt").read_text().splitlines():
            fields = dict(word.partition("=")[::2] for word in line.split())
            if fields["JobId"] == job.id:
                began, ended = (datetime.fromisoformat(fields[name]) for name in ("StartTime", "EndTime"))
                seconds.append((ended - began).total_seconds())
        return seconds

    def wait_for_steps(self, job: Job, out, start: int, more: int) -> None:
        """Until start number `start` has made so many steps."""
        job.wait_for(lambda: job.restarts == start - 1 and any((out / ".jobs" / job.id).glob(f"start-{start}.group-0.json")),
                     f"start {start}", timeout_s=200)
        first = steps_in_flight(out)
        job.wait_for(lambda: steps_in_flight(out) >= min(first + more, STEPS - 1), f"steps of start {start}", timeout_s=200)

    def lose_the_node(self, job: Job) -> None:
        node = job.fields()["BatchHost"]
        cluster().ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        job.wait_for(lambda: job.state == "PENDING" or job.restarts == 3, "requeue", timeout_s=60)
        with contextlib.suppress(RuntimeError):
            cluster().ask("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def test_a_chain_of_five_starts(self):
        job, out = self.start("out", ("--partition=grace",))
        self.wait_for_steps(job, out, 1, 20)
        job.signal("USR1")
        self.wait_for_steps(job, out, 2, 20)
        self.preempt()
        self.wait_for_steps(job, out, 3, 20)
        self.lose_the_node(job)
        self.wait_for_steps(job, out, 4, 20)
        shell = self.shell_of(job)
        timer = self.away(20)
        os.kill(shell, signal.SIGUSR1)
        timer.join()
        self.assert_completed(job.wait(timeout_s=400))
        time.sleep(2)  # Slurm writes its record after the job's end
        wait_until(lambda: len(self.starts_of(job)) >= 5, 30, "Slurm's record is not complete")
        self.check_account(job, out)

    def check_account(self, job: Job, out) -> None:
        text = job.text().rpartition(f"job {job.id}")[2]
        self.assertIn("5 starts, 2 of 2 rows done", text)
        rows = re.findall(r"(?m)^ +(\d) +\S+ \S+ +(\d+):(\d\d):(\d\d) +2 +(.*)$", text)
        self.assertEqual([row[0] for row in rows], ["1", "2", "3", "4", "5"])
        reasons = [row[4] for row in rows]
        self.assertEqual((reasons[0], reasons[1], reasons[3], reasons[4]), (RAN_OUT, PREEMPTED, RAN_OUT, "done"))
        # Slurm kills the script soon after a node was lost, sometimes before it can ask why.
        self.assertRegex(reasons[2], "^(a node was lost|killed after it was told to stop)")
        ran = [3600 * int(hours) + 60 * int(minutes) + int(seconds) for _, hours, minutes, seconds, _ in rows]
        slurm = self.starts_of(job)
        self.assertEqual(len(slurm), 5)
        for start, (ours, theirs) in enumerate(zip(ran, slurm, strict=True), 1):
            limit = 60 if start == 3 else max(2, theirs / 100)  # the third one was killed
            self.assertLessEqual(abs(ours - theirs), limit, f"start {start}: {ours} s, Slurm has {theirs} s")
        hours = float(re.search(r"GPU-hours: ([\d.]+) in all", text)[1])
        self.assertAlmostEqual(hours, 2 * sum(ran) / 3600, delta=0.002)
        lost = int(re.search(r"lost \((\d+) steps made again\)", text)[1])
        records = [path.read_text() for path in (out / ".jobs" / job.id).glob("start-*.group-0.json")]
        made = sum(int(re.search(r'"steps_made":(\d+)', record)[1]) for record in records)
        self.assertEqual(len(records), 5)
        self.assertEqual(lost, made - STEPS - 2, "the steps that were made above those of the two rows")


if __name__ == "__main__":
    unittest.main()
