"""A tiny training on the CPU, from nothing to a checkpoint, and wan_batch on that checkpoint: both compute the same videos."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import PROJECT
from experts import with_condition
from latents import embed, encode_image
from plan import SMOKE
from sample import schedule
from test_modules import load_expert, load_text_encoder, load_vae
from words import NEGATIVE_PROMPT, Words
from world import captions, draw, draw_motions, draw_scenes

TRAIN = PROJECT / "inputs" / "demo" / "train" / "train.py"
PROGRAM = PROJECT / "build" / "bin" / "wan_batch"
STEPS, GUIDANCE, SEED, ROWS = 5, 3.0, 7, 2


def start_training(folder, *options, expected=0):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run([sys.executable, "-B", str(TRAIN), str(folder), "--smoke", "--clips-judged", "0", *options],
                            env=environment, capture_output=True, text=True, check=False)
    assert expected is None or result.returncode == expected, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    start_training(folder)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Images, a manifest, and what they show: first frames [rows, 3, side, side] and prompts."""
    folder = tmp_path_factory.mktemp("pairs")
    generator = torch.Generator().manual_seed(3)
    scenes = draw_scenes(ROWS, generator, SMOKE.side, 3)
    motion, speed = draw_motions(ROWS, generator)
    prompts = captions(scenes, motion, speed, generator)
    first = draw(scenes, motion, speed, 1, SMOKE.side)[:, :, 0]
    pixels = ((first + 1) / 2 * 255).round().byte()
    for row in range(ROWS):
        Image.fromarray(pixels[row].permute(1, 2, 0).numpy()).save(folder / f"{row}.png")
    (folder / "pairs.csv").write_text("image,prompt\n" + "".join(f"{row}.png,{prompts[row]}\n" for row in range(ROWS)))
    return folder, pixels.float() / 255 * 2 - 1, prompts


@pytest.mark.skipif(not PROGRAM.exists(), reason="wan_batch is not built")
@torch.no_grad()
def test_the_program_computes_what_the_training_computes(trained, pairs, tmp_path):
    folder, first, prompts = pairs
    checkpoint = trained / "checkpoint"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [str(PROGRAM), "--ckpt-dir", str(checkpoint), "--size", f"{SMOKE.side}*{SMOKE.side}", "--frame-num", str(SMOKE.frames),
               "--sample-steps", str(STEPS), "--sample-guide-scale", str(GUIDANCE), "--sample-solver", "euler", "--base-seed", str(SEED),
               "--precision", "fp32", "--device", "cpu", "--save-latents", "--output-dir", str(tmp_path), str(folder / "pairs.csv")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr

    vae = load_vae(checkpoint)
    encoder = load_text_encoder(checkpoint)
    experts = {name: load_expert(checkpoint / f"{name}_noise_model") for name in ("high", "low")}
    texts, lengths = embed(encoder, Words(checkpoint / "google" / "umt5-xxl"), [*prompts, NEGATIVE_PROMPT], "cpu")
    images = encode_image(vae, first, SMOKE.frames)
    sigmas = [float(np.float32(sigma)) for sigma in schedule(STEPS, 5.0)]
    for row in range(ROWS):
        image = images[row:row + 1]
        latent = torch.randn(image.shape[1:], generator=torch.Generator().manual_seed(SEED + row))[None]
        for sigma, following in zip(sigmas, sigmas[1:], strict=False):
            timestep = torch.tensor([sigma * 1000])
            expert = experts["high" if float(timestep) >= 900 else "low"]
            seen = with_condition(latent, image)
            with_prompt, without = (expert(seen, timestep, texts[index:][:1], lengths[index:][:1]) for index in (row, ROWS))
            latent = latent + (following - sigma) * (without + GUIDANCE * (with_prompt - without))
        saved = load_file(next(tmp_path.glob(f"{row}-*.latent.safetensors")))
        assert ((saved["latent"] - latent[0]).norm() / latent.norm()).item() < 1e-4
        frames = ((vae.decode(latent)[0].clamp(-1, 1) + 1) / 2 * 255).byte().permute(1, 2, 3, 0).numpy()
        assert np.mean(np.abs(frames.astype(int) - saved["frames"].numpy().astype(int)) <= 1) > 0.999


def test_a_stopped_training_goes_on_to_the_same_bits(trained, tmp_path):
    # Pieces of 9 steps end inside of stages.
    pieces = 1
    while "goes on" in start_training(tmp_path, "--steps-per-piece", "9", expected=None):
        pieces += 1
    assert pieces == 3
    for name in ("vae", "text", "high", "low"):
        one, other = (torch.load(folder / "state" / f"{name}.pt", weights_only=True) for folder in (trained, tmp_path))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_a_state_of_another_length_is_refused(tmp_path):
    start_training(tmp_path, "--steps-per-piece", "2", expected=85)
    result = subprocess.run([sys.executable, "-B", str(TRAIN), str(tmp_path), "--smoke", "--set", "vae.steps=9"], capture_output=True,
                            text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert result.returncode == 1
    assert "is a training of 6 steps, and this one has 9" in result.stderr


def test_the_log_says_how_the_training_went(trained):
    events = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {event.get("stage") for event in events} >= {"vae", "text", "latents", "high", "low"}
    assert events[-1]["event"] == "written"
    assert events[-1]["bytes"] < 12_000_000
