"""A rank that dies ends its job soon, and the log names it."""

import os
import signal
import time

from slurm_case import SlurmCase, ranks_of

ROWS, LONG = 4, 1000  # steps: the run outlasts the test


class DeadRank(SlurmCase):
    def check_killed_rank(self, launcher: str, named: str) -> None:
        """Kills rank 3 of 4, on the second of two nodes, amid the steps."""
        arguments = self.arguments(self.manifest(ROWS, LONG))
        job = self.submit("i2v_multinode.sh", arguments, ("--ntasks-per-node=2",), {"WAN_LAUNCHER": launcher})
        job.wait_for(lambda: "checkpoint loaded" in job.text() and len(ranks_of(job)) == 4, "four ranks at work")
        time.sleep(1)
        os.kill(ranks_of(job)[3], signal.SIGKILL)
        killed_s = time.monotonic()
        job.wait(timeout_s=60)
        self.assertLess(time.monotonic() - killed_s, 60)
        self.assertEqual(job.state, "FAILED", job.text())
        self.assertNotIn(job.exit_code, (0, 3, 85))
        self.assertRegex(job.text(), named)
        self.assertNotIn("requeue", job.text())
        self.assertEqual(ranks_of(job), {}, "ranks outlived their job")

    def test_srun(self):
        self.check_killed_rank("srun", r"n2: task 3: Killed")

    def test_mpirun(self):
        self.check_killed_rank("mpirun", r"process rank 3 .* on node \w+ exited on signal 9")
