"""Jobs that have to stop: they exit with 85, are requeued if they gained something, and end with the bytes of a run without a stop."""

import hashlib
import os
import random
import re
import unittest
from pathlib import Path

from slurm_case import STOPPED_EARLY, Job, SlurmCase, cluster, wait_until

# (script, launcher, sbatch options): two ranks each, so that all have the layout of the run they are compared with.
PLACES = [("i2v_2gpu.sh", "srun", ()), ("i2v_multinode.sh", "mpirun", ("--ntasks-per-node=1",)),
          ("i2v_multinode.sh", "srun", ("--ntasks-per-node=1",)), ("i2v_2gpu.sh", "mpirun", ())]
STEPS = 300  # of the long item
STOPS = int(os.environ.get("WAN_SLURM_STOPS", "4"))  # besides the one that comes from Slurm itself


def fingerprint(out: Path) -> dict[str, str]:
    """SHA-256 of every video and every file of latents and frames."""
    files = [*out.glob("*.mp4"), *out.glob("*.safetensors")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def steps_in_flight(out: Path) -> int:
    """Of the item in flight, as the claim's owner publishes it."""
    steps = [int(number) for path in (out / ".claims").glob("*") if path.is_file()
             for number in re.findall(r'"step": ?(\d+)', path.read_text(errors="replace"))]
    return max(steps, default=0)


class RealStops(SlurmCase):
    """wan_batch on the toy model; row1 is the long one."""

    def rows(self) -> Path:
        path = self.folder / "rows.csv"
        path.write_text("id,image,prompt,sample_steps\nrow0,good.png,A white cat,2\n" f"row1,good.png,A black cat,{STEPS}\n"
                        "row2,good.png,A dog,2\n")
        return path

    def start(self, index: int, *options: str) -> tuple[Job, Path]:
        script, launcher, of_place = PLACES[index % len(PLACES)]
        out = self.folder / f"out{index}"
        job = self.submit(script, [*self.arguments(self.rows(), out), "--save-latents"], (*of_place, *options), {"WAN_LAUNCHER": launcher})
        return job, out

    def check_same_bytes(self, job: Job, out: Path, expected: dict[str, str]) -> None:
        self.assert_completed(job)
        self.assertEqual(job.restarts, 1, job.text())
        self.assertRegex(job.text(), r"stopped early: [1-9]\d* steps and [01] items gained")
        self.assertEqual(job.text().count("requeueing job"), 1, job.text())
        self.assertEqual(set(self.records(out)), {"row0", "row1", "row2"})
        self.assertEqual(fingerprint(out), expected, job.text())

    def test_stopped_jobs_go_on_and_end_with_the_same_bytes(self):
        reference, whole = self.start(-len(PLACES))
        # Slurm sends the signal 100 s before the limit of 120 s.
        by_slurm, out_by_slurm = self.start(0, "--time=2", "--signal=B:USR1@105")
        stopped = [(by_slurm, out_by_slurm)]
        random.seed(5)
        moments = [random.randint(1, STEPS - 20) for _ in range(STOPS)]
        for first in range(0, STOPS, 4):
            wave = [(moment, *self.start(1 + first + place)) for place, moment in enumerate(moments[first:first + 4])]
            for moment, job, out in sorted(wave, key=lambda one: one[0]):
                job.wait_for(lambda out=out, moment=moment: steps_in_flight(out) >= moment, f"step {moment}")
                job.signal("USR1")
            stopped += [(job, out) for _, job, out in wave]
            for _, job, _ in wave:
                job.wait(timeout_s=180)
        self.assert_completed(reference.wait(timeout_s=180))
        expected = fingerprint(whole)
        self.assertEqual(len(expected), 6)
        for job, out in stopped:
            with self.subTest(job=job.id):
                self.check_same_bytes(job.wait(timeout_s=180), out, expected)

    def test_a_start_that_gains_no_step_is_not_requeued(self):
        arguments = [*self.arguments(self.rows()), "--time-limit", "00:00:01"]
        job = self.submit("i2v_2gpu.sh", arguments).wait()
        self.assertEqual((job.state, job.exit_code, job.restarts), ("FAILED", 1, 0), job.text())
        self.assertIn("not requeued: no step was gained since this start", job.text())


class Decisions(SlurmCase):
    """Requeue or not, with a stand-in for wan_batch that stops as it does and says what it gained."""

    def knobs(self, steps: int = 7, made: int = 0, exits: int = STOPPED_EARLY) -> dict[str, str]:
        program = self.folder / f"program{len(list(self.folder.iterdir()))}.sh"
        record = f'{{\n  "counts": {{\n    "made": {made}\n  }},\n  "exit_code": {STOPPED_EARLY},\n  "steps_gained": {steps}\n}}'
        program.write_text(f"""#!/bin/bash
[ -z "$SLURM_RESTART_COUNT" ] || {{ echo "went on: $*"; exit; }}
stop() {{ [ "$PMIX_RANK" != 0 ] || echo '{record}' >"$2"; echo "rank $PMIX_RANK got USR1"; exit {exits}; }}
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
            self.assertIn("went on: --run-record", job.text())
            self.assertIn(f"requeueing job {job.id}\n", job.text())
        self.assertIn("--shard 1/2 manifest.csv", jobs[-1].text())

    def stopped_array(self) -> list[Job]:
        """The second of two tasks, requeued; the first ends untouched."""
        array = self.submit("i2v_array.sh", ["manifest.csv"], ("--array=0-1", "--ntasks-per-node=1"), self.knobs())
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
