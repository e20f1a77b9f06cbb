"""The toys of each task, made once for all tests, and the programs' runs on them."""

import importlib.util
import sys
from pathlib import Path

import pytest

folder = Path(__file__).resolve().parent
sys.path[:0] = [str(folder), str(folder.parent / "cli")]
SKIPPED = 77  # CMakeLists.txt says so to ctest
missing = [name for name in ("diffusers", "transformers", "accelerate", "ftfy") if importlib.util.find_spec(name) is None]
if not missing:
    from official_layout import write_checkpoint
    from programs import Programs
    from toy_models import KINDS, networks


def pytest_configure():
    if missing:
        pytest.exit(f"skipped: not installed: {', '.join(missing)}; run jobs/setup.sh --with dialects", returncode=SKIPPED)


@pytest.fixture
def programs(tmp_path):
    return Programs(tmp_path)


class Toys:
    """Makes each toy when it is first asked for: the networks, the Diffusers repository and the official folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.made: dict[str, tuple] = {}

    def __call__(self, task: str) -> tuple:
        if task not in self.made:
            made = networks(task)
            root = self.folder / task
            self.made[task] = made, made.save_repository(root / "repository"), write_checkpoint(root / "official", made)
        return self.made[task]


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.mktemp("toys"))


@pytest.fixture(params=[] if missing else list(KINDS))
def task(request):
    return request.param
