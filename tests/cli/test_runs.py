"""Whole runs: the demo, one request without a manifest, what is kept and what is made again, several groups."""

import json
import shlex
import struct
import subprocess
from pathlib import Path

from cli_case import CHECKPOINT, DONE, PROJECT, SMALL, SOME_FAILED, USAGE, CliCase, environment, png, project_version

T2V_CHECKPOINT = PROJECT / "tests" / "data" / "parity" / "t2v_square" / "ckpt"


class Toy(CliCase):
    def test_with_two_ranks(self):
        command = self.command("--ckpt-dir", "inputs/toy/checkpoint", "inputs/toy/manifest.csv", "--output-dir", self.out, ranks=2)
        done = subprocess.run(command, cwd=PROJECT, env=environment(), timeout=300, capture_output=True, text=True)
        self.assertEqual(done.returncode, DONE, done.stderr)
        sizes = sorted((record["width"], record["height"], record["frames"]) for record in self.records().values())
        # Four aspect ratios on an area of 96*64: whole multiples of 16, rounded down.
        self.assertEqual(sizes, [(64, 64, 5), (64, 96, 9), (96, 48, 5), (96, 64, 9)])
        self.assertEqual(len(list(self.out.glob("*.mp4"))), 4)
        run = json.loads((self.out / "run.json").read_text(encoding="utf-8"))
        self.assertEqual({run["version"], *(record["version"] for record in self.records().values())}, {project_version()})
        self.assertIn("4 of 4 done", done.stdout)
        self.assertIn(str(self.out / "trace.h5"), done.stdout)


class TextAndImage(CliCase):
    """TI2V-5B: one manifest has rows with and without an image."""

    CHECKPOINT = PROJECT / "tests" / "data" / "parity" / "ti2v_image" / "ckpt"

    def test_a_row_without_an_image_is_made_from_its_text(self):
        rows = self.manifest("id,image,prompt", "cat,good.png,A white cat", "kite,,A kite rises")
        result = self.run_program("--ckpt-dir", self.CHECKPOINT, rows, "--size", "64*64", "--frame-num", "5", "--sample-steps", "2",
                                  "--output-dir", self.out)
        self.assertEqual(result.code, DONE, result)
        records = self.records()
        # The image is 96x64: at the area of 64*64 it becomes a video of 64x64, as the official rule has it.
        self.assertEqual({name: (made["width"], made["height"]) for name, made in records.items()}, {"cat": (64, 64), "kite": (64, 64)})
        self.assertEqual({made["parameters"]["task"] for made in records.values()}, {"ti2v-5B"})
        self.assertEqual({made["parameters"]["fps"] for made in records.values()}, {24})
        self.assertEqual([name for name, made in records.items() if "image" in made["parameters"]], ["cat"])

    def test_values_that_it_does_not_take_are_refused(self):
        for option, value, words in (("--size", "720p", "no multiple of 32"), ("--boundary", "0.9", "no boundary")):
            result = self.run_program("--ckpt-dir", self.CHECKPOINT, self.good_manifest(), option, value)
            self.assertEqual(result.code, USAGE, result)
            self.assertIn(words, result.err)


    def test_a_row_with_a_boundary_fails_alone(self):
        rows = self.manifest("id,image,prompt,boundary,sample_guide_scale", "cat,,A white cat,,5", "kite,,A kite rises,0.9,5",
                             "fog,,A ship in the fog,,3:4")
        words = ("boundary: ti2v-5B has one expert, and so no boundary between two; leave it out",
                 "sample_guide_scale: ti2v-5B has one expert and takes one guidance scale")
        arguments = ("--ckpt-dir", self.CHECKPOINT, rows, "--size", "64*64", "--frame-num", "5", "--sample-steps", "1",
                     "--output-dir", self.out)
        result = self.run_program(*arguments, "--dry-run")
        self.assertEqual(result.code, SOME_FAILED, result)
        for word in words:
            self.assertIn(word, result.err + result.out)
        result = self.run_program(*arguments)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertEqual(set(self.records()), {"cat"})
        for name, word in zip(("kite", "fog"), words, strict=True):
            failed = json.loads((self.out / f"{name}.failed.json").read_text(encoding="utf-8"))
            self.assertIn(word, json.dumps(failed))


