"""wan_doctor: bare and under mpirun, on a machine without GPUs, with good and bad checkpoints and folders."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from cli_case import CHECKPOINT, DONE, FAILURE, MPIEXEC, PROGRAM, USAGE, CliCase, environment

DOCTOR = Path(os.environ.get("WAN_DOCTOR", PROGRAM.parent / "wan_doctor"))


class Doctor(CliCase):
    def doctor(self, *arguments, ranks: int = 0, **variables: str) -> subprocess.CompletedProcess:
        launcher = [MPIEXEC, "-np", str(ranks), "--oversubscribe"] if ranks else []
        return subprocess.run([*launcher, str(DOCTOR), *map(str, arguments)], capture_output=True, text=True, timeout=120,
                              env=environment() | variables, cwd=self.folder, check=False)

    def findings(self, result: subprocess.CompletedProcess) -> dict[str, list[dict]]:
        findings: dict[str, list[dict]] = {}
        for finding in json.loads(result.stdout)["findings"]:
            findings.setdefault(finding["check"], []).append(finding)
        return findings

    def test_looks_at_everything(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                before = self.snapshot()
                result = self.doctor("--json", "--ckpt-dir", CHECKPOINT, "--output-dir", self.out, ranks=ranks)
                findings = self.findings(result)
                for check in ("GPUs", "MPI", "MPI launch", "host memory", "locked memory", "open files", "stack", "/dev/shm", "CPU cores",
                              "environment", "output folder", "disk space", "checkpoint: VAE", "checkpoint: tokenizer"):
                    self.assertIn(check, findings, result)
                failed = [finding for group in findings.values() for finding in group if finding["verdict"] == "FAIL"]
                self.assertEqual(result.returncode, FAILURE if failed else DONE, failed)
                self.assertEqual([finding["verdict"] for finding in findings["MPI launch"]], ["OK"])
                self.assertEqual(findings["MPI launch"][0]["ranks"], list(range(max(1, ranks))))
                self.assertEqual(self.snapshot(), before, "something was left behind")

    def test_table(self):
        result = self.doctor(NCCL_P2P_DISABLE="1")
        self.assertRegex(result.stdout, r"(?m)^OK +MPI +Open MPI|^OK +MPI ")
        self.assertRegex(result.stdout, r"(?m)^WARN +environment +NCCL_P2P_DISABLE=1: ")
        self.assertRegex(result.stdout, r"(?m)^ +-> unset NCCL_P2P_DISABLE")
        self.assertRegex(result.stdout, r"\d+ checks: \d+ OK, \d+ WARN, \d+ FAIL\n$")

    def test_accept_needs_a_gpu(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                result = self.doctor("--accept", ranks=ranks, CUDA_VISIBLE_DEVICES="")
                self.assertEqual(result.returncode, USAGE, result)
                self.assertIn("--accept measures GPUs, and ", result.stderr)
                self.assertEqual(result.stdout, "")

    def test_an_incomplete_checkpoint_fails(self):
        copy = self.folder / "ckpt"
        shutil.copytree(CHECKPOINT, copy)
        (copy / "high_noise_model" / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
        result = self.doctor("--json", "--ckpt-dir", copy, ranks=2)
        self.assertEqual(result.returncode, FAILURE, result)
        finding = self.findings(result)["checkpoint: high_noise_model"][0]
        self.assertEqual((finding["verdict"], finding["ranks"]), ("FAIL", [0]))
        self.assertIn("00002-of-00002", finding["found"])

    def test_a_part_without_a_model_is_not_passed_over(self):
        result = self.doctor("--json", "--vae", CHECKPOINT / "Wan2.1_VAE.pth")
        self.assertEqual(result.returncode, FAILURE, result)
        finding = self.findings(result)["checkpoint: folder"][0]
        self.assertIn("no model is named", finding["found"])
        self.assertIn("--high-noise-model", finding["found"])

    def test_a_launcher_of_another_mpi_is_noticed(self):
        result = self.doctor("--json", SLURM_JOB_ID="7", SLURM_STEP_NUM_TASKS="4")
        self.assertEqual(result.returncode, FAILURE, result)
        self.assertIn("--mpi=pmix", self.findings(result)["MPI launch"][0]["remedy"])

    def test_a_folder_that_cannot_be(self):
        result = self.doctor("--json", "--output-dir", self.folder / "good.png" / "out")
        self.assertEqual(result.returncode, FAILURE, result)
        self.assertEqual(self.findings(result)["output folder"][0]["verdict"], "FAIL")

    def test_usage(self):
        result = self.doctor("--ckptdir", "x", ranks=2)
        self.assertEqual(result.returncode, USAGE, result)
        self.assertIn("--ckpt-dir", result.stderr)
        self.assertIn("wan_doctor [options]", self.doctor("--help").stdout)
