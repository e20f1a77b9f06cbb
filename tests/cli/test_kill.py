"""Runs that are killed: nothing finished is lost or repeated, nothing half-made has a final name."""

import os
import signal
import subprocess
import time
from pathlib import Path

from cli_case import CHECKPOINT, DONE, SMALL, CliCase, environment


def processes_of(program_run: subprocess.Popen) -> list[int]:
    """Process ids of the ranks that an mpirun started."""
    children = Path(f"/proc/{program_run.pid}/task/{program_run.pid}/children").read_text().split()
    return sorted(int(child) for child in children)


class Killed(CliCase):
    def wait_for(self, path: Path, process: subprocess.Popen, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not path.exists():
            self.assertIsNone(process.poll(), f"the run ended with {process.returncode} before {path.name} was there")
            self.assertLess(time.monotonic(), deadline, f"{path.name} did not come")
            time.sleep(0.02)

    def steps_in_traces(self) -> int:
        """Rows of the longest dataset of any trace; h5py must open every file of the killed run."""
        try:
            import h5py
        except ImportError:
            self.skipTest("h5py is not installed (jobs/setup.sh does)")
        longest = 0
        files = list(self.out.rglob("*.h5"))
        self.assertNotEqual(files, [], "the run left no trace")
        for path in files:
            with h5py.File(path, "r") as file:
                lengths = []
                file.visititems(lambda _, node, n=lengths: n.append(node.shape[0] if isinstance(node, h5py.Dataset) and node.shape else 0))
                longest = max([longest, *lengths])
        return longest

    def kill_in_second_item(self, ranks: int) -> list:
        """Kills one process with SIGKILL well inside the second of three items; returns the arguments of the run."""
        manifest = self.manifest("id,image,prompt,sample_steps", "one,good.png,A white cat,2", "two,good.png,A black cat,300",
                                 "three,good.png,A dog,2")
        arguments = ["--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, manifest]
        with open(self.folder / "killed.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(self.command(*arguments, ranks=ranks), cwd=self.folder, env=environment(), stdout=log,
                                       stderr=log)
            try:
                self.wait_for_step(process, "two", 10)
                self.wait_for(self.out / "one.json", process, timeout_s=60)  # a thread writes it beside the steps
            finally:
                victim = processes_of(process)[-1] if ranks else process.pid
                os.kill(victim, signal.SIGKILL)
                self.assertNotEqual(process.wait(timeout=60), DONE)
        return arguments

    def check_killed_and_finished(self, ranks: int) -> None:
        arguments = self.kill_in_second_item(ranks)
        self.assertEqual(set(self.records()), {"one"})
        self.assertEqual([path.name for path in self.out.glob("[!.]*.mp4")], ["one.mp4"])
        self.assertEqual(list(self.out.glob("*.failed.json")), [])
        self.assertGreater(self.steps_in_traces(), 2)
        first = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in self.out.glob("one.*")}

        result = self.run_program(*arguments, ranks=ranks)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(set(self.records()), {"one", "two", "three"})
        self.assertEqual({path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in self.out.glob("one.*")}, first)
        hidden = [path.name for path in self.out.glob(".*") if path.name not in (".claims", ".state")]
        self.assertEqual(hidden, [], "the killed run's unfinished files are still there")
        made = {path.name: path.stat().st_mtime_ns for path in self.out.glob("*.mp4")}

        self.assertEqual(self.run_program(*arguments, ranks=ranks).code, DONE)
        self.assertEqual({path.name: path.stat().st_mtime_ns for path in self.out.glob("*.mp4")}, made)

    def test_bare(self):
        self.check_killed_and_finished(ranks=0)

    def test_one_rank_of_two(self):
        self.check_killed_and_finished(ranks=2)
