"""Usage and configuration errors: exit 2, exactly one message, which names what was wrong."""

import json
import os
import re
import shutil
import struct
import unittest
import zipfile
from pathlib import Path

from cli_case import CHECKPOINT, DONE, PROJECT, SMALL, SOME_FAILED, USAGE, CliCase, each, project_version

SHARD = "high_noise_model/diffusion_pytorch_model-00002-of-00002.safetensors"


def remove_tensor(path: Path) -> None:
    """Takes head.head.bias out of a safetensors file, which stays a good one."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + length])
    begin, end = header.pop("head.head.bias")["data_offsets"]
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]
    data = content[8 + length:]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[:begin] + data[end:])


def rename_tensor(path: Path) -> None:
    """Gives a tensor of a torch archive another name of the same length."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for info, content in members:
            archive.writestr(info.filename, content.replace(b"decoder.conv1.bias", b"decoder.conv1.bixs"))


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
        self.assertEqual(result.out.splitlines()[0], f"wan_batch {project_version()}")

    def test_the_changelog_has_the_version(self):
        text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
        newest = re.search(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)
        self.assertIsNotNone(newest, "CHANGELOG.md has no heading like '## [1.2.3] - 2026-01-31'")
        self.assertEqual(newest.group(1), project_version(), "the newest release in CHANGELOG.md, and the version in CMakeLists.txt")


