"""jobs/model_cache.py against a stand-in of the hub on 127.0.0.1."""

import contextlib
import hashlib
import importlib.util
import os
import random
import signal
import sys
import time

import pytest
from cache_case import LARGEST, REPOSITORY, SCRIPT, Cache, finished_files, one_line
from hub_stand_in import Hub


def test_download_fetches_what_the_program_reads_and_all_checks_pass(cache, hub):
    code, out, err = cache.run("download")
    assert code == 0, err
    assert f"--ckpt-dir {cache.folder}" in out
    assert finished_files(cache.folder) == set(hub.files) - {"assets/logo.png"}
    for name in finished_files(cache.folder):
        assert (cache.folder / name).read_bytes() == hub.files[name]
    served = hub.served_bytes
    assert cache.run("download")[0] == 0  # again: nothing left to fetch
    assert hub.served_bytes - served < 10_000
    hub.close()  # from here on without network
    for command in ("status", "quick", "verify"):
        assert cache.run(command)[0] == 0, command


def test_another_task_has_another_repository_and_another_folder(cache, hub):
    hub.repository = "Wan-AI/Wan2.1-T2V-1.3B"
    hub.files = {"config.json": b'{"dim": 1536}', "diffusion_pytorch_model.safetensors": b"weights", "Wan2.1_VAE.pth": b"vae",
                 "assets/logo.png": b"logo"}
    code, _, err = cache.run("--task", "t2v-1.3B", "download")
    assert code == 0, err
    folder = cache.folder.parent / "Wan2.1-T2V-1.3B"
    assert finished_files(folder) == set(hub.files) - {"assets/logo.png"}
    assert not cache.folder.exists()
    code, _, err = cache.run("--task", "i2v-14B", "status")
    assert code == 2
    assert "i2v-14B-480P" in err and "i2v-14B-720P" in err


def test_a_repository_of_diffusers_is_fetched_whole(cache, hub):
    hub.repository = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    hub.files = {"model_index.json": b"{}", "transformer/config.json": b"{}", "transformer/diffusion_pytorch_model.safetensors": b"weights",
                 "text_encoder/model-00001-of-00002.safetensors": b"t5", "tokenizer/tokenizer.json": b"{}", "assets/logo.png": b"logo"}
    code, out, err = cache.run("--task", "t2v-1.3B", "--diffusers", "download")
    assert code == 0, err
    folder = cache.folder.parent / "Wan2.1-T2V-1.3B-Diffusers"
    assert finished_files(folder) == set(hub.files) - {"assets/logo.png"}
    assert f"use it with: --ckpt-dir {folder}" in out
    assert cache.run("--task", "t2v-1.3B", "--diffusers", "verify")[0] == 0


def test_single_files_of_another_repository_are_chosen(cache, hub):
    hub.repository = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"
    hub.files = {"split_files/vae/wan_2.1_vae.safetensors": b"vae", "split_files/diffusion_models/high_fp8_scaled.safetensors": b"high",
                 "split_files/diffusion_models/low_fp8_scaled.safetensors": b"low"}
    which = ("--repository", hub.repository)
    code, out, err = cache.run(*which, "--files", "*_fp8_scaled.safetensors", "download")
    assert code == 0, err
    folder = cache.folder.parent / "Wan_2.2_ComfyUI_Repackaged"
    assert finished_files(folder) == {name for name in hub.files if "fp8" in name}
    assert "use them with: --model" in out
    assert cache.run(*which, "--files", "*/wan_2.1_vae.safetensors", "download")[0] == 0  # the others stay
    assert finished_files(folder) == set(hub.files)
    assert cache.run(*which, "status")[0] == 0
    code, _, err = cache.run(*which, "--files", "*.pth", "download")
    assert code == 1 and "no file that is called" in one_line(err)
    for wrong in (("--repository", "../x/y"), ("--repository", "x"), (*which, "--diffusers"), ("--files", "*")):
        code, _, err = cache.run(*wrong, "download")
        assert code == 2, wrong


