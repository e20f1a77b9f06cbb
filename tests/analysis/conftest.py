"""Makes the package and the synthetic traces importable; the stand-in of the hub and a cache that uses it."""

import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "analysis"), str(Path(__file__).resolve().parent)]
from cache_case import REPOSITORY, Cache, made_up_files  # noqa: E402
from hub_stand_in import Hub  # noqa: E402


@pytest.fixture
def hub():
    server = Hub(REPOSITORY, made_up_files())
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path, hub):
    return Cache(tmp_path, hub.endpoint)
