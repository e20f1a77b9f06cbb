"""Usage and configuration errors: exit 2, exactly one message, which names what was wrong."""

import shutil

from cli_case import CHECKPOINT, DONE, SOME_FAILED, CliCase


class Help(CliCase):
    def test_help_lists_options_and_exit_codes(self):
        result = self.run_program("--help")
        self.assertEqual(result.code, DONE, result)
        for word in ("--ckpt-dir", "--sample-steps", "--dry-run", "Exit codes"):
            self.assertIn(word, result.out)
        self.assertEqual(result.err.strip(), "")

    def test_help_is_printed_once_by_two_ranks(self):
        result = self.run_program("--help", ranks=2)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(result.out.count("--ckpt-dir DIR"), 1, result)

    def test_version(self):
        result = self.run_program("--version")
        self.assertEqual(result.code, DONE, result)
        self.assertRegex(result.out, r"wan_batch \d+\.\d+\.\d+")


class Options(CliCase):
    def test_unknown_option(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                result = self.run_batch(self.good_manifest(), "--frame-nun", "5", ranks=ranks)
                self.assert_usage_error(result, "--frame-nun", "did you mean --frame-num")

    def test_bad_values(self):
        cases = [
            (("--sample-steps", "four"), ("--sample-steps", "'four'")),
            (("--sample-steps", "0"), ("--sample-steps", "between 1 and")),
            (("--frame-num", "80"), ("--frame-num", "4n+1", "77 or 81")),
            (("--size", "100*64"), ("--size", "multiples of 16", "96*64")),
            (("--sample-solver", "ddim"), ("--sample-solver", "unipc")),
            (("--config", "absent.cfg"), ("--config", "absent.cfg")),
            (("--offload-model", "True"), ("--offload-model", "not built yet")),
            (("--time-limit", "01:00:00"), ("--time-limit", "not built yet")),
            (("--task", "t2v-A14B"), ("t2v-A14B", "i2v")),
            (("--size",), ("--size", "needs a value")),
        ]
        for arguments, fragments in cases:
            with self.subTest(arguments=arguments):
                self.assert_usage_error(self.run_batch(self.good_manifest(), *arguments), *fragments)

    def test_nothing_to_do(self):
        self.assert_usage_error(self.run_program("--ckpt-dir", CHECKPOINT), "nothing to make")

    def test_no_argument_outside_the_checkout_says_so(self):
        self.assert_usage_error(self.run_program(), "inputs/demo/demo.cfg")

    def test_group_size_must_divide_the_ranks(self):
        result = self.run_batch(self.good_manifest(), "--group-size", "3", ranks=2)
        self.assert_usage_error(result, "group-size", "3", "2")


class Manifests(CliCase):
    def test_absent(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                self.assert_usage_error(self.run_batch(self.folder / "absent.csv", ranks=ranks), "absent.csv")

    def test_folder(self):
        self.assert_usage_error(self.run_batch(self.folder), str(self.folder))

    def test_empty(self):
        empty = self.folder / "empty.csv"
        empty.write_bytes(b"")
        self.assert_usage_error(self.run_batch(empty), "empty.csv")
        self.assert_usage_error(self.run_batch(self.manifest("image,prompt")), "rows.csv", "no rows")

    def test_missing_column(self):
        self.assert_usage_error(self.run_batch(self.manifest("image,seed", "good.png,1")), "rows.csv:1", "'prompt'")
        self.assert_usage_error(self.run_batch(self.manifest("prompt", "A white cat")), "rows.csv:1", "'image'")

    def test_unknown_column(self):
        result = self.run_batch(self.manifest("image,prompt,framenum", "good.png,A white cat,5"), ranks=2)
        self.assert_usage_error(result, "rows.csv:1:14", "'framenum'", "frame_num")

    def test_duplicate_id(self):
        result = self.run_batch(self.manifest("id,image,prompt", "a,good.png,A white cat", "a,good.png,A black cat"))
        self.assert_usage_error(result, "rows.csv:3", "'a'")


class Folders(CliCase):
    def test_checkpoint_absent(self):
        result = self.run_batch(self.good_manifest(), checkpoint=self.folder / "no_ckpt", ranks=2)
        self.assert_usage_error(result, "no_ckpt")

    def test_checkpoint_incomplete(self):
        missing = ["Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/tokenizer.json",
                   "high_noise_model/diffusion_pytorch_model-00002-of-00002.safetensors", "low_noise_model/config.json"]
        for file in missing:
            with self.subTest(file=file):
                copy = self.folder / "ckpt"
                shutil.copytree(CHECKPOINT, copy)
                (copy / file).unlink()
                result = self.run_batch(self.good_manifest(), checkpoint=copy)
                shutil.rmtree(copy)
                self.assert_usage_error(result, file.rsplit("/", 1)[-1])

    def test_output_folder_not_writable(self):
        # Below a regular file nothing can be made, not even by root.
        (self.folder / "file").write_text("in the way")
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                result = self.run_batch(self.good_manifest(), "--output-dir", self.folder / "file" / "out", ranks=ranks)
                self.assert_usage_error(result, "file/out", "--output-dir")


class DryRun(CliCase):
    def snapshot(self):
        return sorted((str(path), path.stat().st_mtime_ns) for path in self.folder.rglob("*"))

    def test_touches_nothing(self):
        manifest = self.good_manifest()
        before = self.snapshot()
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                result = self.run_batch(manifest, "--dry-run", ranks=ranks)
                self.assertEqual(result.code, DONE, result)
                self.assertEqual(self.snapshot(), before)

    def test_names_bad_rows(self):
        manifest = self.manifest("image,prompt", "good.png,A white cat", "absent.png,A white cat")
        before = self.snapshot()
        result = self.run_batch(manifest, "--dry-run")
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertIn("absent.png", result.out + result.err)
        self.assertEqual(self.snapshot(), before)