def test_goes_on_after_kill_9_at_5_points(cache, hub):
    hub.files[LARGEST] = random.Random(4).randbytes(45_000_000)
    kills = 0

    def partial_bytes() -> int:
        sizes = [0]
        for path in cache.folder.rglob("*.incomplete"):
            with contextlib.suppress(FileNotFoundError):  # it has its final name now
                sizes.append(path.stat().st_size)
        return max(sizes)

    for megabytes in (2, 12, 12, 12, 6):
        hub.hold_at_bytes = hub.served_bytes + int(megabytes * 1e6)  # it cannot come to its end before it is killed
        written = partial_bytes() + (10_000_000 if megabytes > 10 else 0)  # the hub's library writes 10 MB at a time
        process = cache.start("download")
        deadline = time.monotonic() + 60
        while ((hub.served_bytes < hub.hold_at_bytes or partial_bytes() < written) and process.poll() is None
               and time.monotonic() < deadline):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kills += 1
        for name in finished_files(cache.folder):
            assert (cache.folder / name).read_bytes() == hub.files[name], f"{name} is partial under its final name"
        assert cache.run("status")[0] == 1
    assert kills == 5
    hub.hold_at_bytes = None
    assert cache.run("download")[0] == 0
    assert cache.run("verify")[0] == 0
    assert hub.ranges, "no request went on where the one before it had stopped"
    assert hub.served_bytes < 2 * sum(len(content) for content in hub.files.values())


def test_verify_finds_one_altered_byte(cache):
    cache.run("download")
    path = cache.folder / LARGEST
    content = bytearray(path.read_bytes())
    content[1_234_567] ^= 1
    path.write_bytes(content)
    code, out, _ = cache.run("quick")
    assert code == 1
    assert f"{LARGEST}: has the right size, and has changed since it was checked; run verify" in out
    code, out, _ = cache.run("verify")
    assert code == 1
    assert f"{LARGEST}: its SHA-256 is not the hub's" in out


def test_quick_finds_a_truncated_and_a_missing_file(cache):
    cache.run("download")
    path = cache.folder / LARGEST
    path.write_bytes(path.read_bytes()[:-1])
    (cache.folder / "configuration.json").unlink()
    code, out, _ = cache.run("quick")
    assert code == 1
    assert f"{LARGEST}: has 3999999 bytes, should have 4000000" in out
    assert "configuration.json: missing" in out


def test_a_file_damaged_on_the_way_is_removed(cache, hub, monkeypatch):
    good = hub.files[LARGEST]
    monkeypatch.setattr(Hub, "_info", lambda self, original=Hub._info: _with_content(self, original, good))
    hub.files[LARGEST] = good[:-1] + bytes([good[-1] ^ 1])
    code, _, err = cache.run("download")
    assert code == 1
    assert "SHA-256" in err
    assert LARGEST not in finished_files(cache.folder)
    hub.files[LARGEST] = good
    assert cache.run("download")[0] == 0
    assert cache.run("verify")[0] == 0


def _with_content(hub, original, content):
    """The API's answer as if the largest file had this content."""
    sent = hub.files[LARGEST]
    hub.files[LARGEST] = content
    try:
        return original(hub)
    finally:
        hub.files[LARGEST] = sent


def test_a_wrong_token_is_named(cache, hub):
    hub.token = "right"
    cache.environment["HF_TOKEN"] = "wrong"
    code, _, err = cache.run("download")
    assert code == 1
    assert "HF_TOKEN" in err
    assert err.count("\n") == 1, "one message, no stack trace"
    cache.environment["HF_TOKEN"] = "right"
    assert cache.run("download")[0] == 0


def test_no_network_is_named_and_status_works_without(cache, hub):
    cache.run("download")
    (cache.folder / LARGEST).unlink()
    hub.close()
    code, _, err = cache.run("download")
    assert code == 1
    assert "cannot be reached" in err
    assert err.count("\n") == 1
    code, out, _ = cache.run("status")
    assert code == 1
    assert "4 of 5 files" in out


def test_clean_asks_before_it_deletes(cache):
    cache.run("download")
    code, out, _ = cache.run("clean", said="n\n")
    assert code == 1
    assert "nothing was deleted" in out
    assert cache.run("clean", said="")[0] == 1  # no terminal: no answer is no consent
    assert cache.folder.exists()
    assert cache.run("clean", said="y\n")[0] == 0
    assert not cache.folder.exists()
    code, _, err = cache.run("clean", "--yes")
    assert code == 1
    assert "nothing was downloaded here" in err