class Options(CliCase):
    def test_unknown_option(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                result = self.run_batch(self.good_manifest(), "--frame-nun", "5", ranks=ranks)
                self.assert_usage_error(result, "--frame-nun", "did you mean --frame-num")

    @each(
        (("--sample-steps", "four"), ("--sample-steps", "'four'")),
        (("--sample-steps", "0"), ("--sample-steps", "between 1 and")),
        (("--frame-num", "80"), ("--frame-num", "4n+1", "77 or 81")),
        (("--size", "100*64"), ("--size", "multiples of 16", "96*64")),
        (("--sample-solver", "magic"), ("--sample-solver", "unipc")),
        (("--config", "absent.cfg"), ("--config", "absent.cfg")),
        (("--offload-model", "True"), ("--offload-model on", "on the CPU")),
        (("--precision", "fp16"), ("--precision fp16 needs a GPU", "--precision fp32")),
        (("--device", "cuda"), ("--device cuda", "has no GPU")),
        (("--attention", "flash"), ("--attention", "cudnn")),
        (("--head-chunks", "3"), ("--head-chunks 3", "4 heads")),
        (("--head-chunks", "1+2"), ("--head-chunks 1+2", "add up to the 4 heads")),
        (("--time-limit", "an hour"), ("--time-limit", "'an hour'", "01:30:00")),
        (("--checkpoint-interval", "-1"), ("--checkpoint-interval", "-1")),
        (("--blocks-on-host", "4"), ("--blocks-on-host", "not built yet")),
        (("--task", "t2v-A14B"), ("t2v-A14B", "i2v")),
        (("--shard", "2/2"), ("--shard", "no shard 2 of 2", "1/2")),
        (("--size",), ("--size", "needs a value")),
    )
    def test_bad_values(self, bad):
        arguments, fragments = bad
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

    @each("Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/tokenizer.json",
          "high_noise_model/diffusion_pytorch_model-00002-of-00002.safetensors", "low_noise_model/config.json")
    def test_checkpoint_incomplete(self, file):
        copy = self.folder / "ckpt"
        shutil.copytree(CHECKPOINT, copy)
        (copy / file).unlink()
        self.assert_usage_error(self.run_batch(self.good_manifest(), checkpoint=copy), file.rsplit("/", 1)[-1])

    @each(
        (SHARD, lambda path: path.write_bytes(path.read_bytes()[:-100]), (SHARD,)),
        (SHARD, lambda path: path.write_bytes(b""), (SHARD,)),
        ("low_noise_model/diffusion_pytorch_model.safetensors", remove_tensor, ("low_noise_model", "head.head.bias", "missing")),
        ("models_t5_umt5-xxl-enc-bf16.pth", lambda path: path.write_bytes(path.read_bytes()[:-100]), ("models_t5_umt5",)),
        ("Wan2.1_VAE.pth", rename_tensor, ("Wan2.1_VAE.pth", "decoder.conv1.bias", "missing")),
        ("google/umt5-xxl/tokenizer.json", lambda path: path.write_text("{}"), ("tokenizer.json",)),
        ("high_noise_model/config.json", lambda path: path.write_text("{"), ("high_noise_model/config.json",)),
    )
    def test_checkpoint_damaged(self, damaged):
        file, damage, fragments = damaged
        copy = self.folder / "ckpt"
        shutil.copytree(CHECKPOINT, copy)
        damage(copy / file)
        self.assert_usage_error(self.run_batch(self.good_manifest(), checkpoint=copy), *fragments)


class Places(CliCase):
    """Where a run would write."""

    def test_output_folder_not_writable(self):
        # Below a regular file nothing can be made, not even by root.
        (self.folder / "file").write_text("in the way")
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                result = self.run_batch(self.good_manifest(), "--output-dir", self.folder / "file" / "out", ranks=ranks)
                self.assert_usage_error(result, "file/out", "--output-dir")

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_output_folder_without_permission(self):
        self.out.mkdir(mode=0o500)
        self.assert_usage_error(self.run_batch(self.good_manifest()), str(self.out), "--output-dir")

    def test_trace_below_a_file(self):
        result = self.run_batch(self.good_manifest(), "--trace", "good.png/trace.h5")
        self.assert_usage_error(result, "good.png", "--trace")

    def test_trace_over_another_file_leaves_it_alone(self):
        notes = self.folder / "notes.txt"
        notes.write_text("not a trace")
        result = self.run_batch(self.good_manifest(), "--trace", notes)
        self.assertEqual(result.code, USAGE, result)
        self.assertEqual(len(result.errors()), 1, result)
        self.assertIn("notes.txt", result.errors()[0])
        self.assertEqual(notes.read_text(), "not a trace")
        self.assertEqual(list(self.out.glob("*.mp4")), [])

    def test_save_file_below_a_file(self):
        result = self.run_program("--ckpt-dir", CHECKPOINT, *SMALL, "--image", "good.png", "--prompt", "A cat",
                                  "--save-file", "good.png/cat.mp4")
        self.assert_usage_error(result, "good.png", "--save-file")


class DryRun(CliCase):
    def test_touches_nothing(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                result = self.run_batch(self.good_manifest(), "--dry-run", ranks=ranks)
                self.assertEqual(result.code, DONE, result)
                self.assertEqual(result.made, set())
                self.assertIn("1 item checked, 0 would fail", result.out)

    def test_names_bad_rows(self):
        manifest = self.manifest("image,prompt,frame_num", "good.png,A white cat,", "absent.png,A white cat,", "good.png,A cat,6")
        result = self.run_batch(manifest, "--dry-run", ranks=2)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertEqual(result.made, set())
        self.assertEqual(len(result.errors()), 2, result)
        self.assertIn("absent.png", result.errors()[0])
        self.assertIn("rows.csv:4:16", result.errors()[1])
        self.assertIn("3 items checked, 2 would fail", result.out)


class Plan(CliCase):
    def test_of_this_run(self):
        result = self.run_batch(self.good_manifest(), "--plan", ranks=2)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(result.made, set())
        self.assertEqual(result.out.count("memory per rank"), 1, result)
        self.assertIn("2 in 1 group of 2", result.out)

    def test_of_another_machine(self):
        result = self.run_program("--ckpt-dir", CHECKPOINT, "--plan", "--gpus", "4", "--gpu-memory", "48GiB")
        self.assertEqual(result.code, DONE, result)
        self.assertIn("fits into 48.0 GiB", result.out)
        self.assertIn("4 in 1 group of 4", result.out)

    def test_that_is_impossible(self):
        result = self.run_program("--ckpt-dir", CHECKPOINT, "--plan", "--gpus", "4", "--gpu-memory", "48GiB", "--group-size", "3")
        self.assert_usage_error(result, "group-size", "3", "4")
        result = self.run_program("--ckpt-dir", CHECKPOINT, "--plan", "--gpus", "4")
        self.assert_usage_error(result, "--gpus 4", "--gpu-memory")

    def test_without_a_checkpoint(self):
        plan = ("--plan", "--task", "i2v-A14B", "--gpus", "8", "--gpu-memory", "48GiB")
        result = self.run_program(*plan)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(result.made, set())
        for part in ("8 in 1 group of 8", "cfg2 x ulysses4", "1280*720, 81 frames, 40 steps", "chosen", "does not fit by"):
            self.assertIn(part, result.out)
        result = self.run_program(*plan, "--objective", "throughput", "--size", "832*480", self.good_manifest(), ranks=2)
        self.assertEqual(result.code, DONE, result)
        self.assertIn("8 in 8 groups of 1", result.out)
        self.assertIn("page-locked for each rank", result.out)
        self.assertEqual(result.out.count("chosen"), 1)
        result = self.run_program(*plan, "--group-size", "2", "--dit-fsdp", "off", "--offload-model", "off")
        self.assertEqual(result.code, DONE, result)
        self.assertIn("does NOT fit into 48.0 GiB", result.out)
        self.assertIn("refused by --group-size 2", result.out)
        self.assert_usage_error(self.run_program("--plan", "--gpus", "8", "--gpu-memory", "48GiB"), "--task")
        self.assert_usage_error(self.run_program(*plan, "--precision", "fp16"), "--precision fp16", "t2v-1.3B and ti2v-5B", "i2v-A14B")


class SingleRequest(CliCase):
    def request(self, *arguments, prompt: str = "A white cat"):
        return self.run_program("--ckpt-dir", CHECKPOINT, *SMALL, "--save-file", "cat.mp4", "--prompt", prompt, *arguments)

    def test_mistakes(self):
        self.assert_usage_error(self.request(), "--image")
        self.assert_usage_error(self.request("--image", "absent.png"), "--image", "absent.png")
        self.assert_usage_error(self.request("--image", "good.png", prompt="&nbsp; &#32;"), "--prompt")
        self.assert_usage_error(self.request("--image", "good.png", "--save-file", "cat.avi"), "--save-file", "cat.avi", ".mp4")
        self.assert_usage_error(self.request("--image", "good.png", self.good_manifest()), "rows.csv", "exclude")


class ConfigFile(CliCase):
    def config(self, *lines: str) -> Path:
        path = self.folder / "run.cfg"
        path.write_text("".join(line + "\n" for line in lines))
        return path

    def test_the_command_line_wins(self):
        config = self.config("# a comment", f"ckpt-dir = {CHECKPOINT}", f"manifest = {self.good_manifest()}", "size = 64*64",
                             "frame_num = 6")
        self.assert_usage_error(self.run_program("--config", config), "frame-num in", "run.cfg", "4n+1")
        result = self.run_program("--config", config, "--frame-num", "5", "--dry-run")
        self.assertEqual(result.code, DONE, result)

    def test_mistakes_name_the_file(self):
        self.assert_usage_error(self.run_program("--config", self.config("frame-nun = 5")), "frame-nun", "run.cfg", "frame-num")
        self.assert_usage_error(self.run_program("--config", self.config("frame-num 5")), "run.cfg", "NAME = VALUE")
