"""The batch scripts as text: they parse, shellcheck finds nothing, and what they promise Slurm is the same in all of them."""

import importlib.util
import shutil
import subprocess
import sys
import unittest

from slurm_case import PROJECT, SCRIPTS

JOBS = sorted(SCRIPTS.glob("i2v_*.sh"))
ALWAYS = ["--signal=B:USR1@180", "--requeue", "--open-mode=append"]


class Style(unittest.TestCase):
    def test_scripts_parse_and_shellcheck_is_silent(self):
        scripts = [*SCRIPTS.glob("*.sh"), *(PROJECT / "tests" / "slurm").glob("*.sh")]
        for script in scripts:
            subprocess.run(["bash", "-n", script], check=True)
        if shutil.which("shellcheck") is None:
            self.skipTest("shellcheck is not installed (tests/slurm/setup.sh does)")
        done = subprocess.run(["shellcheck", "-x", *scripts], cwd=PROJECT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_ruff_finds_nothing(self):
        if importlib.util.find_spec("ruff") is None:
            self.skipTest("ruff is not installed (jobs/setup.sh does)")
        command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--ignore=D,ANN", "--config",
                   PROJECT / "analysis" / "pyproject.toml", PROJECT / "tests" / "slurm"]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_jobs_ask_for_the_same(self):
        self.assertEqual(len(JOBS), 5)
        for script in JOBS:
            directives = [line.split()[1] for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
            ranks = next(word for word in directives if word.startswith("--ntasks-per-node=")).partition("=")[2]
            for wanted in (*ALWAYS, f"--gpus-per-node={ranks}"):
                self.assertIn(wanted, directives, script.name)

    def test_a_script_names_itself(self):
        """Outside a checkout its message names it: test_played_starts starts each of them so."""
        for script in SCRIPTS.glob("*.sh"):
            if script.name != "common.sh":
                self.assertIn(f"\nscript={script.name} ", script.read_text())

    def test_every_knob_read_is_documented(self):
        described = (SCRIPTS / "README.md").read_text()
        for script in SCRIPTS.glob("*.sh"):
            text = script.read_text()
            for knob in {word.split("-")[0].split(":")[0].split("}")[0] for word in text.split("${")[1:] if word.startswith("WAN_")}:
                self.assertIn(f"`{knob}`", described, f"{script.name} reads {knob}")
