"""The demo's world: its sentences, its clips, and the judge that tells from pixels what a clip shows."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

import pairs
from grammar import MOTION_NAMES, SPEEDS, Caption, every_caption, parse
from judge import judge
from plan import DEMO, changed
from world import FRAMES, SIDE, captions, draw, draw_motions, draw_scenes, paths


def scenes_and_motions(seed: int, count: int):
    generator = torch.Generator().manual_seed(seed)
    scenes = draw_scenes(count, generator)
    motion, speed = draw_motions(count, generator)
    return scenes, motion, speed, captions(scenes, motion, speed, generator)


def as_frames(clips: torch.Tensor) -> np.ndarray:
    """uint8 [clips, frames, height, width, 3], as the program writes them."""
    return ((clips.clamp(-1, 1) + 1) / 2 * 255).byte().permute(0, 2, 3, 4, 1).numpy()


def test_every_sentence_says_one_thing():
    sentences = every_caption()
    assert len(set(sentences)) == len(sentences)
    assert all(parse(sentence) is not None for sentence in sentences[::7])
    caption = Caption("orange", "star", "circle", "quickly", "over grass")
    assert caption.text(2) == "an orange star quickly moves in a circle over grass"
    assert all(parse(caption.text(sentence)) == caption for sentence in range(4))


@pytest.mark.parametrize("text", ["", "a red ball", "a grey ball grows slowly over tiles", "a red ball grows over tiles",
                                  "a red cat grows slowly over tiles", "the red ball grows slowly over tiles"])
def test_other_sentences_are_not_understood(text):
    assert parse(text) is None


def test_the_same_seed_draws_the_same_clips():
    one, other, another = (draw(*scenes_and_motions(seed, 3)[:3], frames=5) for seed in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, another)
    assert one.shape == (3, 3, 5, SIDE, SIDE)
    assert -1 <= one.min() < one.max() <= 1


def test_all_motions_of_a_scene_begin_with_one_image():
    scenes, *_ = scenes_and_motions(3, 1)
    count = len(MOTION_NAMES)
    repeated = scenes[torch.zeros(count, dtype=torch.long)]
    first = draw(repeated, torch.arange(count), torch.ones(count, dtype=torch.long), frames=1)
    assert torch.allclose(first, first[:1].expand_as(first), atol=1e-5)


def test_objects_stay_in_the_frame():
    scenes, motion, speed, _ = scenes_and_motions(4, 2000)
    path = paths(scenes, motion, speed, FRAMES)
    assert min(path.x.min(), path.y.min()) > 5
    assert max(path.x.max(), path.y.max()) < SIDE - 5


def test_the_judge_knows_every_motion_at_both_speeds():
    scenes, *_ = scenes_and_motions(5, 2 * len(MOTION_NAMES))
    motion = torch.arange(len(MOTION_NAMES)).repeat(2)
    speed = torch.arange(2).repeat_interleave(len(MOTION_NAMES))
    noise = 0.08 * torch.randn(len(motion), 3, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
    prompts = captions(scenes, motion, speed, torch.Generator().manual_seed(7))
    for prompt, frames in zip(prompts, as_frames(draw(scenes, motion, speed) + noise), strict=True):
        verdict = judge(frames)
        assert verdict.follows(prompt), (prompt, verdict)
        assert verdict.colour_kept
        assert verdict.colour == prompt.split()[1]


def one_clip(motion: str, seed: int = 8) -> np.ndarray:
    scenes, *_ = scenes_and_motions(seed, 1)
    index = torch.tensor([MOTION_NAMES.index(motion)])
    return as_frames(draw(scenes, index, torch.tensor([SPEEDS.index("quickly")])))[0]


@pytest.mark.parametrize("broken, motion", [
    (lambda clip: clip[::-1], "left"),  # backwards
    (lambda clip: np.repeat(clip[:1], len(clip), axis=0), "still"),
    (lambda clip: clip[:, ::-1], "right"),  # upside down
    (lambda clip: clip[:, :, ::-1], "left"),  # mirrored
    (lambda clip: clip.transpose(0, 2, 1, 3), "down"),  # rows and columns exchanged
])
def test_the_judge_sees_what_was_done_to_a_clip(broken, motion):
    assert judge(broken(one_clip("right"))).motion == motion


def test_the_judge_sees_a_lost_object_a_wrong_colour_and_noise():
    clip = one_clip("right")
    gone = clip.copy()
    gone[5:20] = gone[5:20].mean(axis=(1, 2), keepdims=True).astype(np.uint8)
    assert judge(gone).motion == "lost"
    recoloured = clip.copy()
    recoloured[10:] = recoloured[10:, :, :, [1, 2, 0]]
    assert not judge(recoloured).colour_kept
    noise = np.random.default_rng(9).integers(0, 256, clip.shape, dtype=np.uint8)
    assert judge(noise).motion in ("still", "lost", "grow", "shrink")
    assert judge(np.full_like(clip, 128)).motion == "lost"


def test_a_prompt_that_is_no_sentence_is_refused_by_name():
    with pytest.raises(ValueError, match="'a cat sits' is no sentence"):
        judge(one_clip("up")).follows("a cat sits")


def test_the_plan_takes_settings_and_names_wrong_ones():
    plan = changed(DEMO, ["expert.steps=7", "vae.half=false", "seed=3", "vae.rate=0.5"])
    assert (plan.expert.steps, plan.vae.half, plan.seed, plan.vae.rate) == (7, False, 3, 0.5)
    assert plan.text == DEMO.text
    for setting in ("steps=7", "expert=7", "expert.speed=7", "expert.steps=many", "vae.half=1"):
        with pytest.raises(ValueError, match=f"'{setting}'"):
            changed(DEMO, [setting])


def test_pairs_are_a_manifest_with_every_motion_and_the_images_that_it_names(tmp_path, capsys):
    assert pairs.main([str(tmp_path), "--count", "9"]) == 0
    assert "9 pairs of 96*96 pixels" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "manifest.csv").open()))
    assert {parse(row["prompt"]).motion for row in rows} == set(MOTION_NAMES)
    image = np.asarray(Image.open(tmp_path / rows[3]["image"]))
    assert image.shape == (SIDE, SIDE, 3)
    assert judge(np.repeat(image[None], 3, axis=0)).colour == parse(rows[3]["prompt"]).colour
    again = (tmp_path / "manifest.csv").read_text()
    pairs.main([str(tmp_path), "--count", "9"])
    assert (tmp_path / "manifest.csv").read_text() == again
