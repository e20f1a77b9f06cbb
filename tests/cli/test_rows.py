"""Bad rows: each fails alone with a record that says why, the others are made, exit 3."""

import json
import shutil

from cli_case import DONE, PROJECT, SOME_FAILED, CliCase, each, nightly


class Rows(CliCase):
    def failures(self) -> dict[str, dict]:
        """Records of failed items by id."""
        records = {}
        for path in self.out.glob("*.failed.json"):
            records[path.name.removesuffix(".failed.json")] = json.loads(path.read_text(encoding="utf-8"))
        return records

    def assert_made(self, *ids: str):
        for name in ids:
            video = self.out / f"{name}.mp4"
            self.assertTrue(video.is_file(), f"{video} is missing")
            self.assertIn(b"ftyp", video.read_bytes()[:16])
            self.assertEqual(json.loads((self.out / f"{name}.json").read_text(encoding="utf-8"))["status"], "done")
        self.assertEqual({path.stem for path in self.out.glob("*.mp4")}, set(ids))

    def assert_failed(self, name: str, *fragments: str, stage: str | None = None):
        record = self.failures().get(name)
        self.assertIsNotNone(record, f"{name} has no record; there are {sorted(self.failures())}")
        for fragment in fragments:
            self.assertIn(fragment, record["message"])
        if stage is not None:
            self.assertEqual(record["stage"], stage)

    def bad_images(self) -> None:
        good = (self.folder / "good.png").read_bytes()
        (self.folder / "truncated.png").write_bytes(good[:len(good) // 2])
        (self.folder / "zero.png").write_bytes(b"")
        (self.folder / "text.png").write_text("this is not an image\n" * 20)
        (self.folder / "folder.png").mkdir()

    @each(0, 2)
    def test_bad_images(self, ranks):
        self.bad_images()
        rows = [f"{name},{name}.png,A white cat" for name in ("absent", "truncated", "zero", "text", "folder")]
        manifest = self.manifest("id,image,prompt", "first,good.png,A white cat", *rows, "last,good.png,A black cat")
        result = self.run_batch(manifest, "--no-resume", ranks=ranks)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assert_made("first", "last")
        for name in ("absent", "truncated", "zero", "text", "folder"):
            self.assert_failed(name, f"{name}.png", stage="image")
        self.assertEqual(len(self.failures()), 5)

    @nightly
    def test_dropped_transparency_is_said_once_per_item(self):
        shutil.copy(PROJECT / "tests" / "data" / "images" / "rgba.png", self.folder / "rgba.png")
        manifest = self.manifest("id,image,prompt", "clear,rgba.png,A white cat", "solid,good.png,A white cat")
        said = "warning: clear: {} has transparent pixels; their transparency is dropped".format(self.folder / "rgba.png")
        result = self.run_batch(manifest, "--dry-run")
        self.assertEqual((result.code, result.err.count("transparen"), result.err.count(said)), (DONE, 2, 1), result)
        result = self.run_batch(manifest, ranks=2)
        self.assertEqual((result.code, result.err.count("transparen"), result.err.count(said)), (DONE, 2, 1), result)
        self.assertEqual((self.out / "wan_batch.log").read_text(encoding="utf-8").count(said), 1)

    def test_a_row_that_no_memory_is_enough_for(self):
        """Also where the host refuses memory, as under ulimit -v: the others are made."""
        manifest = self.manifest("image,prompt,id,size,frame_num", "good.png,a cat,first,,", "good.png,a huge one,huge,12288*12288,1025",
                                 "good.png,a dog,last,,")
        result = self.run_batch(manifest, "--dry-run")
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertIn("GiB of the host's memory", result.err)
        result = self.run_batch(manifest)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assert_made("first", "last")
        self.assert_failed("huge", "GiB of the host's memory", stage="memory")

    def test_a_row_that_no_gpu_has_room_for_is_found_without_one(self):
        manifest = self.manifest("id,image,prompt,size,frame_num", "first,good.png,a cat,,", "large,good.png,a large one,2048*2048,81")
        result = self.run_batch(manifest, "--dry-run", "--gpus", 2, "--gpu-memory", "8GiB")
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertIn("large: no layout of these GPUs has room", result.err)
        self.assertNotIn("first:", result.err)
        self.assertEqual(self.run_batch(manifest, "--dry-run", "--gpus", 2, "--gpu-memory", "1000GiB").code, DONE)

    def test_a_dry_run_for_gpus_elsewhere_takes_their_layout(self):
        manifest = self.good_manifest()
        elsewhere = ("--dry-run", "--gpus", 4, "--gpu-memory", "80GiB")
        result = self.run_batch(manifest, *elsewhere, "--group-size", 4, "--ulysses-size", 2, "--offload-model", "on")
        self.assertEqual(result.code, DONE, result)
        self.assertIn("layout cfg2 x ulysses2", result.out + result.err)
        self.assert_usage_error(self.run_batch(manifest, *elsewhere, "--group-size", 3), "the number of ranks, 4")
        self.assertEqual(self.run_batch(manifest, "--dry-run", "--device", "auto", "--offload_model", "True").code, DONE)
        here = self.run_batch(manifest, "--dry-run", "--device", "cpu", "--offload-model", "on")
        self.assert_usage_error(here, "no GPU here", "--gpu-memory")

    def test_bad_values_name_line_and_column(self):
        manifest = self.manifest(
            "id,image,prompt,size,frame_num,sample_steps",
            "good,good.png,A white cat,,,",
            "number,good.png,A white cat,,,two",
            "frames,good.png,A white cat,,6,",
            "grid,good.png,A white cat,100*64,,",
            "steps,good.png,A white cat,,,0",
            "short,good.png")
        result = self.run_batch(manifest)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assert_made("good")
        self.assert_failed("number", "rows.csv:3:31", "sample_steps", "'two'", stage="manifest")
        self.assert_failed("frames", "rows.csv:4:30", "frame_num", "5 or 9", stage="manifest")
        self.assert_failed("grid", "rows.csv:5:", "size", "multiples of 16", stage="manifest")
        self.assert_failed("steps", "rows.csv:6:", "sample_steps", stage="manifest")
        # The last row's values cannot be told apart, so its id is an automatic one.
        unnamed = [record["message"] for record in self.failures().values() if "rows.csv:7:1" in record["message"]]
        self.assertEqual(len(unnamed), 1, self.failures())
        self.assertIn("2 values", unnamed[0])

    def test_prompt_empty_after_cleaning(self):
        manifest = self.manifest("id,image,prompt", "empty,good.png,&nbsp; &#32;", "good,good.png,A white cat")
        result = self.run_batch(manifest)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assert_made("good")
        self.assert_failed("empty", "prompt")

    def test_unsafe_ids_write_nothing_elsewhere(self):
        unsafe = ["../escape", "/tmp/escape", "a/b", ".hidden", "-option", "run", "x.failed"]
        rows = [f"{name},good.png,A white cat" for name in unsafe]
        manifest = self.manifest("id,image,prompt", *rows, "good,good.png,A white cat")
        before = set(self.folder.rglob("*"))
        result = self.run_batch(manifest)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assert_made("good")
        messages = [record["message"] for record in self.failures().values()]
        self.assertEqual(len(messages), len(unsafe), messages)
        for line, name in enumerate(unsafe, start=2):
            self.assertTrue(any(f"rows.csv:{line}:1" in message and name in message for message in messages), (name, messages))
        outside = {path for path in self.folder.rglob("*") if self.out not in path.parents} - before - {self.out}
        self.assertEqual(outside, set())

    def test_a_mended_row_is_made_by_the_next_run(self):
        manifest = self.manifest("id,image,prompt", "one,good.png,A white cat", "two,late.png,A black cat")
        self.assertEqual(self.run_batch(manifest).code, SOME_FAILED)
        first = (self.out / "one.mp4").stat().st_mtime_ns
        (self.folder / "late.png").write_bytes((self.folder / "good.png").read_bytes())
        result = self.run_batch(manifest, "--retry-failed")
        self.assertEqual(result.code, DONE, result)
        self.assert_made("one", "two")
        self.assertEqual(self.failures(), {})
        self.assertEqual((self.out / "one.mp4").stat().st_mtime_ns, first)
