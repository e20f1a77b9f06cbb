"""The comparison of two runs' videos: every number is computed again, and what cannot be compared is named."""

import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

pytest.importorskip("av", reason="jobs/setup.sh installs PyAV")
pytest.importorskip("skimage", reason="jobs/setup.sh installs scikit-image")
import av
from conftest import PROJECT
from wan_analysis.cli import main
from wan_analysis.quality import QualityError, compare_folders
from wan_analysis.quality_frames import likeness, read_video

FRAMES, HEIGHT, WIDTH = 5, 32, 48


def write_video(path, frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_item(folder, name, frames, latent=None, steps=(), prompt="a cat", status="done"):
    folder.mkdir(exist_ok=True)
    outputs = {"video": {"file": f"{name}.mp4"}}
    write_video(folder / f"{name}.mp4", frames)
    if latent is not None:
        outputs["latents"] = {"file": f"{name}.latent.safetensors"}
        tensors = {"frames": frames, "latent": latent} | {f"step.{index}": step for index, step in enumerate(steps)}
        save_file(tensors, folder / f"{name}.latent.safetensors")
    record = {"id": name, "status": status, "parameters": {"prompt": prompt}, "outputs": outputs}
    (folder / f"{name}.json").write_text(json.dumps(record))


@pytest.fixture
def clip():
    rows = np.linspace(40, 200, HEIGHT)[None, :, None, None] + np.arange(FRAMES)[:, None, None, None]
    return np.broadcast_to(rows, (FRAMES, HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.fixture
def latent():
    return np.random.default_rng(1).standard_normal((16, 2, 4, 6), dtype=np.float32)


def brighter(clip, frame, by):
    changed = clip.copy()
    changed[frame] += by
    return changed


def test_psnr_and_the_worst_frame_are_those_of_the_definition(clip):
    found = likeness(clip, brighter(clip, 3, 10))
    assert found.worst_frame == 3
    assert found.worst_psnr_db == pytest.approx(20 * np.log10(255 / 10))
    assert found.psnr_db == pytest.approx(20 * np.log10(255 / 10) + 10 * np.log10(FRAMES))
    assert found.psnr_db_by_frame[:3] == [None] * 3
    assert found.ssim_by_frame[0] == 1.0
    assert found.worst_ssim == pytest.approx(found.ssim_by_frame[3])
    assert found.worst_ssim < 0.9999


def test_equal_runs_are_equal(tmp_path, clip, latent):
    for run in ("a", "b"):
        write_item(tmp_path / run, "cat", clip, latent)
    quality = compare_folders(tmp_path / "a", tmp_path / "b")
    (item,) = quality.items
    assert item.frames.psnr_db is item.video.psnr_db is quality.worst_psnr_db() is None
    assert item.latent.relative == 0
    assert item.notes == []


def test_latents_and_steps_are_compared(tmp_path, clip, latent):
    write_item(tmp_path / "a", "cat", clip, latent, steps=[latent, 2 * latent])
    write_item(tmp_path / "b", "cat", brighter(clip, 0, 4), 1.01 * latent, steps=[latent, 2.2 * latent])
    (item,) = compare_folders(tmp_path / "a", tmp_path / "b").items
    assert item.latent.relative == pytest.approx(0.01, rel=1e-4)
    assert item.latent.largest == pytest.approx(0.01 * np.abs(latent).max(), rel=1e-3)
    assert [step.relative for step in item.steps] == [pytest.approx(0), pytest.approx(0.1, rel=1e-4)]
    assert item.frames.worst_psnr_db == pytest.approx(20 * np.log10(255 / 4))
    assert item.video.worst_psnr_db == pytest.approx(20 * np.log10(255 / 4), abs=3)


def test_what_cannot_be_compared_is_named(tmp_path, clip, latent):
    write_item(tmp_path / "a", "cat", clip, latent)
    write_item(tmp_path / "b", "cat", clip[:, :16])
    write_item(tmp_path / "a", "dog", clip)
    write_item(tmp_path / "b", "cow", clip)
    write_item(tmp_path / "b", "dog", clip, status="failed")
    quality = compare_folders(tmp_path / "a", tmp_path / "b")
    assert (quality.only_in_a, quality.only_in_b) == (["dog"], ["cow"])
    (item,) = quality.items
    assert item.video is item.frames is item.latent is None
    assert item.notes == ["the videos differ in size: 5 frames of 48*32 and 5 frames of 48*16",
                          "run B has no latents: start wan_batch with --save-latents"]
    (tmp_path / "b" / "cat.mp4").write_bytes(b"no video")
    (item,) = compare_folders(tmp_path / "a", tmp_path / "b").items
    assert "cat.mp4: the video cannot be read" in item.notes[0]


@pytest.mark.parametrize("change", [{"outputs": []}, {"outputs": {"video": {"file": "../a/cat.mp4"}}}, {"outputs": {"video": {"file": 7}}},
                                    {"parameters": {}}, {"parameters": None}, {"id": ["x"]}, {"outputs": {"video": None}}])
def test_a_record_that_is_none_is_named(tmp_path, clip, change):
    write_item(tmp_path / "a", "cat", clip)
    write_item(tmp_path / "b", "cat", clip)
    path = tmp_path / "b" / "cat.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(QualityError, match=r"cat\.json: is no record of wan_batch"):
        compare_folders(tmp_path / "a", tmp_path / "b")
    path.write_text("[" * 100_000)
    with pytest.raises(QualityError, match=r"cat\.json: cannot be read as a record"):
        compare_folders(tmp_path / "a", tmp_path / "b")


def test_what_is_no_file_is_not_opened(tmp_path, clip, latent):
    for run in "ab":
        write_item(tmp_path / run, "cat", clip, latent)
    for name in ("cat.mp4", "cat.latent.safetensors"):
        (tmp_path / "b" / name).unlink()
        os.mkfifo(tmp_path / "b" / name)
    os.mkfifo(tmp_path / "b" / "pipe.json")
    (item,) = compare_folders(tmp_path / "a", tmp_path / "b").items
    assert [note.removeprefix(f"{tmp_path}/b/") for note in item.notes] == [
        "cat.mp4: there is no such file", "cat.latent.safetensors: there is no such file"]


def test_a_video_that_is_a_list_of_others_is_not_followed(tmp_path, clip):
    for run in "ab":
        write_item(tmp_path / run, "cat", clip)
    (tmp_path / "b" / "cat.mp4").write_text("ffconcat version 1.0\nfile dog.mp4\n")
    write_item(tmp_path / "b", "dog", clip)
    (item,) = compare_folders(tmp_path / "a", tmp_path / "b").items
    assert "cat.mp4: the video cannot be read" in item.notes[0]


def test_folders_without_common_items_are_refused(tmp_path, clip):
    write_item(tmp_path / "a", "cat", clip)
    write_item(tmp_path / "b", "dog", clip)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json").write_text("{}")
    for other, message in (("b", "no item in common"), ("empty", "no record of a finished item"), ("gone", "no such folder")):
        with pytest.raises(QualityError, match=message):
            compare_folders(tmp_path / "a", tmp_path / other)


def test_clips_of_the_demos_world_are_judged(tmp_path):
    sys.path.append(str(PROJECT / "inputs" / "demo" / "train"))
    import torch
    from grammar import MOTION_NAMES
    from world import captions, draw, draw_motions, draw_scenes

    generator = torch.Generator().manual_seed(2)
    scenes = draw_scenes(2, generator)
    motion, speed = draw_motions(2, generator)
    prompts = captions(scenes, motion, speed, generator)
    clips = (draw(scenes, motion, speed) * 127.5 + 127.5).byte().permute(0, 2, 3, 4, 1).numpy()
    for row in range(2):
        write_item(tmp_path / "a", f"row{row}", clips[row], prompt=prompts[row])
        write_item(tmp_path / "b", f"row{row}", np.repeat(clips[row, :1], len(clips[row]), axis=0), prompt=prompts[row])
    quality = compare_folders(tmp_path / "a", tmp_path / "b")
    assert quality.score("a")["motion"] == quality.score("a")["colour"] == quality.score("b")["colour"] == 1
    assert quality.score("b")["motion"] == 0
    assert set(quality.score("a")["by_motion"]) == {MOTION_NAMES[index] for index in motion}
    files = ["-o", str(tmp_path / "q.html")]
    assert main(["quality", str(tmp_path / "a"), "--least-score", "0.9", *files]) == 0
    assert main(["quality", str(tmp_path / "a"), str(tmp_path / "b"), "--least-score", "0.9", *files]) == 3


def test_the_command_writes_page_and_json(tmp_path, clip, latent, capsys):
    write_item(tmp_path / "a", "cat", clip, latent, prompt="a <b> cat")
    write_item(tmp_path / "b", "cat", brighter(clip, 2, 3), latent, prompt="a <b> cat")
    page, numbers = tmp_path / "q.html", tmp_path / "q.json"
    command = ["quality", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(page), "--json", str(numbers)]
    assert main([*command, "--least-psnr", "30"]) == 0
    found = json.loads(numbers.read_text())
    assert found["worst_psnr_db"] == pytest.approx(20 * np.log10(255 / 3))
    assert found["items"][0]["frames"]["worst_frame"] == 2
    assert found["score"] == {"a": None, "b": None}
    assert "a &lt;b&gt; cat" in page.read_text()
    assert main([*command, "--least-psnr", "45"]) == 3
    assert "too far: the worst frame has 38.6 dB, less than 45 dB" in capsys.readouterr().out
    assert main([*command, "--least-score", "0.5"]) == 3
    assert main(["quality", str(tmp_path / "a"), str(tmp_path / "gone")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_video_is_read_frame_by_frame(tmp_path, clip):
    write_video(tmp_path / "v.mp4", clip)
    found = read_video(tmp_path / "v.mp4")
    assert found.shape == clip.shape
    assert np.abs(found.astype(int) - clip).mean() < 3
