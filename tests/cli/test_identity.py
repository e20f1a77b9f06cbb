"""Tests when an item counts as done (request with the user's seed, weights, precision), and that no result is lost or replaced."""

import json
import shlex
import shutil

from cli_case import CHECKPOINT, DONE, SMALL, SOME_FAILED, CliCase, each, nightly


class Identity(CliCase):
    def request(self, *arguments):
        return self.run_program("--ckpt-dir", CHECKPOINT, *SMALL, "--image", "good.png", "--prompt", "A white cat", *arguments)

    def videos(self, folder=None) -> list[str]:
        return sorted(path.name for path in (folder or self.out).glob("*.mp4"))

    @nightly
    def test_another_checkpoint_and_another_seed_are_made_again(self):
        manifest = self.good_manifest()
        self.assertEqual(self.run_batch(manifest).code, DONE)
        first = (self.out / "one.mp4").read_bytes()
        copy = self.folder / "ckpt"
        shutil.copytree(CHECKPOINT, copy)
        self.assertIn("1 from before", self.run_batch(manifest, checkpoint=copy).out, "a copy is the same checkpoint")
        weights = copy / "low_noise_model" / "diffusion_pytorch_model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 0x80  # the sign of the last tensor's last value
        weights.write_bytes(content)
        result = self.run_batch(manifest, checkpoint=copy)
        self.assertEqual(result.code, DONE, result)
        self.assertRegex(result.err, r"one is made again: weights: [0-9a-f]{12}, now [0-9a-f]{12}\n")
        result = self.run_batch(manifest, "--base-seed", "8", checkpoint=copy)
        self.assertIn("one is made again: seed: 7, now 8\n", result.err)
        self.assertEqual(self.videos(), ["one.earlier-1.mp4", "one.earlier-2.mp4", "one.mp4"])
        self.assertEqual((self.out / "one.earlier-1.mp4").read_bytes(), first)
        self.assertEqual(json.loads((self.out / "one.earlier-2.json").read_text())["parameters"]["seed"], 7)

    @nightly
    def test_a_command_with_another_seed_is_another_request(self):
        self.assertEqual(self.request("--save-file", "cat.mp4").code, DONE)
        record = json.loads((self.folder / "cat.json").read_text(encoding="utf-8"))
        words = shlex.split(record["command"])
        self.assertEqual(words[words.index("--precision") + 1], "fp32")
        self.assertEqual(words[words.index("--attention") + 1], "automatic")
        again = self.run_program(*words[1:])
        self.assertIn("1 from before", again.out)
        words[words.index("--base-seed") + 1] = "99"
        edited = self.run_program(*words[1:])
        self.assertIn("cat is made again: seed: 7, now 99\n", edited.err)
        self.assertEqual(self.videos(self.folder), ["cat.earlier-1.mp4", "cat.mp4"])

    @nightly
    def test_other_values_get_another_automatic_name(self):
        for arguments in ([], ["--sample-steps", "3"], ["--size", "96*64"], ["--base-seed", "8"], []):
            result = self.request("--output-dir", self.out, *arguments)
            self.assertEqual(result.code, DONE, result)
        self.assertEqual(len(self.videos()), 4)

    def test_the_origin_of_a_prompt_is_recorded_and_counts_for_nothing(self):
        """The columns of jobs/extend_prompts.py."""
        names = ["original_prompt", "extend_model", "extend_model_sha256", "extend_settings", "extend_seed", "extend_status"]
        plain = self.manifest("image,prompt", "good.png,A white cat walks", name="plain.csv")
        longer = self.manifest("image,prompt," + ",".join(names), "good.png,A white cat walks,cat,Qwen,abc,lang=en,7,extended",
                               "gone.png,A dog runs,dog,Qwen,abc,lang=en,7,kept: x")
        result = self.run_batch(longer)
        self.assertEqual(result.code, SOME_FAILED, result)
        wanted = dict(zip(names, ["cat", "Qwen", "abc", "lang=en", "7", "extended"], strict=True))
        (name, record), = self.records().items()
        self.assertEqual(record["prompt_extension"], wanted)
        self.assertEqual(record["parameters"]["prompt"], "A white cat walks")
        self.assertNotIn("original_prompt", record["parameters"])
        failure, = self.out.glob("*.failed.json")
        self.assertEqual(json.loads(failure.read_text())["prompt_extension"]["original_prompt"], "dog")
        result = self.run_batch(plain)
        self.assertIn("1 from before", result.out, "the same name and the same request")
        self.assertEqual(list(self.records()), [name])

    @each(("cat.json", "is not a record of wan_batch"), ("cat.mp4", "no record of wan_batch lies beside it"),
          ("run.json", "is not a record of wan_batch"))
    def test_files_of_the_user_are_refused_before_loading(self, name_and_reason):
        name, reason = name_and_reason
        (self.folder / name).write_text("mine")
        self.assert_usage_error(self.request("--save-file", self.folder / "cat.mp4"), name, reason)
        self.assertEqual((self.folder / name).read_text(), "mine")

    def test_a_file_of_the_user_is_no_run_record(self):
        notes = self.folder / "notes.txt"
        notes.write_text("mine")
        self.assert_usage_error(self.request("--save-file", self.folder / "cat.mp4", "--run-record", notes), "notes.txt")
        self.assertEqual(notes.read_text(), "mine")

    @each("cat.json", "cat.mp4", "./cat.failed.json", "wan_batch.log", "t.h5")
    def test_the_runs_record_takes_the_place_of_none_of_its_files(self, name):
        request = ("--save-file", self.folder / "cat.mp4", "--trace", self.folder / "t.h5")
        self.assert_usage_error(self.request(*request, "--run-record", f"{self.folder}/{name}"), "--run-record", name,
                                "another file of this run")

    def test_a_trace_needs_an_ending(self):
        self.assert_usage_error(self.request("--save-file", self.folder / "cat.mp4", "--trace", self.folder / "trace"), "--trace", ".h5")

    def test_a_dry_run_finds_files_of_the_user(self):
        self.out.mkdir()
        (self.out / "one.mp4").write_text("mine")
        result = self.run_batch(self.good_manifest(), "--dry-run")
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertIn("one.mp4 does not belong to wan_batch", result.err)
