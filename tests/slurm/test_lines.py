"""Lines that users type after sbatch: every node and every GPU of the job has a rank, or the job ends with 2 and the remedy.

Slurm is real; the program is a stand-in that says where its rank runs and which GPUs it sees.
"""

import re
import unittest

from slurm_case import Job, SlurmCase, cluster

# The options of sbatch, the script, and the ranks on each node; or the words of the refusal, with what would be idle or missing.
# Slurm 22.05 puts -n 4 -N 2 on one node and a half, 24.11 on two: the refusal differs.
LINES: list[tuple[str, str, list[int] | str]] = [
    ("", "i2v_2gpu.sh", [2]),
    ("", "i2v_4gpu.sh", [4]),
    ("", "i2v_8gpu.sh", [8]),
    ("", "i2v_multinode.sh", [8, 8]),
    ("--nodes=1", "i2v_multinode.sh", [8]),
    ("--nodes=2", "i2v_2gpu.sh", [2, 2]),
    ("-N 2 -n 4", "i2v_2gpu.sh", [2, 2]),
    ("-N 2 -n 4", "i2v_multinode.sh", "would stay idle"),
    ("--nodes=2 --ntasks=2", "i2v_multinode.sh", "would stay idle"),
    ("--ntasks-per-node=1", "i2v_2gpu.sh", "has 2 GPUs and 1 rank, so 1 GPU would stay idle"),
    ("--ntasks-per-node=4", "i2v_2gpu.sh", "2 GPUs and 4 ranks, and a rank needs a GPU of its own"),
    ("--gpus-per-node=4", "i2v_2gpu.sh", "has 4 GPUs and 2 ranks, so 2 GPUs would stay idle"),
    ("--ntasks-per-node=4 --gpus-per-node=4", "i2v_2gpu.sh", [4]),
    ("--ntasks-per-node=3 --gpus-per-node=3", "i2v_8gpu.sh", [3]),
    ("--ntasks=2", "i2v_4gpu.sh", "has 4 GPUs and 2 ranks, so 2 GPUs would stay idle"),
    ("--gpus-per-task=1", "i2v_2gpu.sh", [2]),
    ("--gpus-per-task=1 --nodes=2", "i2v_2gpu.sh", [2, 2]),
    ("--gpu-bind=single:1", "i2v_4gpu.sh", [4]),
    ("--gres=gpu:2", "i2v_2gpu.sh", [2]),
    ("--gpus=2", "i2v_2gpu.sh", [2]),
    ("--cpus-per-task=4", "i2v_2gpu.sh", [2]),
    ("--mem-per-gpu=100M", "i2v_2gpu.sh", [2]),
    ("--distribution=cyclic", "i2v_multinode.sh", [8, 8]),
    ("--array=0-1", "i2v_array.sh", [2]),
]
STAND_IN = """#!/bin/bash
[ "$1" != places ] || { echo output_dir=; echo device=auto; exit; }
[ "$1" != status ] || exit 0
echo "here: $SLURMD_NODENAME rank $PMIX_RANK GPUs ${CUDA_VISIBLE_DEVICES-unset}"
"""


class Lines(SlurmCase):
    def start(self, options: str, script: str) -> list[Job]:
        program = self.folder / "program.sh"
        if not program.exists():
            program.write_text(STAND_IN)
            program.chmod(0o755)
        job = self.submit(script, ["manifest.csv"], tuple(options.split()), {"WAN_BATCH": str(program), "WAN_LAUNCHER": "srun"})
        return self.tasks(job, 2) if "--array" in options else [job]

    def check(self, job: Job, expected: list[int] | str) -> None:
        job.wait(timeout_s=300)
        text = job.text()
        if isinstance(expected, str):
            self.assertEqual((job.state, job.exit_code), ("FAILED", 2), text)
            self.assertIn(expected, text)
            self.assertIn("Ask for ", text)
            self.assertNotIn("here: ", text)
            seconds = [int(part) for part in job.fields()["RunTime"].split(":")]
            self.assertLess(seconds[-1] + 60 * seconds[-2], 10)
            return
        self.assert_completed(job)
        places = re.findall(r"here: (\w+) rank (\d+) GPUs (\S*)", text)
        self.assertEqual(sorted(int(rank) for _, rank, _ in places), list(range(sum(expected))), text)
        nodes = sorted({node for node, _, _ in places})
        self.assertEqual([sum(node == name for node, _, _ in places) for name in nodes], expected, text)
        for node, _, gpus in places:
            ranks = expected[nodes.index(node)]
            self.assertEqual(len(set(gpus.split(","))), ranks, f"each rank sees all GPUs that the job has on its node: {text}")
        self.assertEqual(int(job.fields()["NumNodes"]), len(expected))

    def test_lines_that_users_type(self):
        self.assertGreaterEqual(len(LINES), 20)
        jobs = [(line, self.start(*line[:2])) for line in LINES]
        for (options, script, expected), tasks in jobs:
            with self.subTest(line=f"sbatch {options} {script}"):
                for job in tasks:
                    self.check(job, expected)

    def test_what_slurm_itself_refuses_names_its_cause(self):
        with self.assertRaisesRegex(RuntimeError, "Requested node configuration is not available"):
            cluster().ask("sbatch", "--gpus-per-node=9", "--wrap=true")


if __name__ == "__main__":
    unittest.main()