def loaded_script():
    spec = importlib.util.spec_from_file_location("model_cache", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_cache"] = module
    spec.loader.exec_module(module)
    return module


def test_a_full_disk_is_noticed_before_anything_is_fetched(tmp_path, monkeypatch, capsys):
    script = loaded_script()
    record = script.Record(REPOSITORY, "0" * 40, (script.WantedFile("a.safetensors", 60 << 30, None),))
    monkeypatch.setattr(script, "ask_hub", lambda repository, patterns: record)
    monkeypatch.setattr(script.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 50 << 30})())
    assert script.main(["download", "--cache", str(tmp_path)]) == 1
    assert "60.0 GiB are to be fetched and 50.0 GiB are free" in capsys.readouterr().err
    assert finished_files(tmp_path) == set()


def test_a_hub_cannot_place_files_elsewhere(tmp_path, capsys):
    evil = Hub(REPOSITORY, {"../escape.json": b"{}"})
    try:
        code, _, err = Cache(tmp_path, evil.endpoint).run("download")
    finally:
        evil.close()
    assert code == 1
    assert "cannot be kept" in err
    assert not (tmp_path / "cache" / "escape.json").exists()


def test_a_damaged_record_is_named(cache):
    cache.run("download")
    (cache.folder / ".wan_files.json").write_text("{")
    code, _, err = cache.run("quick")
    assert code == 1
    assert "is damaged" in err
    assert cache.run("download")[0] == 0
    assert cache.run("quick")[0] == 0


def zero(path):
    """The same size and times, other content."""
    times = path.stat()
    path.write_bytes(bytes(times.st_size))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("name", [LARGEST, "high_noise_model/config.json"])
def test_a_zeroed_file_of_the_right_size_is_fetched_again(cache, hub, name):
    cache.run("download")
    zero(cache.folder / name)
    assert cache.run("status")[0] == 1
    assert cache.run("quick")[0] == 1
    assert cache.run("verify")[0] == 1
    code, out, err = cache.run("download")
    assert code == 0, err
    assert f"{name}: does not match its record" in out
    assert (cache.folder / name).read_bytes() == hub.files[name]
    assert cache.run("status")[0] == 0


def test_a_new_revision_of_equal_sizes_waits_for_update(cache, hub):
    cache.run("download")
    old = dict(hub.files)
    hub.commit = "f" * 40
    hub.files[LARGEST] = random.Random(5).randbytes(len(old[LARGEST]))
    hub.files["high_noise_model/config.json"] = b'{"dim": 2}'
    served = hub.served_bytes
    code, out, _ = cache.run("download")
    assert code == 0
    assert "revision 0123456789ab" in out
    assert hub.served_bytes == served, "the hub was asked"
    assert (cache.folder / LARGEST).read_bytes() == old[LARGEST]
    code, out, err = cache.run("download", "--update")
    assert code == 0, err
    assert "from revision 0123456789ab to ffffffffffff" in out
    for name in finished_files(cache.folder):
        assert (cache.folder / name).read_bytes() == hub.files[name]
    assert hub.served_bytes - served < len(old[LARGEST]) + 100_000, "what is the same was fetched again"
    assert cache.run("verify")[0] == 0


def test_files_of_the_hubs_own_cache_are_linked(cache, hub, tmp_path):
    blobs = tmp_path / "home" / "hub" / "models--Wan-AI--Wan2.2-I2V-A14B" / "blobs"
    blobs.mkdir(parents=True)
    blob = blobs / hashlib.sha256(hub.files[LARGEST]).hexdigest()
    blob.write_bytes(hub.files[LARGEST])
    damaged = blobs / hashlib.sha256(hub.files["models_t5_umt5-xxl-enc-bf16.pth"]).hexdigest()
    damaged.write_bytes(bytes(700_000))
    code, _, err = cache.run("download")
    assert code == 0, err
    assert hub.served_bytes < 1_000_000
    assert (cache.folder / LARGEST).stat().st_ino == blob.stat().st_ino
    assert cache.run("verify")[0] == 0
    assert cache.run("clean", "--yes")[0] == 0
    assert blob.read_bytes() == hub.files[LARGEST]


def test_a_folder_that_is_a_link_is_cleaned(cache, tmp_path):
    real = tmp_path / "elsewhere"
    real.mkdir()
    cache.folder.parent.mkdir()
    cache.folder.symlink_to(real)
    assert cache.run("download")[0] == 0
    assert cache.run("clean", "--yes")[0] == 0
    assert not real.exists()
    assert not cache.folder.is_symlink()
