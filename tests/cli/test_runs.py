"""Whole runs: the demo, one request without a manifest, and a run that is killed."""

import json
import signal
import subprocess
import time
from pathlib import Path

from cli_case import CHECKPOINT, DONE, PROJECT, SMALL, CliCase, environment


class Runs(CliCase):
    def test_the_demo(self):
        command = self.command("--config", "inputs/demo/demo.cfg", "--output-dir", self.out, ranks=2)
        done = subprocess.run(command, cwd=PROJECT, env=environment(), timeout=300, capture_output=True, text=True)
        self.assertEqual(done.returncode, DONE, done.stderr)
        sizes = sorted((record["width"], record["height"], record["frames"]) for record in self.records().values())
        # Four aspect ratios on an area of 96*64: whole multiples of 16, rounded down.
        self.assertEqual(sizes, [(64, 64, 5), (64, 96, 9), (96, 48, 5), (96, 64, 9)])
        self.assertEqual(len(list(self.out.glob("*.mp4"))), 4)
        self.assertTrue((self.out / "run.json").is_file())

    def test_one_request(self):
        result = self.run_program("--ckpt_dir", CHECKPOINT, "--image", "good.png", "--prompt", "A white cat", "--save_file", "cat.mp4",
                                  "--output-dir", self.out, *SMALL)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual([path.name for path in self.folder.rglob("*.mp4")], ["cat.mp4"])

    def records(self) -> dict[str, dict]:
        records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in self.out.glob("*.json")}
        return {name: record for name, record in records.items() if record.get("status") == "done"}

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
                file.visititems(lambda _, node: lengths.append(node.shape[0] if isinstance(node, h5py.Dataset) and node.shape else 0))
                longest = max([longest, *lengths])
        return longest

    def test_kill_in_mid_item_loses_and_repeats_nothing(self):
        manifest = self.manifest("id,image,prompt,sample_steps", "one,good.png,A white cat,2", "two,good.png,A black cat,400",
                                 "three,good.png,A dog,2")
        arguments = ["--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, manifest]
        with open(self.folder / "killed.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(self.command(*arguments), cwd=self.folder, env=environment(), stdout=log, stderr=log)
            try:
                self.wait_for(self.out / "one.json", process, timeout_s=60)
                time.sleep(0.5)  # well into the 400 steps of the second item
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self.assertEqual(set(self.records()), {"one"})
        self.assertEqual([path.name for path in self.out.glob("*.mp4")], ["one.mp4"])
        self.assertGreater(self.steps_in_traces(), 2)
        first = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in self.out.glob("one.*")}

        result = self.run_program(*arguments)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(set(self.records()), {"one", "two", "three"})
        self.assertEqual({path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in self.out.glob("one.*")}, first)
        hidden = [path.name for path in self.out.glob(".*") if path.name != ".claims"]
        self.assertEqual(hidden, [], "the killed run's unfinished files are still there")
        made = {path.name: path.stat().st_mtime_ns for path in self.out.glob("*.mp4")}

        self.assertEqual(self.run_program(*arguments).code, DONE)
        self.assertEqual({path.name: path.stat().st_mtime_ns for path in self.out.glob("*.mp4")}, made)