class SingleRequest(CliCase):
    def request(self, *arguments, ranks: int = 0):
        return self.run_program("--ckpt_dir", CHECKPOINT, *SMALL, "--image", "good.png", "--prompt", "A white cat", *arguments,
                                ranks=ranks)

    def test_save_file(self):
        result = self.request("--save_file", "cat.mp4")
        self.assertEqual(result.code, DONE, result)
        self.assertEqual([path.name for path in self.folder.rglob("*.mp4")], ["cat.mp4"])

    def test_its_command_makes_it_again(self):
        result = self.request("--save-file", "cat.mp4", ranks=2)
        self.assertEqual(result.code, DONE, result)
        first = (self.folder / "cat.mp4").read_bytes()
        words = shlex.split(json.loads((self.folder / "cat.json").read_text(encoding="utf-8"))["command"])
        self.assertEqual(words[:4], ["mpirun", "-np", "2", "wan_batch"])
        result = self.run_program(*words[4:], "--save-file", "again/cat.mp4", ranks=2)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual((self.folder / "again" / "cat.mp4").read_bytes(), first)

    def test_latents(self):
        result = self.request("--save-file", "cat.mp4", "--save-latents")
        self.assertEqual(result.code, DONE, result)
        content = (self.folder / "cat.latent.safetensors").read_bytes()
        header = json.loads(content[8:8 + struct.unpack("<Q", content[:8])[0]])
        record = json.loads((self.folder / "cat.json").read_text(encoding="utf-8"))
        width, height = record["width"], record["height"]
        self.assertEqual((header["latent"]["dtype"], header["latent"]["shape"]), ("F32", [16, 2, height // 8, width // 8]))
        self.assertEqual((header["frames"]["dtype"], header["frames"]["shape"]), ("U8", [5, height, width, 3]))

    def test_frames_of_one_token(self):
        (self.folder / "square.png").write_bytes(png(64, 64))
        result = self.request("--save-file", "dot.mp4", "--image", "square.png", "--size", "16*16", "--save-latents", "steps")
        self.assertEqual(result.code, DONE, result)
        content = (self.folder / "dot.latent.safetensors").read_bytes()
        header = json.loads(content[8:8 + struct.unpack("<Q", content[:8])[0]])
        self.assertEqual(header["step.1"]["shape"], [16, 2, 2, 2])

    def test_an_output_folder_that_would_have_no_effect_is_refused(self):
        self.assert_usage_error(self.request("--save-file", "cat.mp4", "--output-dir", "out"), "--output-dir out",
                                "--save-file out/cat.mp4")


class Batches(CliCase):
    def test_what_is_kept_and_what_is_made_again(self):
        manifest = self.manifest("id,image,prompt", "one,good.png,A white cat", "bad,text.png,A white cat")
        (self.folder / "text.png").write_text("no image")
        self.assertEqual(self.run_batch(manifest).code, SOME_FAILED)
        kept = self.run_batch(manifest)
        self.assertEqual(kept.code, SOME_FAILED, kept)
        self.assertRegex(kept.out, r"one +kept")
        self.assertRegex(kept.out, r"bad +failed before")
        retried = self.run_batch(manifest, "--retry-failed")
        self.assertRegex(retried.out, r"one +kept")
        self.assertRegex(retried.out, r"bad +failed +image")
        video = (self.out / "one.mp4").read_bytes()
        again = self.run_batch(manifest, "--no-resume")
        self.assertRegex(again.out, r"one +done")
        self.assertEqual((self.out / "one.mp4").read_bytes(), video, "the same seed gave another video")
        changed = self.run_batch(manifest, "--sample-steps", "3")
        self.assertRegex(changed.out, r"one +done")

    def test_text_to_video(self):
        manifest = self.manifest("id,prompt", "one,A white cat")
        result = self.run_batch(manifest, checkpoint=T2V_CHECKPOINT)
        self.assertEqual(result.code, DONE, result)
        record = self.records()["one"]
        self.assertEqual((record["width"], record["height"], record["frames"]), (64, 64, 5))
        self.assertEqual(record["parameters"]["task"], "t2v-A14B")
        refused = self.run_batch(self.good_manifest(), "--dry-run", checkpoint=T2V_CHECKPOINT)
        self.assertIn("rows.csv:2:5", refused.err)

    def test_two_groups_share_the_manifest(self):
        names = [f"item{n}" for n in range(6)]
        manifest = self.manifest("id,image,prompt", *[f"{name},good.png,A white cat" for name in names])
        trace = self.folder / "traces" / "trace.h5"
        result = self.run_batch(manifest, "--group-size", "1", "--trace", trace, ranks=2)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(set(self.records()), set(names))
        self.assertEqual(json.loads((self.out / "run.json").read_text(encoding="utf-8"))["counts"]["made"], len(names))
        self.assertEqual(list(self.out.rglob("*.h5")), [])
        self.assertEqual(sorted(self.traced_items(trace)), names, "an item was made twice or not at all")

    def test_shards_make_what_the_whole_manifest_makes(self):
        manifest = self.manifest("id,image,prompt", *[f"item{n},good.png,A white cat" for n in range(5)])
        for shard in ("0/2", "1/2"):
            result = self.run_batch(manifest, "--shard", shard)
            self.assertEqual(result.code, DONE, result)
        shards = self.records()
        self.assertEqual([shards[f"item{n}"]["parameters"]["seed"] for n in range(5)], [7, 8, 9, 10, 11])
        self.assertEqual([shards[f"item{n}"]["manifest"]["line"] for n in range(5)], [2, 3, 4, 5, 6])
        result = self.run_batch(manifest)
        self.assertEqual(result.code, DONE, result)
        self.assertIn("5 of 5 done (5 from before)", result.out)

    def test_an_empty_shard_has_nothing_to_do(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                result = self.run_batch(self.good_manifest(), "--shard", "1/2", ranks=ranks)
                self.assertEqual(result.code, DONE, result)
                self.assertIn("shard 1/2 of 1 row is empty: nothing to do", result.err)
                self.assertEqual(result.made, set())

    def traced_items(self, index: Path) -> list[str]:
        try:
            import h5py
        except ImportError:
            self.skipTest("h5py is not installed (jobs/setup.sh does)")
        with h5py.File(index, "r") as file:
            self.assertEqual(len(file), 2, "one link for each group")
            return [name.decode() for group in file.values() for name in group["items/id"][:]]
