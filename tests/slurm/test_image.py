"""Jobs whose program comes from an image, on two nodes. WAN_TEST_IMAGE is a folder or a .sqfs that ch-run runs.

tests/slurm/make_image.py builds one by containers/Containerfile.
"""

import os
import shutil
import signal
import unittest

from cli_case import PROJECT
from slurm_case import Job, SlurmCase
from test_requeue import fingerprint, steps_in_flight

IMAGE = os.environ.get("WAN_TEST_IMAGE")


@unittest.skipUnless(IMAGE and shutil.which("ch-run"), "WAN_TEST_IMAGE names no image, or ch-run is not installed")
class Image(SlurmCase):
    def start(self, name: str, launcher: str, script: str = "i2v_multinode.sh", steps: int = 4) -> Job:
        options = () if script == "i2v_2gpu.sh" else ("--ntasks-per-node=1",)
        demo = self.folder / "inputs" / "demo"
        if not demo.exists():  # below /tmp, which ch-run shows
            shutil.copytree(PROJECT / "inputs" / "demo", demo, ignore=shutil.ignore_patterns("train"))
        arguments = ["--device", "cpu", "--config", "inputs/demo/demo.cfg", "--sample-steps", str(steps), "--frame-num", "9",
                     "--shard", "0/3", "--output-dir", str(self.folder / name), "--save-latents"]
        return self.submit(script, arguments, options, {"WAN_LAUNCHER": launcher, "WAN_IMAGE": str(IMAGE), "WAN_BATCH": ""})

    def test_two_nodes_with_both_launchers_have_the_same_bytes(self):
        made = {}
        for launcher in ("srun", "mpirun"):
            with self.subTest(launcher=launcher):
                job = self.start(launcher, launcher).wait(timeout_s=300)
                self.assert_completed(job)
                self.assertIn(f"image: {IMAGE}, ", job.text())
                self.assertRegex(job.text(), rf": run: {launcher} .* ch-run .* {IMAGE} -- /opt/wan_batch/bin/wan_batch ")
                self.assertIn("2 items (shard 0/3 of 6), 2 ranks in 1 group", job.text())
                self.assertIn("  GPU-hours: ", job.text())  # the account is by the image's program, too
                made[launcher] = fingerprint(self.folder / launcher)
        self.assertEqual(len(made["srun"]), 4)
        self.assertEqual(made["srun"], made["mpirun"])

    def test_a_stop_reaches_the_ranks_in_the_image(self):
        for launcher in ("srun", "mpirun"):
            with self.subTest(launcher=launcher):
                name = f"stop_{launcher}"
                job = self.start(name, launcher, "i2v_2gpu.sh", steps=300)
                job.wait_for(lambda name=name: steps_in_flight(self.folder / name) >= 5, "step 5")
                job.signal(signal.Signals.SIGUSR1.name[3:])
                self.assert_completed(job.wait(timeout_s=300))
                self.assertEqual(job.restarts, 1, job.text())
                self.assertRegex(job.text(), r"stopped early: [1-9]\d* steps")


if __name__ == "__main__":
    unittest.main()
