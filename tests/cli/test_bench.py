"""wan_bench on CPU ranks with a toy model: its table, its JSON line and its trace."""

import json
import math
import os
import re
import subprocess
from pathlib import Path

import h5py

from cli_case import DONE, MPIEXEC, PROGRAM, PROJECT, USAGE, CliCase, environment

BENCH = Path(os.environ.get("WAN_BENCH", PROGRAM.parent / "wan_bench"))
TOY = PROJECT / "tests" / "data" / "parity" / "i2v_landscape" / "ckpt" / "high_noise_model" / "config.json"
KEYS = {"gpus", "gpu_model", "size", "frame_num", "precision", "layout", "attention", "s_per_step", "step_s", "parts_s", "text_s",
        "clip_s", "vae_encode_s", "vae_decode_s", "peak_vram_bytes", "peak_allocated_bytes", "weights_bytes_per_gpu", "wire_bytes_per_step",
        "reference_s", "ranks", "arguments", "version", "revision", "build", "driver", "cuda", "nccl", "mpi", "libtorch", "hdf5",
        "vae_precision"}


class Bench(CliCase):
    def run_bench(self, *arguments, ranks: int = 0) -> subprocess.CompletedProcess:
        launcher = [MPIEXEC, "-np", str(ranks), "--oversubscribe"] if ranks else []
        return subprocess.run([*launcher, str(BENCH), *map(str, arguments)], capture_output=True, text=True, timeout=240,
                              env=environment(), cwd=self.folder, check=False)

    def test_measures_a_toy_model_on_two_ranks(self):
        trace = self.folder / "trace.h5"
        result = self.run_bench("--model", TOY, "--size", "64*48", "--frame-num", "5", "--steps", "2", "--warmup", "1",
                                "--dit-fsdp", "on", "--trace", trace, ranks=2)
        self.assertEqual(result.returncode, DONE, result)
        line = json.loads(result.stdout.splitlines()[-1])
        self.assertLessEqual(KEYS, line.keys())
        self.assertEqual((line["gpus"], line["size"], line["frame_num"], line["precision"]), (2, "64*48", 5, "fp32"))
        self.assertEqual(line["layout"], "cfg2 x ulysses1, fsdp2")
        self.assertEqual(len(line["step_s"]), 2)
        self.assertAlmostEqual(line["s_per_step"], sum(line["step_s"]) / 2)
        self.assertGreater(min(line["step_s"] + [line["text_s"], line["vae_encode_s"], line["vae_decode_s"]]), 0)
        self.assertGreater(line["wire_bytes_per_step"], 0)
        self.assertGreater(line["parts_s"]["weight_gather"], 0)
        self.assertEqual([rank["world_rank"] for rank in line["ranks"]], [0, 1])
        self.assertEqual(line["reference_s"], max(rank["reference_s"] for rank in line["ranks"]))
        self.assertGreater(min(rank["reference_s"] for rank in line["ranks"]), 0)
        self.assertTrue(all(rank["host"] and rank["gpu_uuid"] == "" for rank in line["ranks"]))
        self.assertEqual((line["driver"], line["arguments"][:2]), ("none", ["--model", str(TOY)]))
        with h5py.File(trace) as index:
            file = index[next(iter(index))]
            self.assertEqual(len(file["steps"]["wall_s"]), 3 * 2)  # steps with the warm-up, ranks
            self.assertEqual((file["items"]["width"][0], file["items"]["height"][0], file["items"]["frames"][0]), (64, 48, 5))
            self.assertEqual(set(file["steps"]["item"][:]), {0})
            measured = ["text", "load", "encode", "denoise", "decode"]
            phases = zip(file["phases"]["phase"].asstr()[:], file["phases"]["world_rank"][:], strict=True)
            self.assertEqual([name for name, rank in phases if rank == 0 and name in measured], measured)

    def test_without_guidance_all_ranks_share_one_pass(self):
        trace = self.folder / "trace.h5"
        result = self.run_bench("--model", TOY, "--size", "64*48", "--frame-num", "5", "--steps", "1", "--warmup", "0",
                                "--sample-guide-scale", "1", "--trace", trace, ranks=2)
        self.assertEqual(result.returncode, DONE, result)
        self.assertEqual(json.loads(result.stdout.splitlines()[-1])["layout"], "cfg1 x ulysses2")
        with h5py.File(trace) as index:
            file = index[next(iter(index))]
            self.assertEqual((list(file["stretches"]["passes"]), list(file["stretches"]["layout"].asstr())), ([1], ["cfg1 x ulysses2"]))

    def test_tells_what_a_trace_costs(self):
        trace = self.folder / "trace.h5"
        for _ in range(8):  # a busy machine takes the core away at any moment: one of several runs has the trace below a step
            result = self.run_bench("--model", TOY, "--size", "64*48", "--frame-num", "5", "--steps", "5", "--warmup", "1", "--trace",
                                    trace, "--trace-cost")
            self.assertEqual(result.returncode, DONE, result)
            cost = json.loads(result.stdout.splitlines()[-1])["trace_cost"]
            self.assertGreater(min(cost.values()), 0)
            if cost["most_host_s"] < cost["traced_step_s"]:
                break
        self.assertLess(cost["most_host_s"], cost["traced_step_s"])
        self.assertRegex(result.stdout, r"traced steps +[\d.]+ s +others [\d.]+ s")
        with h5py.File(trace) as index:
            self.assertEqual(list(index[next(iter(index))]["steps"]["step"]), [0, 2, 4])
        for wrong, words in ((("--trace-cost",), "--trace FILE"), (("--trace", "t.h5", "--steps", "1", "--trace-cost"), "--steps 2")):
            refused = self.run_bench("--model", TOY, *wrong)
            self.assertEqual(refused.returncode, USAGE, refused)
            self.assertIn(words, refused.stderr)

    def test_measures_products_on_hopper_gpus_only(self):
        refused = self.run_bench("--measure-products", "--device", "cpu")
        self.assertEqual(refused.returncode, USAGE, refused)
        self.assertIn("--measure-products needs a Hopper GPU", refused.stderr)

    def test_a_large_model_does_not_fill_a_host_without_gpus(self):
        refused = self.run_bench("--size", "96*64", "--frame-num", "5")
        self.assertEqual(refused.returncode, USAGE, refused)
        self.assertIn("insist with --device cpu", refused.stderr)

    def test_kernels_are_refused_on_the_cpu(self):
        refused = self.run_bench("--model", TOY, "--device", "cpu", "--kernels")
        self.assertEqual(refused.returncode, USAGE, refused)
        self.assertIn("--kernels: only GPUs have kernels", refused.stderr)

    def test_a_study_of_1_2_and_4_ranks_has_three_rows(self):
        traces = [self.folder / f"gpus_{ranks}" for ranks in (1, 2, 4)]
        for ranks, folder in zip((1, 2, 4), traces, strict=True):
            result = self.run_bench("--model", TOY, "--size", "64*48", "--frame-num", "5", "--steps", "2", "--warmup", "0",
                                    "--trace", folder / "trace.h5", ranks=ranks)
            self.assertEqual(result.returncode, DONE, result)
        self.analysis("report", *traces, "-o", "report.html")
        rows = self.scaling_rows()
        self.assertEqual([(row["gpus"], row["groups"]) for row in rows.values()], [(1, 1), (2, 1), (4, 1)])
        page = (self.folder / "report.html").read_text(encoding="utf-8")
        for layout in ("cfg1 x ulysses1", "cfg2 x ulysses1", "cfg2 x ulysses2"):
            self.assertIn(f"<td>{layout}</td>", page)
        for name in rows:
            self.assertRegex(name, r"^\d{8}T\d{6}Z-[0-9a-f]{8}$")
        predicted = self.analysis("model", *traces, "--gpus", "8")
        self.assertRegex(predicted.stdout, r"(?m)^ +4  cfg2 x ulysses2 .*\n +8  cfg2 x ulysses4 ")

    def test_two_starts_in_one_folder_are_two_starts_of_one_case(self):
        for _ in range(2):
            self.run_bench("--model", TOY, "--size", "64*48", "--frame-num", "5", "--steps", "1", "--group-size", "1", "--trace",
                           self.folder / "trace.h5", ranks=2)
        self.analysis("report", self.folder, "-o", "report.html")
        (row,) = self.scaling_rows().values()
        self.assertEqual((row["gpus"], row["groups"], row["starts"]), (2, 2, 2))

    def analysis(self, *arguments) -> subprocess.CompletedProcess:
        result = subprocess.run([PROJECT / "jobs" / "analysis.sh", *map(str, arguments)], cwd=self.folder, capture_output=True,
                                text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, DONE, result)
        return result

    def scaling_rows(self) -> dict[str, dict[str, float]]:
        """The first table of report.html: columns by name, rows by run."""
        page = (self.folder / "report.html").read_text(encoding="utf-8")
        rows: dict[str, dict[str, float]] = {}
        for value, run, column in re.findall(r'<data value="([^"]+)" data-key="scaling/([^"/]+)/([^"]+)">', page):
            rows.setdefault(run, {})[column] = float(value)
        return rows

    def test_without_times_of_parts(self):
        trace = self.folder / "trace.h5"
        result = self.run_bench("--model", TOY, "--size", "64*48", "--frame-num", "5", "--steps", "1", "--warmup", "0",
                                "--part-times", "off", "--trace", trace, ranks=2)
        self.assertEqual(result.returncode, DONE, result)
        *table, last = result.stdout.splitlines()
        line = json.loads(last)
        self.assertIn("parts_s", line)
        self.assertIsNone(line["parts_s"])
        self.assertGreater(line["s_per_step"], 0)
        self.assertFalse([row for row in table if "attention" in row.split() and row.endswith("%")], result.stdout)
        with h5py.File(trace) as index:
            steps = index[next(iter(index))]["steps"]
            self.assertTrue(all(math.isnan(seconds) for seconds in steps["gpu_attention_s"][:]))
            self.assertGreater(min(steps["wall_s"][:]), 0)

    def test_refuses_what_it_cannot_measure(self):
        for arguments, fragment in ((("--model", "absent"), "absent"), (("--size", "100*64"), "multiples of 16"),
                                    (("--device", "cuda"), "has no GPU"), (("--steps", "0"), "--steps"),
                                    (("--part-times=some",), "--part-times")):
            with self.subTest(arguments=arguments):
                result = self.run_bench(*arguments)
                self.assertEqual(result.returncode, USAGE, result)
                self.assertIn(fragment, result.stderr)
                self.assertEqual(result.stderr.count("error:"), 1, result)
