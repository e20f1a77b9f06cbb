"""Shared by the tests of jobs that are disturbed from outside."""

import re
import threading
from pathlib import Path

from slurm_case import Job, SlurmCase, cluster
from test_requeue import fingerprint

AWAY_S = 60
STEPS = 300


class SurvivalCase(SlurmCase):
    def rows(self, steps: int = STEPS, size: str = "192*192") -> Path:
        path = self.folder / f"rows{steps}.csv"
        path.write_text("id,image,prompt,sample_steps,size,frame_num\nrow0,good.png,A white cat,2,64*64,5\n"
                        f"row1,good.png,A black cat,{steps},{size},9\n")
        return path

    def start(self, name: str, options: tuple[str, ...] = (), launcher: str = "srun", script: str = "i2v_2gpu.sh",
              rows: Path | None = None) -> tuple[Job, Path]:
        out = self.folder / name
        arguments = [*self.arguments(rows or self.rows(), out), "--save-latents"]
        return self.submit(script, arguments, options, {"WAN_LAUNCHER": launcher}), out

    def expected(self, rows: Path | None = None) -> dict[str, str]:
        job, out = self.start("whole", rows=rows)
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
