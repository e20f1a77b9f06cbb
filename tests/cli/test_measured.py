"""wan_batch --plan --measured FILE: a site's own times in a plan, and files that are refused with their field."""

import json
import re
import unittest

from cli_case import DONE, CliCase

PLAN = ("--plan", "--task", "i2v-A14B", "--gpus", "4", "--gpu-memory", "139GiB", "--size", "832*480")


def figure(seconds, starts=6):
    return {"median": seconds, "low": None, "high": None, "n": starts}


def entry(cfg, ulysses, step_s, **values):
    """As the page's JSON file has it: analysis/wan_analysis/measured.py."""
    ranks = cfg * ulysses
    return {"task": "i2v-A14B", "device": "NVIDIA H200", "precision": "bf16", "passes": 2, "width": 832, "height": 480, "frames": 81,
            "nodes": 1, "group_gpus": ranks, "cfg": cfg, "ulysses": ulysses, "placement": "whole", "step_s": figure(step_s),
            "item_phases_s": {"encode": figure(0.25), "decode": figure(0.5), "write": figure(9.0)}} | values


class Measured(CliCase):
    def study(self, *entries, **values):
        path = self.folder / "report.json"
        path.write_text(json.dumps({"format": 1, "title": "Study", "measured": list(entries), "values": {}} | values), encoding="utf-8")
        return path

    def plan(self, *entries, options=PLAN, **values):
        return self.run_program(*options, "--measured", self.study(*entries, **values))

    def test_measured_layouts_have_the_sites_times_and_others_do_not(self):
        sharded = entry(2, 2, 2.0, placement="sharded over 4")
        result = self.plan(entry(2, 2, 1.5), entry(2, 1, 2.75), sharded)
        self.assertEqual(result.code, DONE, result)
        for line in (
                r"measured +.*report.json: 3 layouts of i2v-A14B on NVIDIA H200", r"text +0.0\d s  H200's figures",
                r"denoise: 40 steps of 1.5 s +60.00 s  measured, 6 starts", r"encode the image +0.25 s  measured, 6 starts",
                r"decode +0.50 s  measured, 6 starts", r"H.264 +9.00 s  measured, 6 starts",
                r"figures +H200 \(analysis/results/step_h200.md\)$", r"cfg2 x ulysses2 +whole .* measured +chosen",
                r"cfg2 x ulysses2 +sharded .* 89.\d .* measured ", r"cfg2 x ulysses1 +whole .* measured ",
                r"cfg1 x ulysses4 +whole .* H200 "):
            self.assertRegex(result.out, re.compile(line, re.MULTILINE))

    def test_another_size_is_scaled_and_said(self):
        result = self.plan(entry(2, 2, 1.5), options=(*PLAN[:-1], "1280*720"))
        self.assertEqual(result.code, DONE, result)
        step = re.search(r"denoise: 40 steps of ([\d.]+) s .*  scaled from 832\*480, 81 frames, 6 starts", result.out)
        self.assertIsNotNone(step, result)
        # 75,600 tokens in place of 32,760: linear layers take 2.31 times as long, attention 5.3 times.
        self.assertTrue(1.5 * 2.31 < float(step[1]) < 1.5 * 5.3, result)
        self.assertRegex(result.out, r"decode +1.15 s  scaled from")

    def test_without_it_no_source_is_named(self):
        out = self.run_program(*PLAN).out
        self.assertNotIn("measured, ", out)
        self.assertNotIn("H200's figures", out)

    def test_of_a_plan_only(self):
        result = self.run_program("--ckpt-dir", "x", "--measured", "report.json", self.good_manifest())
        self.assert_usage_error(result, "--measured goes with --plan only")

    def test_files_that_are_no_study_of_this_are_refused_with_their_field(self):  # other fields: tests/unit/launch/site_study_test.cpp
        for wrong, *said in (
                (entry(2, 2, -1.0), "measured[0].step_s.median", "-1.0", "above 0"),
                (entry(2, 2, 1.5, task="t2v-1.3B"), "measured[0].task", "t2v-1.3B", "i2v-A14B"),
                (entry(2, 2, 1.5, device="cpu"), "measured[0].device", "names no GPU")):
            self.assert_usage_error(self.plan(wrong), "report.json", *said)

    def test_other_files(self):
        for content, *said in (("{}", "'format' is missing", "jobs/analysis.sh report"), ("{", "line 1")):
            path = self.folder / "report.json"
            path.write_text(content, encoding="utf-8")
            self.assert_usage_error(self.run_program(*PLAN, "--measured", path), "report.json", *said)
        self.assert_usage_error(self.run_program(*PLAN, "--measured", self.folder / "absent.json"), "absent.json")


if __name__ == "__main__":
    unittest.main()
