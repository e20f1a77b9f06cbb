"""Jobs that are disturbed from outside: preempted, with the controller away, with a node down, with ranks that crash."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import time
import unittest
from pathlib import Path

from slurm_case import Job, cluster, ranks_of, wait_until
from survival_case import STEPS, SurvivalCase
from test_requeue import steps_in_flight


def phase_of(out: Path, row: str) -> str | None:
    """The phase that a row's owner shows: "" before the first step. None: nobody is at work on it."""
    path = out / ".claims" / f"{row}.claim"
    found = re.search(rf'"id":"{row}","phase":"(\w*)"', path.read_text(errors="replace")) if path.exists() else None
    return found[1] if found else None


# How the files of a run show these moments. They are short, so the ranks are halted there until Slurm has preempted the job.
MOMENTS = {
    "MPI_Init": lambda job, out: len(ranks_of(job)) == 2 and not any(out.glob(".jobs/*/start-1.mpi")),
    "text": lambda job, out: phase_of(out, "row0") == "",
    "encode": lambda job, out: phase_of(out, "row1") == "",
    "decode": lambda job, out: phase_of(out, "row1") == "decode",
    "writing": lambda job, out: any(out.glob(".row1.wan-*.mp4")),
}


class Survival(SurvivalCase):
    # --- preemption ---

    def test_preempted_at_any_moment(self):
        moments = {"libraries": lambda job, out: ": run: " in job.text(),
                   "checkpoint": lambda job, out: any(out.glob(".jobs/*/start-1.mpi")),
                   "step": lambda job, out: steps_in_flight(out) >= 5,
                   "later step": lambda job, out: steps_in_flight(out) >= STEPS // 2}
        expected = self.expected()
        for name, has_come in moments.items():
            for partition, launcher in itertools.product(("grace", "abrupt"), ("srun", "mpirun")):
                with self.subTest(moment=name, partition=partition, launcher=launcher):
                    job, out = self.start(f"{name[:5]}-{partition}-{launcher}", (f"--partition={partition}",), launcher)
                    job.wait_for(lambda job=job, out=out, has_come=has_come: has_come(job, out), name)
                    self.preempt()
                    self.check(job, out, expected)
                    reason = self.record(job, out, 1).get("reason", "")
                    if partition == "grace":
                        self.assertEqual(reason, "preempted", job.text())
                    if partition == "grace" and name.endswith("step"):
                        self.assertIn(" lost (0 steps made again)", job.text().rpartition("GPU-hours")[2])

    def test_preempted_in_the_short_moments(self):
        rows = self.rows(steps=20, size="96*96")
        expected = self.expected(rows)
        for name, has_come in MOMENTS.items():
            for partition, launcher in itertools.product(("grace", "abrupt"), ("srun", "mpirun")):
                with self.subTest(moment=name, partition=partition, launcher=launcher):
                    for attempt in range(5):  # a moment of milliseconds may be missed
                        folder = f"{name}-{partition}-{launcher}-{attempt}"
                        job, out = self.start(folder, (f"--partition={partition}",), launcher, rows=rows)
                        if self.catch(job, out, has_come, name):
                            break
                        self.assert_completed(job.wait(timeout_s=300))
                    else:
                        self.fail(f"no {name}: {job.text()}")
                    self.preempt()
                    wait_until(lambda job=job: job.fields().get("PreemptTime", "None") != "None" or job.restarts > 0, 60, "not preempted")
                    self.halt(job, signal.SIGCONT)
                    restarts = 1
                    if partition == "grace" and name in ("decode", "writing"):  # the last row may be done within the grace time
                        self.assert_completed(job.wait(timeout_s=300))
                        restarts = min(job.restarts, 1)
                    self.check(job, out, expected, restarts)
                    if partition == "grace" and restarts == 1:
                        self.assertEqual(self.record(job, out, 1).get("reason"), "preempted", job.text())
                        self.assertIn(" lost (0 steps made again)", job.text().rpartition("GPU-hours")[2])

    def catch(self, job: Job, out: Path, has_come, what: str) -> bool:
        """Halts the ranks at a moment. False if the run was over before."""
        wait_until(lambda: job.state == "RUNNING", 60, f"job {job.id} does not start")
        is_over = (out / "run.json").exists
        wait_until(lambda: has_come(job, out) or is_over(), 120, f"no {what}: {job.text()}", interval_s=0.002)
        if is_over():
            return False
        self.halt(job, signal.SIGSTOP)
        return True

    def halt(self, job: Job, how: signal.Signals) -> None:
        for process in ranks_of(job).values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, how)

    # --- the controller is away ---

    def test_the_controller_is_away_at_a_stop(self):
        expected = self.expected()
        job, out = self.start("out")
        job.wait_for(lambda: steps_in_flight(out) >= 20, "step 20")
        shell = self.shell_of(job)
        timer = self.away()
        os.kill(shell, signal.SIGUSR1)
        timer.join()
        self.check(job, out, expected)
        self.assertIn("requeueing job", job.text())

    def test_the_controller_is_away_during_the_requeue(self):
        """It stops as the script asks for the requeue, so that the request is on its way or has just been granted."""
        rows = self.rows(steps=100, size="96*96")
        expected = self.expected(rows)
        job, out = self.start("out", rows=rows)
        job.wait_for(lambda: steps_in_flight(out) >= 20, "step 20")
        os.kill(self.shell_of(job), signal.SIGUSR1)
        wait_until(lambda: "requeueing job" in job.text(), 60, "the job is not requeued", interval_s=0.01)
        self.away().join()
        self.check(job, out, expected)

    def test_the_controller_is_away_at_a_start(self):
        expected = self.expected()
        job, out = self.start("out")
        wait_until(lambda: job.state == "RUNNING", 30, "the job does not start", interval_s=0.02)
        self.away().join()
        self.check(job, out, expected, restarts=0)

    # --- nodes and ranks ---

    def test_a_node_is_set_down(self):
        expected = self.expected()
        job, out = self.start("out", ("--ntasks-per-node=1", "--gpus-per-node=1"), "srun", "i2v_multinode.sh")
        job.wait_for(lambda: steps_in_flight(out) >= 20, "step 20")
        cluster().ask("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
        try:
            job.wait_for(lambda: job.state == "PENDING", "requeue", timeout_s=60)
        finally:
            with contextlib.suppress(RuntimeError):  # the node may have come back by itself
                cluster().ask("scontrol", "update", "NodeName=n2", "State=RESUME")
        self.check(job, out, expected)

    def test_a_killed_rank(self):
        expected = self.expected()
        for launcher in ("srun", "mpirun"):
            with self.subTest(launcher=launcher):
                job, out = self.start(launcher, (), launcher)
                job.wait_for(lambda out=out, job=job: steps_in_flight(out) >= 20 and len(ranks_of(job)) == 2, "step 20")
                os.kill(ranks_of(job)[1], signal.SIGKILL)
                self.check(job, out, expected)
                self.assertEqual(self.record(job, out, 1)["reason"], "a rank died (SIGKILL)", job.text())

    def test_a_crash_in_each_start_ends_the_chain(self):
        program = self.folder / "program.sh"
        program.write_text(f"""#!/bin/bash
[ "$1" != places ] || {{ echo output_dir={self.out}; exit; }}
[ "$1" != status ] || exit 0
touch "$WAN_JOB_START.mpi"
[ "$PMIX_RANK" != 0 ] || echo '{{"failed":0,"in_hand":1,"made":0,"steps_made":1}}' >"$WAN_JOB_START.group-0.json"
trap 'exit 1' TERM  # wan_batch takes SIGTERM for a stop and does not die of it
sleep 1
[ "$PMIX_RANK" != 1 ] || kill -SEGV $$
while :; do sleep 0.1; done
""")
        program.chmod(0o755)
        job = self.submit("i2v_2gpu.sh", ["manifest.csv"], (), {"WAN_BATCH": str(program)}).wait(timeout_s=300)
        self.assertEqual((job.state, job.exit_code, job.restarts), ("FAILED", 139, 3), job.text())
        self.assertIn("not requeued: a rank died (SIGSEGV), and so did one in 3 earlier starts of this job", job.text())

    # --- what users see ---

    def test_the_comment_and_the_users_own(self):
        job, _ = self.start("out", ("--comment=for Anna",))
        job.wait_for(lambda: "wan_batch: " in self.comment(job), "progress in the Comment", timeout_s=70)
        self.assertRegex(self.comment(job), r"^for Anna \| wan_batch: [01]/2 done, (step \d+/\d+, )?(ends \d\d:\d\d, )?start 1$")
        self.assert_completed(job.wait(timeout_s=200))
        self.assertEqual(self.comment(job), "for Anna | wan_batch: 2/2 done, start 1")

    def comment(self, job: Job) -> str:
        return cluster().ask("squeue", "--noheader", "--states=all", f"--jobs={job.id}", "--format=%k").strip()

    def test_status_and_account_by_hand(self):
        job, out = self.start("out", ("--hold",))
        program = os.environ.get("WAN_BATCH", "")
        wait_until(lambda: job.state == "PENDING", 10, "not pending")
        cluster().ask("scontrol", "release", job.id)
        job.wait_for(lambda: steps_in_flight(out) >= 5, "step 5")

        def status(*words: str) -> str:
            return subprocess.run([program, "status", *words, str(out)], env=cluster().environment(), capture_output=True, text=True,
                                  check=True).stdout
        self.assertIn(f"job         {job.id}: running, 1 start so far", status())
        self.assertIn("(it runs)", status("--job", job.id))
        cluster().ask("scontrol", "requeuehold", job.id)
        held = f"job         {job.id}: held: `scontrol release {job.id}` lets it go"
        wait_until(lambda: held in status(), 60, "not held", interval_s=1)  # before that, Slurm is still ending the start
        started = time.monotonic()
        cluster().ask("scontrol", "release", job.id)
        self.assert_completed(job.wait(timeout_s=200))
        self.assertLess(time.monotonic() - started, 200)
        self.assertIn("2 starts, 2 of 2 rows done", job.text())
        self.assertIn(f"  next: nothing, all rows are done; see {os.path.realpath(program)} status {out}", job.text())


if __name__ == "__main__":
    unittest.main()
