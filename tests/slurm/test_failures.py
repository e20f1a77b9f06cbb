"""A rank that dies ends its start soon, the log names it, and the job is started again."""

import os
import signal
import time

from slurm_case import SlurmCase, cluster, ranks_of

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
        job.wait_for(lambda: "requeueing job" in job.text() and job.state == "PENDING", "requeue", timeout_s=60)
        self.assertLess(time.monotonic() - killed_s, 60)
        self.assertEqual(ranks_of(job), {}, "ranks outlived their start")
        cluster().ask("scancel", job.id)
        self.assertRegex(job.text(), named)
        self.assertIn("a rank died (SIGKILL); this is crash 1 of the job", job.text())
        self.assertIn("a rank died (SIGKILL)\n  GPU-hours: ", job.text())

    def test_srun(self):
        self.check_killed_rank("srun", r"n2: task 3: Killed")

    def test_mpirun(self):
        self.check_killed_rank("mpirun", r"process rank 3 .* on node \w+ exited on signal 9")
