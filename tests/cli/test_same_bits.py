"""The same bytes from every layout: any cfg x ulysses on 1 to 7 CPU ranks, sharded or not, offloaded or not, stopped and resumed on another
number of ranks. The latents' files, the MP4 and the trace's digest of each step are those of one rank."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py

from cli_case import DONE, PROJECT, USAGE, CliCase, environment, nightly

PARITY = PROJECT / "tests" / "data" / "parity"
# Models with two experts, then with one, with and without an image, with CLIP, and their heads: a rank has one at least.
TWO_EXPERTS = {"i2v_landscape": 4, "i2v_portrait_ragged": 3, "t2v_square": 4}
ONE_EXPERT = {"ti2v_image": 4, "ti2v_text": 6, "wan21_i2v": 4, "wan21_t2v": 4}
DEMO = PROJECT / "inputs" / "demo" / "checkpoint"  # 8 heads, for 5 and 7 ranks
MOST_RANKS = 7
STOPPED = 85


def placements(*offload: str) -> list[list[str]]:
    return [[]] + [["--dit-fsdp", dit, "--t5-fsdp", text, "--offload-model", expert]
                   for dit in ("on", "off") for text in ("on", "off") for expert in offload]


def layouts() -> list[tuple[int, int, int]]:
    """Ranks, cfg and ulysses of every group of up to MOST_RANKS ranks."""
    return [(ranks, cfg, ranks // cfg) for ranks in range(1, MOST_RANKS + 1) for cfg in (1, 2) if ranks % cfg == 0]


class SameBits(CliCase):
    steps = 3

    def start(self, model: str, out: Path, ranks: int, *arguments, steps: int = steps) -> list[str]:
        folder = PARITY / ("i2v_landscape" if model == "demo" else model)
        checkpoint = DEMO if model == "demo" else folder / "ckpt"
        return self.command("--device", "cpu", "--ckpt-dir", checkpoint, "--output-dir", out, "--size", "96*64", "--frame-num", "9",
                            "--sample-steps", steps, "--base-seed", "7", "--save-latents", folder / "manifest.csv", *arguments, ranks=ranks)

    def make(self, model: str, ranks: int, *arguments, steps: int = steps) -> dict[str, str] | None:
        """The bytes of a run; none if the model has fewer heads than the layout needs."""
        out = self.folder / "made"
        shutil.rmtree(out, ignore_errors=True)
        done = subprocess.run(self.start(model, out, ranks, *arguments, steps=steps), env=environment(), capture_output=True, text=True,
                              timeout=300, check=False)
        if done.returncode == USAGE and "each rank needs one of the model's" in done.stderr:
            return None
        self.assertEqual(done.returncode, DONE, f"{model} {ranks} {arguments}\n{done.stdout}\n{done.stderr}")
        return self.bytes_of(out)

    def bytes_of(self, out: Path) -> dict[str, str]:
        """SHA-256 of the video and of the latent's file, and the digests of the steps by number."""
        files = [path for path in out.glob("*") if path.suffix in (".mp4", ".safetensors")]
        found = {path.suffix: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        self.assertEqual(set(found), {".mp4", ".safetensors"}, list(out.iterdir()))
        for trace in (out / "trace").glob("*.h5"):
            with h5py.File(trace) as file:
                for step, digest in zip(file["steps/step"][:], file["steps/latent_digest"][:], strict=True):
                    self.assertNotEqual(digest, -1)
                    self.assertEqual(found.setdefault(f"step {step}", int(digest)), int(digest))
        return found

    def check_layouts(self, model: str, chosen, placed) -> set[tuple[int, int]]:
        """Compares each layout in each placement with one rank. Returns the layouts that the model admits, as cfg x ulysses."""
        alone = self.make(model, 1)
        self.assertEqual({f"step {step}" for step in range(self.steps)}, {name for name in alone if name.startswith("step")})
        admitted = set()
        for ranks, cfg, ulysses in chosen:
            for placement in placed:
                made = self.make(model, ranks, "--cfg-size", cfg, "--ulysses-size", ulysses, *placement)
                if made is None:
                    break
                admitted.add((cfg, ulysses))
                self.assertEqual(made, alone, f"{model}: cfg {cfg} x ulysses {ulysses} {placement}")
        return admitted

    def test_some_layouts(self):
        self.assertEqual(self.check_layouts("i2v_landscape", [(2, 1, 2), (4, 2, 2)], [["--dit-fsdp", "on", "--t5-fsdp", "on"]]),
                         {(1, 2), (2, 2)})
        self.assertEqual(self.check_layouts("t2v_square", [(4, 1, 4)], [["--offload-model", "disk"]]), {(1, 4)})
        self.assertEqual(self.check_layouts("i2v_portrait_ragged", [(3, 1, 3)], [[]]), {(1, 3)})
        self.assertEqual(self.check_layouts("ti2v_text", [(6, 1, 6)], [[]]), {(1, 6)})

    def test_threads(self):
        alone = self.make("i2v_landscape", 1)
        self.prefix = ["env", "OMP_NUM_THREADS=3"]
        self.assertEqual(self.make("i2v_landscape", 1), alone)
        self.assertEqual(self.make("i2v_landscape", 2), alone)

    def check_resumed(self, model: str, first: int, then: int) -> None:
        """Stops in the middle on some ranks and goes on with another number."""
        steps = 300
        whole = self.make(model, 1, steps=steps)
        out = self.folder / "stopped"
        shutil.rmtree(out, ignore_errors=True)
        log = (self.folder / "stopped.log").open("w", encoding="utf-8")
        self.addCleanup(log.close)
        process = subprocess.Popen(self.start(model, out, first, steps=steps), env=environment(), stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while self.steps_done(out) < 3:  # as wait_for_step(), whatever the item's name is
            self.assertIsNone(process.poll(), (self.folder / "stopped.log").read_text())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.wait(timeout=120), STOPPED, (self.folder / "stopped.log").read_text())
        done = subprocess.run(self.start(model, out, then, steps=steps), env=environment(), capture_output=True, text=True, timeout=300,
                              check=False)
        self.assertEqual(done.returncode, DONE, done.stderr)
        records = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*.json")]
        self.assertEqual([len(record["resumed_at_steps"]) for record in records if "resumed_at_steps" in record], [1])
        self.assertEqual(self.bytes_of(out), whole, f"{model}: {first} ranks, then {then}")

    def steps_done(self, out: Path) -> int:
        for owner in (out / ".claims").glob(".owner-*"):
            try:
                return json.loads(owner.read_text(encoding="utf-8").splitlines()[2]).get("step", 0)
            except (FileNotFoundError, IndexError, ValueError):  # it came, went or was written to a moment ago
                continue
        return 0

    def test_stopped_on_two_ranks_and_resumed_on_one(self):
        self.check_resumed("t2v_square", 2, 1)

    def compare(self, base: Path, new: Path) -> str:
        done = subprocess.run([sys.executable, "-B", "-m", "wan_analysis", "compare", base, "--with", new], cwd=PROJECT / "analysis",
                              capture_output=True, text=True, timeout=120, check=False)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("bits: ")] or [done.stderr]
        return line

    def test_compare_names_the_first_step_that_differs(self):
        one, two, other = (self.folder / name for name in ("one", "two", "other"))
        for out, ranks in ((one, 1), (two, 2)):
            done = subprocess.run(self.start("t2v_square", out, ranks), env=environment(), capture_output=True, text=True, timeout=300,
                                  check=False)
            self.assertEqual(done.returncode, DONE, done.stderr)
        self.assertEqual(self.compare(one, two), f"bits: the latents of all {self.steps} steps of 1 item are equal")
        shutil.copytree(two, other)
        (trace,) = (other / "trace").glob("*.h5")
        with h5py.File(trace, "r+") as file:
            digests, steps = file["steps/latent_digest"], file["steps/step"][:]
            digests[:] = digests[:] + (steps >= 1)
        self.assertRegex(self.compare(one, other),
                         r"bits: item '\w+' differs from step 1 on .* 1 earlier step equal\); 1 of 1 item differs")

    @nightly
    def test_all_layouts(self):
        two = placements("off", "disk")  # only one of two experts can wait on the disk
        for models, placed in ((TWO_EXPERTS, two), (ONE_EXPERT, placements("off"))):
            for model, heads in models.items():
                with self.subTest(model=model):
                    expected = {(cfg, ulysses) for _, cfg, ulysses in layouts() if ulysses <= heads}
                    self.assertEqual(self.check_layouts(model, layouts(), placed), expected)
        with self.subTest(model="demo"):
            self.assertEqual(self.check_layouts("demo", [(5, 1, 5), (7, 1, 7)], two), {(1, 5), (1, 7)})

    @nightly
    def test_all_resumed(self):
        for model in ("i2v_landscape", "t2v_square", "ti2v_image"):
            for first, then in ((1, 4), (4, 2), (2, 1), (4, 1)):
                with self.subTest(model=model, first=first, then=then):
                    self.check_resumed(model, first, then)
