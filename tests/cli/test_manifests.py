"""Odd manifests, names, texts and paths, as careful users bring them. Tried with --dry-run and as single requests."""

import json
import subprocess

from cli_case import CHECKPOINT, DONE, PROGRAM, SMALL, SOME_FAILED, USAGE, CliCase, each, environment


class OddManifests(CliCase):
    def dry_run(self, manifest, *arguments):
        return self.run_program("--dry-run", "--ckpt-dir", CHECKPOINT, *SMALL, manifest, *arguments)

    def test_nothing_of_a_row_reaches_the_terminal_raw(self):
        manifest = self.manifest(r'{"image":"\u001b]0;owned\u0007\u001b[31mX\n2 of 2 done","prompt":"a cat","id":"one"}',
                                 r'{"image":"x.png","prompt":"\u001b[2J\u00c3\u00a9 caf\u00c3\u00a9","id":"two"}', name="escape.jsonl")
        result = self.dry_run(manifest)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertNotIn("\x1b", result.err + result.out)
        self.assertNotIn("\x07", result.err)
        errors = result.errors()
        self.assertEqual(len(errors), 2, result)
        self.assertIn("escape.jsonl:1:10: ", errors[0])
        self.assertIn("escape.jsonl:2:10: ", errors[1])
        self.assertIn("escape.jsonl:2:27: two: the prompt looks as if UTF-8 had been read as another encoding", result.err)

    def test_negative_prompts(self):
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (
            {"id": "blank", "image": "good.png", "prompt": "a cat", "negative_prompt": " "},
            {"id": "nul", "image": "good.png", "prompt": "a cat", "negative_prompt": "&#0;blurry"},
            {"id": "long", "image": "good.png", "prompt": "a cat", "negative_prompt": "x" * 70_000})))
        result = self.dry_run(self.folder / "rows.jsonl")
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertEqual(len(result.errors()), 1, result)
        self.assertRegex(result.errors()[0], r"rows\.jsonl:3:75: the negative prompt is 70000 bytes long")

    def test_a_long_prompt_is_cut_with_a_warning_and_a_field(self):
        words = " ".join(f"word{n}" for n in range(700))
        manifest = self.manifest("id,image,prompt", f"long,good.png,{words}", "short,good.png,a cat")
        result = self.dry_run(manifest)
        self.assertEqual(result.code, DONE, result)
        self.assertRegex(result.err, r"rows\.csv:2:15: long: the prompt has \d+ tokens, and the text encoder takes 512")
        self.assertRegex(result.err, r"from 'word\d+ word\d+ ")
        result = self.run_batch(manifest)
        self.assertEqual(result.code, DONE, result)
        self.assertIn("is not used", result.err)
        lost = self.records()["long"]["text_not_used"]["prompt"]
        self.assertEqual(lost["used_tokens"], 512)
        self.assertGreater(lost["tokens"], 700)
        self.assertRegex(lost["first_words_lost"], r"^word\d+ ")
        self.assertNotIn("text_not_used", self.records()["short"])

    def test_standard_input_and_process_substitution(self):
        text = "id,image,prompt\none,good.png,a cat\n"
        arguments = [str(PROGRAM), "--dry-run", "--ckpt-dir", str(CHECKPOINT), *SMALL]
        for name in ("-", "/dev/stdin"):
            with self.subTest(name=name):
                done = subprocess.run([*arguments, name], input=text, cwd=self.folder, env=environment(), capture_output=True,
                                      text=True, timeout=60)
                self.assertEqual(done.returncode, DONE, done.stderr)
                self.assertIn("1 item checked", done.stdout)
        shell = subprocess.run(["bash", "-c", '"$@" <(printf "image,prompt\\ngood.png,a cat\\n")', "bash", *arguments], cwd=self.folder,
                               env=environment(), capture_output=True, text=True, timeout=60)
        self.assertEqual(shell.returncode, DONE, shell.stderr)

    def test_largest_seed(self):
        manifest = self.manifest("id,image,prompt,seed", "largest,good.png,a cat,18446744073709551615",
                                 "half,good.png,a cat,9223372036854775808", "none,good.png,a cat,0")
        result = self.run_batch(manifest, "--save-latents")
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(self.records()["largest"]["parameters"]["seed"], 2**64 - 1)
        self.assertIn("--base-seed 18446744073709551615", self.records()["largest"]["command"])
        again = self.run_batch(manifest, "--save-latents")
        self.assertIn("3 of 3 done (3 from before)", again.out)


class Names(CliCase):
    def request(self, *arguments):
        return self.run_program("--ckpt-dir", CHECKPOINT, *SMALL, "--image", "good.png", "--prompt", "A white cat", *arguments)

    def test_letters_of_any_script_and_blanks(self):
        (self.folder / "猫.png").write_bytes((self.folder / "good.png").read_bytes())
        result = self.request("--save-file", "out/my 猫.mp4", "--image", "猫.png")
        self.assertEqual(result.code, DONE, result)
        self.assertTrue((self.out / "my 猫.mp4").is_file())
        manifest = self.manifest("image,prompt", "猫.png,a cat")
        result = self.run_batch(manifest)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(len(list(self.out.glob("猫-*.mp4"))), 1)

    @each("-x.mp4", ".x.mp4", "a\x1b.mp4", "a\u202e.mp4")
    def test_hostile_names(self, name):
        self.assert_usage_error(self.request(f"--save-file=out/{name}"), "--save-file")

    def test_inputs_that_cannot_be_used(self):
        self.check_too_long("--image", "--ckpt-dir", "--config")
        result = self.run_program("--dry-run", "--ckpt-dir", CHECKPOINT, "y" * 5000 + ".csv")
        self.assert_usage_error(result, "too long")

    def test_outputs_that_cannot_be_used(self):
        self.check_too_long("--save-file", "--output-dir", "--trace", "--run-record")

    def check_too_long(self, *options):
        for option in options:
            with self.subTest(option=option):
                end = ".mp4" if option == "--save-file" else ""
                result = self.request("--dry-run", option, "x" * 5000 + end)
                self.assertEqual(result.code, USAGE, result)
                self.assertEqual(len(result.errors()), 1, result)
                self.assertNotIn("filesystem", result.err)
                self.assertRegex(result.err, "too long|bytes long|does not exist")

    def test_texts_that_are_not_utf8(self):
        command = [*self.command("--ckpt-dir", CHECKPOINT, *SMALL, "--image", "good.png", "--dry-run", "--prompt"), b"caf\xe9"]
        done = subprocess.run(command, cwd=self.folder, env=environment(), capture_output=True, timeout=60)
        self.assertEqual(done.returncode, USAGE, done.stderr)
        self.assertIn(b"--prompt: the text is not UTF-8: byte 0xe9 at byte 4", done.stderr)
