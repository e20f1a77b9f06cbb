"""Models distilled to 4 steps without guidance: which rule finds them, and what follows."""

import numpy as np
from safetensors.numpy import load_file

from cli_case import CHECKPOINT, DONE, PROJECT, CliCase

RESULT = "4 steps, euler, shift 5, guidance 1 where nothing else is given"
FEW = "but nothing says that the model is distilled"


class Distilled(CliCase):
    def setUp(self):
        super().setUp()
        self.named = self.folder / "toy-4steps"
        self.named.symlink_to(CHECKPOINT, target_is_directory=True)
        self.base = ["--device", "cpu", "--output-dir", self.out, "--size", "64*64", "--frame-num", "5", "--base-seed", "7"]

    def check(self, *words):
        result = self.run_program(*self.base, self.good_manifest(), "--dry-run", *words)
        self.assertEqual(result.code, DONE, result)
        return result

    def test_the_rule_is_said_once_in_the_log_and_in_the_result_of_a_dry_run(self):
        for words, rule in ((("--ckpt-dir", self.named), "the name toy-4steps"), (("--ckpt-dir", CHECKPOINT, "--lightning"), "--lightning"),
                            (("--ckpt-dir", self.named, "--lightning=on"), "--lightning")):
            result = self.check(*words)
            said = f"a distilled model by {rule}: {RESULT}\n"
            self.assertEqual((result.out.count(said), result.err.count(said), result.err.count("warning:")), (1, 1, 0), result)

    def test_another_model_and_one_that_is_said_not_to_be(self):
        for words in (("--ckpt-dir", CHECKPOINT), ("--ckpt-dir", self.named, "--lightning=off")):
            result = self.check(*words)
            self.assertNotIn("distilled", result.out + result.err, result)

    def test_steps_that_do_not_suit_the_model_are_a_warning_in_one_line(self):
        for words, warning in ((("--ckpt-dir", self.named, "--sample-steps", "40", "--sample-guide-scale", "3.5"),
                                "the item takes 40 steps, euler, shift 5, guidance 3.5, but the model is distilled by the name toy-4steps"),
                               (("--ckpt-dir", CHECKPOINT, "--sample-steps", "4"),
                                f"the item takes 4 steps, unipc, shift 5, guidance 3.5, {FEW}")):
            result = self.check(*words)
            self.assertEqual(result.err.count("warning:"), 1, result)
            self.assertIn(f"warning: {warning}", result.err)

    def test_a_run_takes_the_defaults_and_explicit_values_win(self):
        manifest = self.manifest("id,image,prompt,sample_steps,sample_solver", "plain,good.png,A white cat,,",
                                 "own,good.png,A white cat,2,unipc")
        result = self.run_program(*self.base, "--ckpt-dir", self.named, "--sample-shift", "3", manifest)
        self.assertEqual(result.code, DONE, result)
        plain, own = (self.records()[name]["parameters"] for name in ("plain", "own"))
        names = ("sample_steps", "sample_solver", "sample_shift", "sample_guide_scale")
        self.assertEqual([plain[name] for name in names], [4, "euler", 3, [1, 1]])
        self.assertEqual([own[name] for name in names], [2, "unipc", 3, [1, 1]])
        self.assertEqual(result.err.count("a distilled model by"), 1, result)

    def test_a_plan_without_guidance(self):
        words = ["--plan", "--task", "i2v-A14B", "--lightning", "--gpus", "8", "--gpu-memory", "140GiB"]
        result = self.run_program(*words)
        self.assertEqual(result.code, DONE, result)
        for part in ("81 frames, 4 steps", "guidance         none", "objective        latency: cfg1 x ulysses8 in 1 group",
                     "--objective throughput is for cfg1 x ulysses1 in 8 groups", "shares           of "):
            self.assertIn(part, result.out)
        self.assertNotIn("cfg2", result.out)
        self.assert_usage_error(self.run_program(*words, "--cfg-size", "2"), "--cfg-size 2: with guidance scale 1 there is only one pass")

    def test_a_base_model_with_the_loras_of_lightning_gives_the_official_latents(self):
        """No value of the sampling is given: the name of the LoRAs' folder decides."""
        case = PROJECT / "tests" / "data" / "parity" / "lightning_i2v"
        loras = self.folder / "Wan2.2-I2V-A14B-4steps-lora"
        loras.symlink_to(case / "lora", target_is_directory=True)
        for ranks in (0, 2):
            result = self.run_program("--device", "cpu", "--ckpt-dir", case / "ckpt", "--lora", loras, "--size", "64*64",
                                      "--frame-num", "9",
                                      "--base-seed", "42", "--save-latents=steps", "--no-resume", "--output-dir", self.out,
                                      case / "manifest.csv", ranks=ranks)
            self.assertEqual(result.code, DONE, result)
            self.assertIn(f"a distilled model by the name {loras.name}: {RESULT}", result.err)
            expected = load_file(case / "expected.safetensors")
            made = load_file(self.out / "case.latent.safetensors")
            for step in range(4):
                official = expected[f"step.{step}.latent"]
                self.assertLess(np.linalg.norm(made[f"step.{step}"] - official), 1e-4 * np.linalg.norm(official), step)
