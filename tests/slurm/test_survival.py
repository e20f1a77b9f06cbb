"""Jobs that are disturbed from outside: preempted, with the controller away, with a node down, with ranks that crash."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
import unittest
from pathlib import Path

from slurm_case import Job, SlurmCase, cluster, ranks_of, wait_until
from test_requeue import fingerprint, steps_in_flight

AWAY_S = 60
STEPS = 300


class Survival(SlurmCase):
    def rows(self, steps: int = STEPS) -> Path:
        path = self.folder / "rows.csv"
        path.write_text("id,image,prompt,sample_steps,size,frame_num\nrow0,good.png,A white cat,2,64*64,5\n"
                        f"row1,good.png,A black cat,{steps},192*192,9\n")
        return path

    def start(self, name: str, options: tuple[str, ...] = (), launcher: str = "srun", script: str = "i2v_2gpu.sh") -> tuple[Job, Path]:
        out = self.folder / name
        return self.submit(script, [*self.arguments(self.rows(), out), "--save-latents"], options, {"WAN_LAUNCHER": launcher}), out

    def expected(self) -> dict[str, str]:
        job, out = self.start("whole")
        self.assert_completed(job.wait(timeout_s=300))
        return fingerprint(out)

    def record(self, job: Job, out: Path, start: int) -> dict[str, str]:
        """The last value of each name in a start's record."""
        lines = (out / ".jobs" / job.id / f"start-{start}").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def preempt(self) -> None:
        """A job that needs all of both nodes, and more urgently."""
        command = ["sbatch", "--parsable", "--partition=high", "--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=sleep 1"]
        cluster().ask(*command)

    def check(self, job: Job, out: Path, expected: dict[str, str], restarts: int = 1) -> None:
        self.assert_completed(job.wait(timeout_s=300))
        self.assertEqual(job.restarts, restarts, job.text())
        self.assertEqual(fingerprint(out), expected, job.text())
        self.assertNotIn("somebody wants", job.text())
        self.assertNotIn("being cancelled", job.text())

    # --- preemption ---

    def test_preempted_at_any_moment(self):
        moments = {"libraries": lambda job, out: ": run: " in job.text(),
                   "checkpoint": lambda job, out: any(out.glob(".jobs/*/start-1.mpi")),
                   "step": lambda job, out: steps_in_flight(out) >= 5,
                   "later step": lambda job, out: steps_in_flight(out) >= STEPS // 2}
        expected = self.expected()
        for index, (name, has_come) in enumerate(moments.items()):
            for partition in ("grace", "abrupt"):
                launcher = ("srun", "mpirun")[index % 2]
                with self.subTest(moment=name, partition=partition, launcher=launcher):
                    job, out = self.start(f"{partition}{index}", (f"--partition={partition}",), launcher)
                    job.wait_for(lambda job=job, out=out, has_come=has_come: has_come(job, out), name)
                    self.preempt()
                    self.check(job, out, expected)
                    reason = self.record(job, out, 1).get("reason", "")
                    if partition == "grace":
                        self.assertEqual(reason, "preempted", job.text())
                    if partition == "grace" and name.endswith("step"):
                        self.assertIn(" lost (0 steps made again)", job.text().rpartition("GPU-hours")[2])

    # --- the controller is away ---

    def away(self, seconds: float = AWAY_S) -> threading.Timer:
        """Stops the controller now and starts it after a while."""
        cluster().stop_controller()
        timer = threading.Timer(seconds, cluster().start_controller)
        timer.start()
        self.addCleanup(timer.join)
        return timer

    def shell_of(self, job: Job) -> int:
        """The process of the job's batch script."""
        number = job.id.encode()
        for process in Path("/proc").iterdir():
            if not process.name.isdecimal():
                continue
            try:
                is_script = b"slurm_script" in (process / "cmdline").read_bytes()
                is_of_job = b"SLURM_JOB_ID=" + number + b"\0" in (process / "environ").read_bytes()
                parent = process.parent / self.parent(process)
                if is_script and is_of_job and "slurmstepd" in (parent / "cmdline").read_text():
                    return int(process.name)
            except OSError:
                continue
        raise AssertionError(f"no script of job {job.id}")

    @staticmethod
    def parent(process: Path) -> str:
        return re.search(r"PPid:\s*(\d+)", (process / "status").read_text())[1]

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


if __name__ == "__main__":
    unittest.main()
