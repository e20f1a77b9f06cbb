"""Jobs that must stop. They exit with 85, are requeued if they gained a step, and end with the bytes of an uninterrupted run."""

import hashlib
import os
import random
import re
import signal
import time
import unittest
from pathlib import Path

from slurm_case import STOPPED_EARLY, Job, SlurmCase, cluster, ranks_of, wait_until

# (script, launcher, sbatch options): two ranks each, so that all have the layout of the run they are compared with.
PLACES = [("i2v_2gpu.sh", "srun", ()), ("i2v_multinode.sh", "mpirun", ("--ntasks-per-node=1",)),
          ("i2v_multinode.sh", "srun", ("--ntasks-per-node=1",)), ("i2v_2gpu.sh", "mpirun", ())]
STEPS = 500  # of the long item: those left when the signal is sent take longer than it travels
STOPS = int(os.environ.get("WAN_SLURM_STOPS", "5"))
WAVE = 5  # jobs at a time


def fingerprint(out: Path) -> dict[str, str]:
    """SHA-256 of every video and every file of latents and frames."""
    files = [*out.glob("*.mp4"), *out.glob("*.safetensors")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def steps_in_flight(out: Path) -> int:
    """Steps of the current item, as the claim's owner publishes them."""
    steps = [int(number) for path in (out / ".claims").glob("*") if path.is_file()
             for number in re.findall(r'"step": ?(\d+)', path.read_text(errors="replace"))]
    return max(steps, default=0)


class RealStops(SlurmCase):
    """wan_batch on the toy model; row1 is the long one."""

    def rows(self, steps: int = STEPS, size: str = "192*192") -> Path:
        path = self.folder / "rows.csv"
        path.write_text("id,image,prompt,sample_steps,size,frame_num\nrow0,good.png,A white cat,2,64*64,5\n"
                        f"row1,good.png,A black cat,{steps},{size},9\nrow2,good.png,A dog,2,64*64,5\n")
        return path

    def start(self, index: int) -> tuple[Job, Path]:
        script, launcher, options = PLACES[index % len(PLACES)]
        out = self.folder / f"out{index}"
        job = self.submit(script, [*self.arguments(self.rows(), out), "--save-latents"], options, {"WAN_LAUNCHER": launcher})
        return job, out

    def signal_each_at_its_step(self, wave: list[tuple[int, Job, Path]]) -> None:
        waiting = list(wave)
        deadline = time.monotonic() + 300
        while waiting:
            self.assertLess(time.monotonic(), deadline, [job.text() for _, job, _ in waiting])
            due = [one for one in waiting if steps_in_flight(one[2]) >= one[0]]
            for one in due:
                one[1].signal("USR1")
                waiting.remove(one)
            for _, job, _ in waiting:
                self.assertNotIn("exit code", job.text(), "the job ended before its step came")
            time.sleep(0.05)

    def halt(self, job: Job, how: signal.Signals) -> int:
        """Stops the job's ranks where they are, or lets them go on; returns how many."""
        processes = ranks_of(job).values()
        for process in processes:
            os.kill(process, how)
        return len(processes)

    def check_same_bytes(self, job: Job, out: Path, expected: dict[str, str]) -> None:
        self.assert_completed(job)
        self.assertEqual(job.restarts, 1, job.text())
        self.assertRegex(job.text(), r"stopped early: [1-9]\d* steps and [01] items gained")
        self.assertEqual(job.text().count("requeueing job"), 1, job.text())
        self.assertEqual(set(self.records(out)), {"row0", "row1", "row2"})
        self.assertEqual(fingerprint(out), expected, job.text())

    def test_stopped_jobs_go_on_and_end_with_the_same_bytes(self):
        reference, whole = self.start(0)
        random.seed(5)
        moments = [random.randint(1, STEPS // 2) for _ in range(STOPS)]
        stopped = []
        for first in range(0, STOPS, WAVE):
            wave = [(moment, *self.start(1 + first + place)) for place, moment in enumerate(moments[first:first + WAVE])]
            self.signal_each_at_its_step(wave)
            stopped += [(job.wait(timeout_s=400), out) for _, job, out in wave]
        self.assert_completed(reference.wait(timeout_s=300))
        expected = fingerprint(whole)
        self.assertEqual(len(expected), 6)
        for job, out in stopped:
            with self.subTest(job=job.id):
                self.check_same_bytes(job, out, expected)

    def test_slurms_own_signal_before_the_time_limit(self):
        script, _, options = PLACES[1]
        job = self.submit(script, self.arguments(self.rows(1000, "352*352")), ("--signal=B:USR1@150", *options))
        job.wait_for(lambda: steps_in_flight(self.out) >= 20, "step 20")
        # Slurm looks at time limits every 30 s: in that time a fast machine would end the item.
        self.assertEqual(self.halt(job, signal.SIGSTOP), 2)
        # A limit one to two minutes away, so that the notice is due.
        hours, minutes, _ = map(int, job.fields()["RunTime"].split(":"))
        cluster().ask("scontrol", "update", f"JobId={job.id}", f"TimeLimit={hours * 60 + minutes + 2}")
        job.wait_for(lambda: "told to stop (SIGUSR1)" in job.text(), "signal", timeout_s=60)
        self.assertEqual(self.halt(job, signal.SIGCONT), 2)
        job.wait_for(lambda: "requeueing" in job.text() and job.state == "PENDING", "requeue")
        cluster().ask("scontrol", "update", f"JobId={job.id}", "TimeLimit=60")  # no such notice to the second start
        self.assertEqual(steps_in_flight(self.out), 0, "the first start's claim is still there")
        gained = int(re.search(r"stopped early: (\d+) steps", job.text())[1])
        self.assertIn(gained, range(20, 1000), "the item was not stopped amid its steps")
        job.wait_for(lambda: steps_in_flight(self.out) > 0, "second start at work", timeout_s=60)
        self.assertGreaterEqual(steps_in_flight(self.out), gained - 2, "the item began anew")  # row0 has two
        self.assertEqual(job.restarts, 1)

    def test_a_start_that_gains_no_step_is_not_requeued(self):
        # Encoding an image of this size takes longer than the limit.
        path = self.folder / "rows.csv"
        path.write_text("id,image,prompt,size,frame_num\nrow0,good.png,A white cat,448*448,9\n")
        job = self.submit("i2v_2gpu.sh", [*self.arguments(path), "--time-limit", "00:00:01"]).wait(timeout_s=300)
        self.assertEqual((job.state, job.exit_code, job.restarts), ("FAILED", 1, 0), job.text())
        self.assertIn("not requeued: no step was gained since this start", job.text())


class Decisions(SlurmCase):
    """Requeue or not, with a stand-in for wan_batch that stops as it does and says what it gained."""

    def knobs(self, steps: int = 7, made: int = 0, exits: int = STOPPED_EARLY) -> dict[str, str]:
        program = self.folder / f"program{len(list(self.folder.iterdir()))}.sh"
        record = f'{{\n  "counts": {{\n    "made": {made}\n  }},\n  "exit_code": {STOPPED_EARLY},\n  "steps_gained": {steps}\n}}'
        program.write_text(f"""#!/bin/bash
[ "$1" != places ] || {{ echo output_dir={self.out}; exit; }}
[ "$1" != status ] || exit 0
[ -z "$SLURM_RESTART_COUNT" ] || {{ echo "went on: $*"; exit; }}
stop() {{
  mkdir -p {self.out}
  [ "$PMIX_RANK" != 0 ] || echo '{record}' >"$WAN_JOB_START.run.json"
  echo "rank $PMIX_RANK got USR1"
  exit {exits}
}}
trap 'stop "$@"' USR1
echo "rank $PMIX_RANK is ready"
while :; do sleep 0.1; done
""")
        program.chmod(0o755)
        return {"WAN_BATCH": str(program)}

    def stopped(self, knobs: dict[str, str], *options: str, signal: str = "USR1") -> Job:
        """A job of two ranks that was told to stop."""
        job = self.submit("i2v_2gpu.sh", ["manifest.csv"], options, knobs)
        job.wait_for(lambda: job.text().count("is ready") == 2, "two ranks ready")
        job.signal(signal)
        return job

    def assert_ended(self, job: Job, code: int, said: str) -> None:
        job.wait()
        self.assertEqual((job.state, job.exit_code, job.restarts), ("FAILED", code, 0), job.text())
        self.assertEqual(job.text().count("got USR1"), 2, job.text())
        self.assertIn(said, job.text())

    def test_all_that_is_requeued(self):
        jobs = [self.stopped(self.knobs(steps, made, exits)) for steps, made, exits in
                ((7, 0, STOPPED_EARLY), (0, 1, STOPPED_EARLY), (7, 0, 143))]  # 143: a rank that the launcher ended
        jobs += self.stopped_array()
        for job in jobs:
            self.assert_completed(job.wait())
            self.assertEqual(job.restarts, 1, job.text())
            self.assertIn("went on: ", job.text())
            self.assertIn(f"requeueing job {job.id}\n", job.text())
        self.assertIn("--shard 1/2 manifest.csv", jobs[-1].text())

    def stopped_array(self) -> list[Job]:
        """The second of two tasks, requeued; the first ends untouched."""
        array = self.submit("i2v_array.sh", ["manifest.csv"], ("--array=0-1", "--ntasks-per-node=1", "--gpus-per-node=1"), self.knobs())
        first, second = self.tasks(array, 2)
        for task in (first, second):
            task.wait_for(lambda task=task: "is ready" in task.text(), "rank ready")
        second.signal("USR1")
        wait_until(lambda: "requeueing" in second.text(), 30, "no requeue")
        cluster().ask("scancel", first.id)
        first.wait()
        self.assertEqual((first.state, first.restarts), ("CANCELLED", 0), first.text())
        return [second]

    def test_nothing_gained(self):
        job = self.stopped(self.knobs(steps=0))
        self.assert_ended(job, 1, "not requeued: no step was gained since this start")

    def test_slurm_refuses(self):
        job = self.stopped(self.knobs(), "--no-requeue")
        self.assert_ended(job, STOPPED_EARLY, "not requeued: Slurm says: ")

    def test_switched_off(self):
        job = self.stopped(self.knobs() | {"WAN_REQUEUE": "off"})
        self.assert_ended(job, STOPPED_EARLY, "not requeued: WAN_REQUEUE is off")

    def test_told_to_end(self):
        job = self.stopped(self.knobs(), signal="TERM")
        self.assert_ended(job, STOPPED_EARLY, "not requeued: SIGTERM means that somebody wants the job to end")

    def test_cancelled(self):
        job = self.submit("i2v_2gpu.sh", ["manifest.csv"], (), self.knobs())
        job.wait_for(lambda: job.text().count("is ready") == 2, "two ranks ready")
        cluster().ask("scancel", job.id)
        job.wait()
        self.assertEqual((job.state, job.restarts), ("CANCELLED", 0), job.text())
        self.assertNotIn("requeueing", job.text())


if __name__ == "__main__":
    unittest.main()
