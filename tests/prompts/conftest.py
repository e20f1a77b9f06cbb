"""The stand-in for the model, and a folder for each test."""

import importlib.util
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("transformers") is None:
    pytest.exit("these tests need the optional set of libraries: run jobs/setup.sh --with prompts", returncode=1)

sys.path[:0] = [str(Path(__file__).resolve().parent)]
from prompts_case import Case, StandIn, extend_prompts, make_folder, manifest  # noqa: E402  (needs the path)


@pytest.fixture(autouse=True)
def listed_once(monkeypatch):
    """`wan_batch --list-rows` takes a second to start, and a test reads the same rows again and again."""
    known, real = {}, manifest.list_rows

    def remembered(program, path):
        key = (program, path.absolute().parent, path.suffix, path.read_bytes())
        if key not in known:
            known[key] = real(program, path)
        return known[key]

    monkeypatch.setattr(manifest, "list_rows", remembered)


@pytest.fixture
def case(tmp_path, monkeypatch, capsys):
    """Runs with the stand-in. It sees images."""
    monkeypatch.setattr(extend_prompts, "Generator", StandIn)
    monkeypatch.setattr(extend_prompts, "choose_device", lambda _name: "cpu")
    monkeypatch.setattr(StandIn, "asked", [])
    return Case(tmp_path, make_folder(tmp_path / "model", model_type="qwen2_5_vl"), capsys)
