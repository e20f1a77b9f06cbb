"""jobs/model_cache.py where something is in the way: locks, settings of the hub's library and its failures, no home folder."""

import json
import os
import socket
import time

import pytest
from cache_case import LARGEST, one_line


def python_with(cache, tmp_path, text):
    """Runs code at the start of the program's interpreter."""
    (tmp_path / "start").mkdir(exist_ok=True)
    (tmp_path / "start" / "sitecustomize.py").write_text(text)
    cache.environment["PYTHONPATH"] = str(tmp_path / "start")


NO_FLOCK = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


def leave_lock(cache, *, host, age_s):
    """Makes the files that a killed download leaves: its lock, and the hub library's."""
    cache.folder.mkdir(parents=True)
    lock = cache.folder / ".wan_download.json"
    lock.write_text(json.dumps({"host": host, "pid": 2**22 + 1, "since": "yesterday"}))
    os.utime(lock, (time.time() - age_s, time.time() - age_s))
    hubs = cache.folder / ".cache" / "huggingface" / "download" / f"{LARGEST}.lock"
    hubs.parent.mkdir(parents=True)
    hubs.touch()
    return lock


def test_without_flock_the_lock_of_another_host_is_named(cache, tmp_path):
    python_with(cache, tmp_path, NO_FLOCK)
    lock = leave_lock(cache, host="node7", age_s=10)
    code, _, err = cache.run("download")
    assert code == 1
    assert "on node7, since yesterday" in one_line(err)
    assert str(lock) in err
    os.utime(lock, (time.time() - 200, time.time() - 200))
    code, _, err = cache.run("download")
    assert code == 0, err
    assert "a download that died was removed" in one_line(err)
    assert "node7" in err
    assert not lock.exists()


def test_a_killed_download_of_this_host_does_not_wait(cache):
    leave_lock(cache, host=socket.gethostname(), age_s=1)
    code, _, err = cache.run("download")
    assert code == 0, err


def test_two_downloads_at_a_time_are_refused(cache, hub):
    hub.hold_at_bytes = 1_000_000
    cache.environment["HF_HUB_DOWNLOAD_TIMEOUT"] = "600"  # the first one waits for the second one's end
    first = cache.start("download")
    deadline = time.monotonic() + 120
    while not (cache.folder / ".wan_download.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    code, _, err = cache.run("download")
    assert code == 1
    assert f"process {first.pid}" in one_line(err)
    hub.hold_at_bytes = None
    assert first.wait(60) == 0


def test_settings_that_break_the_hubs_library(cache):
    cache.environment["HF_HUB_OFFLINE"] = "1"
    code, _, err = cache.run("download")
    assert code == 1
    assert "HF_HUB_OFFLINE is set" in one_line(err)
    del cache.environment["HF_HUB_OFFLINE"]
    cache.environment["HF_HUB_ENABLE_HF_TRANSFER"] = "1"
    code, _, err = cache.run("download")
    assert code == 0, err
    assert "hf_transfer is not installed" in one_line(err)
    cache.environment["HF_HUB_OFFLINE"] = "1"
    del cache.environment["HF_HUB_ENABLE_HF_TRANSFER"]
    assert cache.run("download")[0] == 0, "nothing is to be fetched"


def failing_download(error):
    return f"""
import errno, huggingface_hub
def xet_get(*_, **__):
    raise {error}
huggingface_hub.hf_hub_download = xet_get
"""


@pytest.mark.parametrize(("error", "said"), [("OSError(errno.EDQUOT, 'Disk quota exceeded')", "quota"),
                                             ("ValueError('odd')", "the hub's library failed (ValueError: odd)")])
def test_whatever_the_library_throws_is_one_line(cache, tmp_path, error, said):
    python_with(cache, tmp_path, failing_download(error).replace("xet_get", "other"))
    code, _, err = cache.run("download")
    assert code == 1
    assert said in one_line(err)


def test_a_failing_hf_xet_is_done_without(cache, tmp_path):
    python_with(cache, tmp_path, """
import huggingface_hub
from huggingface_hub import constants
real = huggingface_hub.hf_hub_download
def xet_get(*arguments, **options):
    if not constants.HF_HUB_DISABLE_XET:
        raise RuntimeError("Data processing error: CAS service error")
    return real(*arguments, **options)
huggingface_hub.hf_hub_download = xet_get
""")
    code, _, err = cache.run("download")
    assert code == 0, err
    assert "HF_HUB_DISABLE_XET=1" in one_line(err)


def test_no_home_folder(cache, tmp_path):
    python_with(cache, tmp_path, """
import os
def expanduser(path):
    return path
os.path.expanduser = expanduser
""")
    del cache.environment["HF_HOME"], cache.environment["WAN_MODEL_CACHE"]
    cache.environment.pop("HOME", None)
    code, _, err = cache.run("status")
    assert code == 1
    assert "--cache or WAN_MODEL_CACHE" in one_line(err)
    code, _, err = cache.run("download", "--cache", str(tmp_path / "cache"))
    assert code == 0, err


RECORD = {"repository": "Wan-AI/Wan2.2-I2V-A14B", "revision": "0" * 40}


@pytest.mark.parametrize("place", ["absolute", "above", "link"])
def test_a_record_that_names_files_elsewhere_deletes_nothing(cache, tmp_path, place):
    private = tmp_path / "home of somebody" / "thesis.tex"
    private.parent.mkdir()
    private.write_text("years of work")
    cache.folder.mkdir(parents=True)
    (cache.folder / "google").symlink_to(private.parent)
    name = {"absolute": str(private), "above": f"../../{private.parent.name}/{private.name}", "link": f"google/{private.name}"}[place]
    assert (cache.folder / name).is_file()
    record = RECORD | {"files": [{"name": name, "size": 3, "sha256": "1" * 64}]}
    (cache.folder / ".wan_files.json").write_text(json.dumps(record))
    code, _, err = cache.run("download")
    assert "Traceback" not in err
    assert private.read_text() == "years of work"
    if place == "link":
        assert code == 1
        assert "lies outside" in one_line(err)
    for command in ("status", "quick", "verify"):
        code, _, err = cache.run(command)
        assert "Traceback" not in err


@pytest.mark.parametrize("change", [{"name": ""}, {"name": "a\0b"}, {"name": ".."}, {"size": float("inf")}, {"size": -1}, {"sha256": 7},
                                    {"sha256": "../../x"}, {"checked": 7}])
def test_a_record_that_cannot_be_true_is_damaged(cache, change):
    cache.folder.mkdir(parents=True)
    record = RECORD | {"files": [{"name": "config.json", "size": 2, "sha256": None} | change]}
    (cache.folder / ".wan_files.json").write_text(json.dumps(record))
    code, _, err = cache.run("quick")
    assert code == 1
    assert "is damaged" in one_line(err)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"host": "x", "pid": 1e999, "since": ""}'])
def test_a_damaged_record_or_lock_gives_no_traceback(cache, text):
    lock = leave_lock(cache, host="node7", age_s=200)
    lock.write_text(text)
    os.utime(lock, (time.time() - 200, time.time() - 200))
    (cache.folder / ".wan_files.json").write_text(text)
    code, _, err = cache.run("download")
    assert code == 0, err
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": 10**30, "since": "now"}))
    code, _, err = cache.run("download")
    assert code == 0, err
