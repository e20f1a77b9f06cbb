"""The demo's checkpoint does what a prompt says, in the videos that wan_batch makes of images and prompts that no training has seen.

Twelve pairs by default. With WAN_NIGHTLY=1 all 48, and faults in the model or its use that must make the score fall: an engine that
ignores its prompt, mixes up its experts or guides away from the prompt makes videos that look as good.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import av
import numpy as np
import pytest
import torch

from conftest import PROJECT
from grammar import parse
from judge import judge

PROGRAM = PROJECT / "build" / "bin" / "wan_batch"
CHECKPOINT = PROJECT / "inputs" / "demo" / "checkpoint"
NIGHTLY = bool(os.environ.get("WAN_NIGHTLY"))
PAIRS = 48 if NIGHTLY else 12
FAULTY_PAIRS = 18  # two of each motion
ENOUGH, CHANCE = 0.9, 0.35  # one motion in nine is right by chance; 0.35 is far above what chance gives 18 clips
SIZES = ("--size", "96*96", "--frame-num", "33", "--sample-steps", "12", "--base-seed", "7")

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="wan_batch is not built")
at_night = pytest.mark.skipif(not NIGHTLY, reason="takes minutes: runs at night")


def make_videos(folder, pairs: int, *options, checkpoint=CHECKPOINT, change_rows=None, planted_fault=None):
    """Videos of unseen pairs, made by two ranks that each make their own. Returns prompts and frames."""
    program = os.environ["FAULTY_BATCH"] if planted_fault else PROGRAM
    subprocess.run([sys.executable, "-B", str(PROJECT / "inputs/demo/train/pairs.py"), str(folder), "--count", str(pairs)], check=True,
                   capture_output=True)
    manifest = folder / "manifest.csv"
    lines = manifest.read_text(encoding="utf-8").splitlines()
    prompts = {line.split(",")[0].removesuffix(".png"): line.split(",", 1)[1] for line in lines[1:]}
    if change_rows:
        manifest.write_text("\n".join(change_rows(prompts)) + "\n", encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                                "OMPI_MCA_mpi_yield_when_idle": "1", "PLANTED_FAULT": planted_fault or ""}
    command = ["mpirun", "-np", "2", "--oversubscribe", "--bind-to", "none", program, "--device", "cpu", "--group-size", "1",
               "--ckpt-dir", checkpoint, *SIZES, "--output-dir", folder / "out", "--log-level", "quiet", *options, manifest]
    if "--sample-guide-scale" not in options:
        command[-1:-1] = ["--sample-guide-scale", "3"]
    result = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    made = []
    for record in map(json.loads, (path.read_text(encoding="utf-8") for path in sorted((folder / "out").glob("[0-9]*.json")))):
        with av.open(str(folder / "out" / record["outputs"]["video"]["file"])) as video:
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
        made.append((prompts[record["id"].split("-")[0]], frames))
    assert len(made) == pairs
    return made


def scores(made) -> tuple[float, float]:
    """Shares of the clips whose motion and whose colour are as the prompt says. Prints them by motion."""
    right, asked, kept = Counter(), Counter(), 0
    for prompt, frames in made:
        caption, verdict = parse(prompt), judge(frames)
        asked[caption.motion] += 1
        right[caption.motion] += verdict.motion == caption.motion
        kept += verdict.colour_kept and verdict.colour == caption.colour
    motion, colour = sum(right.values()) / len(made), kept / len(made)
    print(f"motion {motion:.3f}, colour {colour:.3f} of {len(made)}:", *(f"{name} {right[name]}/{asked[name]}" for name in sorted(asked)))
    return motion, colour


def test_videos_do_what_their_prompts_say(tmp_path):
    motion, colour = scores(make_videos(tmp_path, PAIRS))
    assert motion >= ENOUGH
    assert colour >= ENOUGH


@at_night
def test_without_a_prompt_the_motion_is_chance(tmp_path):
    from words import NEGATIVE_PROMPT

    rows = lambda prompts: ["image,prompt", *(f"{name}.png,{NEGATIVE_PROMPT}" for name in prompts)]  # noqa: E731
    motion, _ = scores(make_videos(tmp_path, FAULTY_PAIRS, change_rows=rows))
    assert motion <= CHANCE


@at_night
def test_a_negative_guidance_scale_is_noticed(tmp_path):
    # The program refuses such a scale. Exchanged texts at scale 4 give the same: p + 4 (n - p) = n - 3 (p - n).
    from words import NEGATIVE_PROMPT

    rows = lambda prompts: ["image,prompt,negative_prompt",  # noqa: E731
                            *(f"{name}.png,{NEGATIVE_PROMPT},{prompt}" for name, prompt in prompts.items())]
    motion, _ = scores(make_videos(tmp_path, FAULTY_PAIRS, "--sample-guide-scale", "4", change_rows=rows))
    assert motion < ENOUGH


@at_night
def test_experts_that_change_places_are_noticed(tmp_path):
    faulty = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, faulty)
    (faulty / "high_noise_model").rename(faulty / "other")
    (faulty / "low_noise_model").rename(faulty / "high_noise_model")
    (faulty / "other").rename(faulty / "low_noise_model")
    assert min(scores(make_videos(tmp_path, FAULTY_PAIRS, checkpoint=faulty))) < ENOUGH


@at_night
def test_permuted_tokens_are_noticed(tmp_path):
    faulty = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, faulty)
    file = faulty / "models_t5_umt5-xxl-enc-bf16.pth"
    state = torch.load(file, weights_only=True)
    rows = state["token_embedding.weight"]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    state["token_embedding.weight"] = rows[order].clone()
    torch.save(state, file)
    motion, _ = scores(make_videos(tmp_path, FAULTY_PAIRS, checkpoint=faulty))
    assert motion <= CHANCE


@at_night
def test_a_shuffled_text_mask_is_noticed(tmp_path):
    # The tokens that are left still know of the others, through umT5's attention: the score falls, and not to chance.
    assert scores(make_videos(tmp_path, FAULTY_PAIRS, planted_fault="text_mask"))[0] < ENOUGH


@at_night
def test_a_program_that_mixes_up_its_frames_is_noticed(tmp_path):
    assert scores(make_videos(tmp_path, FAULTY_PAIRS, planted_fault="frame_order"))[0] < ENOUGH


@at_night
def test_frames_in_another_order_are_noticed(tmp_path):
    made = make_videos(tmp_path, FAULTY_PAIRS)
    assert scores(made)[0] >= ENOUGH
    swapped = [(prompt, np.concatenate([frames[17:], frames[:17]])) for prompt, frames in made]
    assert scores(swapped)[0] < ENOUGH
