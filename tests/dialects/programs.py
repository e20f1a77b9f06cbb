"""wan_batch and wan_doctor on the CPU: the bytes of a tiny video, the message of --dry-run, and the findings on a checkpoint."""

import json
import os
import subprocess
from pathlib import Path

from cli_case import PROGRAM, environment
from toy_models import PROJECT

DOCTOR = Path(os.environ.get("WAN_DOCTOR", PROGRAM.parent / "wan_doctor"))
IMAGE = PROJECT / "inputs/toy/images/cat_on_beach.png"
PROMPT, SEED, SIDE, FRAMES = "A white cat", 7, 64, 5
TINY = ["--device", "cpu", "--precision", "fp32", "--size", f"{SIDE}*{SIDE}", "--frame-num", FRAMES]
TINY += ["--sample-steps", "2", "--base-seed", SEED]
DONE, USAGE = 0, 2


class Programs:
    """Runs in a folder of a test."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.runs = 0

    def start(self, program: Path, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run([str(program), *map(str, arguments)], cwd=self.folder, env=environment(), timeout=600,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)  # fmt: skip

    def batch(self, out: Path, image: Path | None, *arguments) -> subprocess.CompletedProcess:
        manifest = self.folder / "rows.csv"
        manifest.write_text(f"id,image,prompt\none,{image or ''},{PROMPT}\n", encoding="utf-8")
        return self.start(PROGRAM, *TINY, "--output-dir", out, *arguments, manifest)

    def video(self, *arguments, has_image: bool = False, image: Path | None = None) -> tuple[bytes, bytes, dict]:
        """The MP4 and the latents that these options make, and the record."""
        self.runs += 1
        out = self.folder / f"out {self.runs}"
        result = self.batch(out, image or (IMAGE if has_image else None), "--save-latents", *arguments)
        assert result.returncode == DONE, result.stdout + result.stderr
        record = json.loads((out / "one.json").read_text(encoding="utf-8"))
        return (out / "one.mp4").read_bytes(), (out / "one.latent.safetensors").read_bytes(), record

    def last_latents(self) -> Path:
        return self.folder / f"out {self.runs}" / "one.latent.safetensors"

    def refusal(self, *arguments) -> str:
        """The message with which --dry-run refuses these options."""
        result = self.batch(self.folder / "out", None, "--dry-run", *arguments)
        assert result.returncode == USAGE, result.stdout + result.stderr
        return result.stderr.partition("error: ")[2].strip()

    def findings(self, *arguments) -> dict[str, tuple[str, str]]:
        """wan_doctor's verdict and its description for each part of the checkpoint."""
        result = self.start(DOCTOR, "--json", "--output-dir", self.folder / "out", *arguments)
        found = json.loads(result.stdout)["findings"]
        return {
            finding["check"].removeprefix("checkpoint: "): (finding["verdict"], finding["found"])
            for finding in found
            if finding["check"].startswith("checkpoint: ")
        }

    def accepted_forms(self, *arguments) -> dict[str, str]:
        """The names and the form of each part's file, as wan_doctor says them. It must accept all."""
        findings = self.findings(*arguments)
        assert all(verdict == "OK" or "another file was named in its place" in found for verdict, found in findings.values()), findings
        return {part: found.split(", ", 2)[2] for part, (_, found) in findings.items() if " tensors in " in found}
