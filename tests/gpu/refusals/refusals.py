#!/usr/bin/env python3
"""The errors of wan_batch if it cannot run on the machine's GPUs: exit code 2 and one message, before weights are read.

    refusals.py [Played | Real] [more unittest arguments]

Played needs no GPU: a preloaded library (fake_gpus.cpp) plays them. Real is for a machine with GPUs (tests/gpu.sh refusals); what
needs two is skipped where there is one, and the library plays only what such a machine cannot show. WAN_BATCH names another program,
WAN_FAKE_GPUS_LIBRARY another library, WAN_MPIEXEC another mpirun.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cli"))
sys.dont_write_bytecode = True

from cli_case import DONE, PROGRAM, PROJECT, SMALL, SOME_FAILED, CliCase  # noqa: E402  (needs the path)

LIBRARY = Path(os.environ.get("WAN_FAKE_GPUS_LIBRARY", PROJECT / "build" / "tests" / "bin" / "libfake_gpus.so"))
CHECKPOINT = PROJECT / "tests" / "data" / "parity" / "i2v_landscape" / "ckpt"  # 4 heads
HUGE = "4096*4096"  # whose decoding takes 470 GiB, whatever the model


def gpu_count() -> int:
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 0
    return len(listed.stdout.splitlines()) if listed.returncode == 0 else 0


class RefusalCase(CliCase):
    def run_on(self, manifest: Path, *arguments, ranks: int, variables: dict[str, str | int] | None = None, played: bool = False):
        """A run whose program has these variables in its environment; played: the library reads them, too."""
        settings = {"LD_PRELOAD": LIBRARY} if played else {}
        settings |= variables or {}
        self.prefix = ["env", *self.visible(), *[f"{name}={value}" for name, value in settings.items()]]
        return self.run_program("--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, manifest, *arguments, ranks=ranks)

    def refuse(self, *fragments: str, arguments: tuple = ("--device", "cuda"), **how):
        self.assert_usage_error(self.run_on(self.good_manifest(), *arguments, **how), *fragments)

    def visible(self) -> list[str]:
        """Undoes what the other command line tests do: hide GPUs."""
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        return ["-u", "CUDA_VISIBLE_DEVICES"] if shown is None else [f"CUDA_VISIBLE_DEVICES={shown}"]


class Played(RefusalCase):
    def setUp(self):
        super().setUp()
        self.assertTrue(LIBRARY.is_file(), f"{LIBRARY} is not there: build the target fake_gpus first")

    def refuse_played(self, *fragments: str, ranks: int, arguments: tuple = ("--device", "cuda"), **variables):
        self.refuse(*fragments, ranks=ranks, arguments=arguments, played=True, variables=variables)

    def test_more_ranks_than_gpus(self):
        self.refuse_played("3 ranks on", "only 2 GPUs", "mpirun -np 2", "--device cpu", ranks=3, WAN_FAKE_GPUS=2)

    def test_two_ranks_on_one_gpu(self):
        self.refuse_played("ranks 0 and 1 on", "have the same GPU (0000:01:00.0)", "one rank per GPU", "mpirun -np 1", ranks=2,
                           WAN_FAKE_GPUS=1)

    def test_gpus_of_different_size(self):
        self.refuse_played("GPUs of different size: rank 1", "has 40 GiB, rank 0", "has 80 GiB", "CUDA_VISIBLE_DEVICES", ranks=2,
                           WAN_FAKE_GPUS=2, WAN_FAKE_SMALL_RANK=1)

    def test_no_peer_access(self):
        self.refuse_played("GPU 0 of rank 0 and GPU 1 of rank 1", "cannot reach each other's memory", "nvidia-smi topo -m",
                           "NCCL_P2P_DISABLE=1", ranks=2, WAN_FAKE_GPUS=2, WAN_FAKE_NO_PEERS=1)

    def test_peer_access_that_is_not_switched_off(self):
        self.refuse_played("cannot reach each other's memory", ranks=2, WAN_FAKE_GPUS=2, WAN_FAKE_NO_PEERS=1, NCCL_P2P_DISABLE=0)

    def test_no_code_for_the_gpu(self):
        for compute, version in ((100, "10.0"), (120, "12.0"), (103, "10.3")):
            with self.subTest(compute=compute):
                self.refuse_played(f"GPU 0 (fake GPU 0) has compute capability {version}", "this build has code for", "9.0a",
                                   f"{compute}-real", "--device cpu", ranks=0, WAN_FAKE_GPUS=1, WAN_FAKE_COMPUTE=compute)

    def test_no_code_for_the_gpu_of_automatic_choice(self):
        self.refuse_played("compute capability 10.0", ranks=2, arguments=(), WAN_FAKE_GPUS=2, WAN_FAKE_COMPUTE=100)

    def test_gpu_too_old(self):
        self.refuse_played("compute capability 7.5", "8.0 or newer is needed", ranks=0, WAN_FAKE_GPUS=1, WAN_FAKE_COMPUTE=75)

    def test_code_of_the_same_generation_does(self):
        # Gets past the GPU, to a size that nothing fits.
        self.refuse_played("no layout of 1 GPU fits", ranks=0, arguments=("--device", "cuda", "--size", HUGE), WAN_FAKE_GPUS=1,
                           WAN_FAKE_COMPUTE=87)

    def test_driver_too_old(self):
        for arguments, fragment in ((("--device", "cuda"), "--device cuda: "), ((), "--device cpu")):
            for ranks in (0, 2):
                with self.subTest(arguments=arguments, ranks=ranks):
                    self.refuse_played("has no GPU", "the driver supports CUDA 12.2, LibTorch needs 13.", "update the driver", fragment,
                                       ranks=ranks, arguments=arguments, WAN_FAKE_DRIVER=12020)

    def test_driver_too_old_does_not_matter_on_the_cpu(self):
        result = self.run_on(self.good_manifest(), "--device", "cpu", ranks=0, played=True, variables={"WAN_FAKE_DRIVER": 12020})
        self.assertEqual(result.code, DONE, result)

    def test_no_layout_fits(self):
        self.refuse_played("no layout of 1 GPU fits", "more than the 77.6 GiB", "8 such GPUs would do", "--size", ranks=0,
                           arguments=("--device", "cuda", "--size", HUGE), WAN_FAKE_GPUS=1)

    def test_nccl_finds_no_network_interface(self):
        self.refuse_played("NCCL cannot be initialised: ncclGetUniqueId failed on rank 0", "no socket interface found", "NCCL_DEBUG",
                           ranks=2, WAN_FAKE_GPUS=2, NCCL_SOCKET_IFNAME="absent0")

    def test_nccl_does_not_connect(self):
        # NCCL brings a runtime of its own, to which nobody plays GPUs.
        self.refuse_played("NCCL cannot be initialised: ", "ncclCommInitRankConfig on device 0 failed", "NCCL_DEBUG", ranks=2,
                           WAN_FAKE_GPUS=2)

    def test_nccl_fails_on_one_rank(self):
        # Inside NCCL the other one waits for it.
        began = time.monotonic()
        self.refuse_played("NCCL cannot be initialised: ", "rank 1", "ncclCommInitRankConfig on device 1 failed: unhandled system error",
                           ranks=2, WAN_FAKE_GPUS=2, WAN_FAKE_NCCL_FAILS=1)
        self.assertLess(time.monotonic() - began, 60)


class Real(RefusalCase):
    gpus = 0

    @classmethod
    def setUpClass(cls):
        cls.gpus = gpu_count()
        if cls.gpus == 0:
            raise unittest.SkipTest("nvidia-smi lists no GPU here")

    def need_two(self):
        if self.gpus < 2:
            self.skipTest("needs 2 GPUs")

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file that a run makes of an item, keyed by the file's name."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for pattern in ("*.mp4", "*.safetensors")
                for path in self.out.glob(pattern)}

    def test_more_ranks_than_gpus(self):
        fragment = "have the same GPU" if self.gpus == 1 else f"only {self.gpus} GPUs; start at most one rank per GPU"
        self.refuse(fragment, f"mpirun -np {self.gpus}", ranks=self.gpus + 1)

    def test_two_ranks_on_one_gpu(self):
        self.refuse("ranks 0 and 1 on", "have the same GPU", "one rank per GPU", ranks=2, variables={"CUDA_VISIBLE_DEVICES": "0"})

    def test_no_gpu(self):
        self.refuse("--device cuda: rank 0", "has no GPU", "CUDA_VISIBLE_DEVICES", ranks=0, variables={"CUDA_VISIBLE_DEVICES": ""})

    def test_gpus_of_different_size(self):
        self.need_two()
        self.refuse("GPUs of different size: rank 1", ranks=2, played=True, variables={"WAN_FAKE_SMALL_RANK": 1})

    def test_no_peer_access(self):
        self.need_two()
        self.refuse("cannot reach each other's memory", "NCCL_P2P_DISABLE=1", ranks=2, played=True, variables={"WAN_FAKE_NO_PEERS": 1})

    def test_driver_too_old(self):
        self.refuse("the driver supports CUDA 12.2, LibTorch needs 13.", "update the driver", ranks=0, played=True,
                    variables={"WAN_FAKE_DRIVER": 12020})

    def test_nccl_cannot_be_initialised(self):
        self.need_two()
        for variables in ({"NCCL_SOCKET_IFNAME": "absent0"}, {"NCCL_NET": "absent"}):
            with self.subTest(variables=variables):
                self.refuse("NCCL cannot be initialised: ", "NCCL_DEBUG", ranks=2, variables=variables)

    def test_without_peer_access_the_bits_are_the_same(self):
        self.need_two()
        for layout in (("--cfg-size", "1", "--ulysses-size", "2", "--dit-fsdp", "on"), ("--cfg-size", "2", "--ulysses-size", "1")):
            with self.subTest(layout=layout):
                made = []
                for variables in ({}, {"NCCL_P2P_DISABLE": "1"}):
                    result = self.run_on(self.good_manifest(), "--device", "cuda", "--save-latents", "--no-resume", *layout, ranks=2,
                                         variables=variables)
                    self.assertEqual(result.code, DONE, result)
                    made.append(self.hashes())
                self.assertEqual(set(made[0]), {"one.mp4", "one.latent.safetensors"})
                self.assertEqual(made[0], made[1])

    def test_a_window_that_one_rank_cannot_register_ends_the_run(self):
        # Inside NCCL the other one waits for it.
        self.need_two()
        self.crash_words = tuple(word for word in self.crash_words if word != "MPI_ABORT")
        began = time.monotonic()
        result = self.run_on(self.good_manifest(), "--device", "cuda", "--cfg-size", "1", "--ulysses-size", "2", ranks=2, played=True,
                             variables={"WAN_FAKE_NO_WINDOW": 1})
        self.assertEqual(result.code, 1, result)
        for fragment in ("rank 1 of 2 in group 'ulysses'", "ncclCommWindowRegister", "NCCL_P2P_DISABLE=1"):
            self.assertIn(fragment, result.err)
        self.assertLess(time.monotonic() - began, 60)

    def test_windows_that_no_rank_can_register_are_done_without(self):
        self.need_two()
        result = self.run_on(self.good_manifest(), "--device", "cuda", "--cfg-size", "1", "--ulysses-size", "2", ranks=2, played=True,
                             variables={"WAN_FAKE_NO_WINDOW": "all"})
        self.assertEqual(result.code, DONE, result)

    def test_no_code_for_the_gpu(self):
        self.refuse("compute capability 12.0", "this build has code for", "120-real", ranks=0, played=True,
                    variables={"WAN_FAKE_COMPUTE": 120})

    def test_no_layout_fits(self):
        self.refuse("no layout of 1 GPU fits", "more than the", "such GPUs would do", "--size", ranks=0,
                    arguments=("--device", "cuda", "--size", HUGE))

    def test_an_item_that_does_not_fit_fails_alone(self):
        manifest = self.manifest("id,image,prompt,size", "small,good.png,A white cat,64*64", f"huge,good.png,A white cat,{HUGE}",
                                 "small2,good.png,A black cat,64*64")
        result = self.run_on(manifest, "--device", "cuda", ranks=1)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertIn("1 of 3 rows is too large for these GPUs", result.err)
        self.assertEqual({path.name for path in self.out.glob("*.mp4")}, {"small.mp4", "small2.mp4"})
        failure = json.loads((self.out / "huge.failed.json").read_text(encoding="utf-8"))
        self.assertEqual(failure["stage"], "denoise")
        for fragment in ("takes about", "GiB on each GPU beside the weights", "the GPU of rank 0 has", "a smaller size"):
            self.assertIn(fragment, failure["message"])


if __name__ == "__main__":
    if not PROGRAM.is_file():
        sys.exit(f"{PROGRAM} is not there: build it first (jobs/build.sh, tests/gpu.sh build)")
    unittest.main(verbosity=2)
