"""The contact sheet and the page of an output folder's videos."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

pytest.importorskip("av", reason="jobs/setup.sh installs PyAV")
from test_quality import write_video


def write_items(folder):
    for line, name in ((3, "second"), (2, "first")):
        image = Image.new("RGB", (48, 32), (200, 0, 0) if name == "first" else (0, 0, 200))
        image.save(folder / f"{name}.png")
        frames = np.stack([np.full((32, 48, 3), 20 * index, dtype=np.uint8) for index in range(9)])
        write_video(folder / f"{name}.mp4", frames)
        record = {"id": name, "status": "done", "manifest": {"line": line}, "outputs": {"video": {"file": f"{name}.mp4"}},
                  "parameters": {"prompt": f"the <{name}>", "image": str(folder / f"{name}.png")}}
        (folder / f"{name}.json").write_text(json.dumps(record))
    (folder / "failed.json").write_text('{"status": "failed"}')
    (folder / "run.json").write_text("[]")


def start(folder):
    return subprocess.run([sys.executable, "-B", str(PROJECT / "jobs" / "contact_sheet.py"), str(folder), "--name", "demo"],
                          capture_output=True, text=True, check=False, timeout=60)


def test_image_frames_and_prompts_are_shown_in_the_manifests_order(tmp_path):
    write_items(tmp_path)
    result = start(tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"2 videos: {tmp_path}/demo.png shows frames of each, {tmp_path}/index.html plays them\n"
    sheet = np.asarray(Image.open(tmp_path / "demo.png")).astype(int)
    row, width = 154, 192  # 128 pixels of picture, a line of text, a gap; 48x32 scaled to that height
    assert np.abs(sheet[70, 50] - (200, 0, 0)).max() < 3
    assert np.abs(sheet[70 + row, 50] - (0, 0, 200)).max() < 3
    frames = [sheet[70, 6 + width + 18 + index * (width + 6) + 90] for index in range(6)]
    assert [round(frame.mean() / 20) for frame in frames] == [0, 2, 3, 5, 6, 8]
    page = (tmp_path / "index.html").read_text()
    assert page.index("first.mp4") < page.index("second.mp4")
    assert "the &lt;first&gt;" in page


def test_an_empty_folder_is_named(tmp_path):
    result = start(tmp_path)
    assert result.returncode == 1
    assert f"{tmp_path} has no finished video" in result.stderr


@pytest.mark.parametrize("damage", ["video", "image", "pipe", "file", "prompt", "nested", "folder", "line"])
def test_one_damaged_item_costs_its_own_row_only(tmp_path, damage):
    write_items(tmp_path)
    record = json.loads((tmp_path / "first.json").read_text())
    if damage == "video":
        (tmp_path / "first.mp4").write_text(f"ffconcat version 1.0\nfile {tmp_path}/second.mp4\n")
    elif damage == "image":
        (tmp_path / "first.png").write_bytes((tmp_path / "first.png").read_bytes()[:60])
    elif damage == "pipe":
        os.mkfifo(tmp_path / "pipe.png")
        record["parameters"]["image"] = str(tmp_path / "pipe.png")
    elif damage == "file":
        record["outputs"]["video"]["file"] = str(tmp_path / "second.mp4")
    elif damage == "prompt":
        record["parameters"]["prompt"] = None
    elif damage == "nested":
        (tmp_path / "deep.json").write_text("[" * 100_000)
    elif damage == "folder":
        (tmp_path / "folder.json").mkdir()
        os.mkfifo(tmp_path / "pipe.json")
    else:
        record["manifest"] = {"line": "x"}
    (tmp_path / "first.json").write_text(json.dumps(record))
    result = start(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    is_lost = damage in ("video", "file", "prompt")
    assert Image.open(tmp_path / "demo.png").height == 6 + 154 * (1 if is_lost else 2)
    assert ("first" in result.stderr) == (damage in ("video", "image"))


def test_links_and_pipes_in_the_folder_are_not_written_to(tmp_path):
    (tmp_path / "out").mkdir()
    write_items(tmp_path / "out")
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out" / "index.html").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / "out" / "demo.png")
    result = start(tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "precious").read_text() == "mine"
    assert Image.open(tmp_path / "out" / "demo.png").height == 6 + 2 * 154
    assert "first.mp4" in (tmp_path / "out" / "index.html").read_text()
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_folder_of_broken_videos_is_named(tmp_path):
    write_items(tmp_path)
    for name in ("first.mp4", "second.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    result = start(tmp_path)
    assert result.returncode == 1
    assert "has no video that can be read" in result.stderr
