"""Drafts of a whole manifest, and the chosen ones that go on: with the bytes of a run that was never interrupted."""

import json

from cli_case import CHECKPOINT, DONE, SMALL, SOME_FAILED, CliCase, each, nightly

STEPS = 6


class Drafts(CliCase):
    def rows(self, count: int):
        lines = [f"row{row},good.png,A cat number {row}" for row in range(count)]
        return self.manifest("id,image,prompt", *lines)

    def batch(self, *extra, out=None, ranks: int = 0):
        """SMALL comes first: later values win."""
        return self.run_program("--ckpt-dir", CHECKPOINT, "--output-dir", out or self.out, *SMALL, "--sample-steps", STEPS, *extra,
                                ranks=ranks, timeout_s=600)

    def draft(self, manifest, steps: int, *extra, ranks: int = 0):
        return self.batch(manifest, "--draft", "--stop-after-step", steps, *extra, ranks=ranks)

    def names(self, suffix: str) -> set[str]:
        return {path.name.removesuffix(suffix) for path in self.out.glob("*" + suffix)}

    def finished(self) -> set[str]:
        return {name for name in self.names(".mp4") if not name.endswith(".draft")}

    def status(self) -> dict:
        return json.loads(self.run_program("status", "--json", self.out).out)

    def check_drafted_and_continued(self, count: int, chosen: list[str], ranks: int) -> None:
        manifest = self.rows(count)
        result = self.draft(manifest, 2, ranks=ranks)
        self.assertEqual(result.code, DONE, result)
        self.assertIn(f"0 of {count} done, {count} drafted", result.out)
        self.assertEqual(self.names(".draft.mp4"), {f"row{row}" for row in range(count)})
        self.assertEqual(self.finished(), set())
        status = self.status()
        self.assertEqual((status["state"], status["drafted"], status["open"]), ("finished", count, 0))
        result = self.draft(manifest, 2)
        self.assertEqual((result.code, json.loads((self.out / "run.json").read_text())["steps_gained"]), (DONE, 0), result)

        (self.folder / "pick.txt").write_text("\n".join(chosen))
        result = self.batch(manifest, "--continue", "pick.txt", ranks=ranks)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(self.finished(), set(chosen))
        self.assertEqual({record["resumed_at_steps"][0] for record in self.records().values()}, {2})
        status = self.status()
        self.assertEqual((status["done"], status["drafted"], status["open"]), (len(chosen), count - len(chosen), 0))

        whole = self.folder / "whole"
        result = self.batch(manifest, "--continue", "pick.txt", out=whole, ranks=ranks)
        self.assertEqual(result.code, DONE, result)
        for name in chosen:
            self.assertEqual((self.out / f"{name}.mp4").read_bytes(), (whole / f"{name}.mp4").read_bytes(), name)

    def test_a_shard_without_a_chosen_row_says_so(self):
        manifest = self.rows(3)
        (self.folder / "pick.txt").write_text("row0")
        result = self.batch(manifest, "--continue", "pick.txt", "--shard", "1/3")
        self.assertEqual(result.code, DONE, result)
        self.assertIn("shard 1/3 of 3 rows has no chosen row: nothing to do", result.err)

    def test_six_drafts_of_which_two_go_on(self):
        self.check_drafted_and_continued(6, ["row4", "row1"], ranks=2)

    @nightly
    def test_a_hundred_drafts_of_which_ten_go_on(self):
        self.check_drafted_and_continued(100, [f"row{row}" for row in range(3, 100, 10)], ranks=2)

    def frames(self, name: str):
        """Frames as uint8 [frames, height, width, 3]."""
        import av
        import numpy

        with av.open(str(self.out / name)) as video:
            return numpy.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])

    def psnr(self, shown, whole) -> float:
        import numpy

        error = numpy.mean((shown.astype(float) - whole.astype(float)) ** 2)
        return float(10 * numpy.log10(255**2 / error))

    def test_a_preview_after_more_steps_is_nearer_to_the_video(self):
        manifest = self.rows(1)
        previews = []
        for steps in (3, 4, 5):
            self.assertEqual(self.draft(manifest, steps).code, DONE)
            previews.append(self.frames("row0.draft.mp4"))
            record = json.loads((self.out / "row0.draft.json").read_text())
            self.assertEqual((record["status"], record["draft"]["after_step"]), ("drafted", steps))
        self.assertEqual(self.draft(manifest, 5, "--draft-frames", 1, "--draft-scale", "1/2").code, DONE)
        small = self.frames("row0.draft.mp4")
        self.assertEqual(self.batch(manifest).code, DONE)
        whole = self.frames("row0.mp4")
        ratios = [self.psnr(preview, whole) for preview in previews]
        self.assertEqual(ratios, sorted(ratios), "a preview after more steps is farther away")
        self.assertGreater(ratios[-1], ratios[0] + 3, ratios)
        self.assertEqual(small.shape, (1, whole.shape[1] // 2, whole.shape[2] // 2, 3))
        self.assertEqual(self.records()["row0"]["resumed_at_steps"], [3, 4, 5])

    def test_choices_that_are_wrong(self):
        manifest = self.rows(2)
        (self.folder / "pick.txt").write_text("row1\nrow7\n")
        result = self.batch(manifest, "--continue", "pick.txt")
        self.assert_usage_error(result, "pick.txt: no row of the manifest has the id 'row7'")
        self.assert_usage_error(self.run_program(manifest, "--list-rows", "--continue", "pick.txt"), "leave --continue out")

    def test_a_dry_run_finds_what_is_in_the_way_of_a_draft(self):
        manifest = self.rows(2)
        (self.out / ".state").mkdir(parents=True)
        (self.out / ".state" / "row1.json").write_text("notes")
        result = self.draft(manifest, 2, "--dry-run")
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertIn("2 items checked, 1 would fail", result.out)
        self.assertIn("row1.json is not a record of wan_batch", result.err)
        self.assertEqual(self.batch(manifest, "--dry-run").code, DONE, "only a draft must save its state")
        result = self.draft(manifest, 2)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertEqual(self.names(".draft.mp4"), {"row0"})

    @each(0, 1)
    def test_the_trace_counts_the_steps_of_a_draft(self, writers):
        import h5py

        manifest = self.rows(2)
        self.assertEqual(self.draft(manifest, 2, "--writers", writers).code, DONE)
        self.assertEqual(self.draft(manifest, 2, "--writers", writers, "--draft-scale", "1/2").code, DONE)
        files = list((self.out / "trace").glob("*.h5"))
        self.assertEqual(len(files), 2)
        for path in files:
            with h5py.File(path) as trace:
                ends = trace["item_ends"]
                self.assertEqual((ends["outcome"].asstr()[:].tolist(), ends["steps_done"][:].tolist()), (["drafted"] * 2, [2, 2]))

    def test_the_plan_counts_the_steps_of_drafts(self):
        manifest = self.rows(2)
        arguments = ["--ckpt-dir", CHECKPOINT, *SMALL, manifest, "--sample-steps", STEPS, "--plan"]
        self.assertIn("denoise: 6 steps of", self.run_program(*arguments).out)
        drafts = self.run_program(*arguments, "--draft", "--stop-after-step", 2).out
        self.assertIn("denoise: 2 steps of", drafts)
        self.assertIn("decode the preview", drafts)
