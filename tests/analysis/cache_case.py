"""Shared by the tests of jobs/model_cache.py: a made-up checkpoint, and runs of the program against a stand-in for the hub."""

import os
import random
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = PROJECT / "jobs" / "model_cache.py"
REPOSITORY = "Wan-AI/Wan2.2-I2V-A14B"
LARGEST = "low_noise_model/diffusion_pytorch_model-00001-of-00002.safetensors"


def made_up_files():
    source = random.Random(3)
    return {"configuration.json": b"{}", "high_noise_model/config.json": b'{"dim": 1}', LARGEST: source.randbytes(4_000_000),
            "models_t5_umt5-xxl-enc-bf16.pth": source.randbytes(700_000), "google/umt5-xxl/spiece.model": source.randbytes(5000),
            "assets/logo.png": source.randbytes(5000)}


class Cache:
    def __init__(self, tmp_path, endpoint):
        self.folder = tmp_path / "cache" / "Wan2.2-I2V-A14B"
        self.environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1",
                                         "WAN_MODEL_CACHE": str(tmp_path / "cache"), "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
        self.environment.pop("HF_TOKEN", None)

    def start(self, *arguments):
        return subprocess.Popen([sys.executable, "-B", SCRIPT, *arguments], env=self.environment, text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments, said=""):
        process = self.start(*arguments)
        out, err = process.communicate(said, timeout=120)
        return process.returncode, out, err


def finished_files(folder):
    """The files with final names, without the record and the hub library's own folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".") and ".cache" not in path.relative_to(folder).parts}


def one_line(err):
    """The program's message, which must be one line without a stack trace."""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err
