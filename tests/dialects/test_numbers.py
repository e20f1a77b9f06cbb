"""The same numbers mean the same network: a step of wan_batch against the step that the libraries compute from their own repository."""

import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from PIL import Image
from safetensors.torch import load_file

from programs import FRAMES, IMAGE, PROMPT, SEED, SIDE

ONE_STEP = ["--sample-steps", "1", "--sample-solver", "euler", "--sample-guide-scale", "1"]  # from noise to the prediction of the data
TOLERANCE = 1e-4  # relative, of fp32


@pytest.fixture
def square(tmp_path):
    """An image that needs no resizing: Pillow and the official code resize differently."""
    path = tmp_path / "square.png"
    Image.open(IMAGE).convert("RGB").resize((SIDE, SIDE)).save(path)
    return path


def image_inputs(pipe, kind, path, noise):
    """The channels that tell a transformer of the image, and CLIP's features of it."""
    image = pipe.video_processor.preprocess(Image.open(path), height=SIDE, width=SIDE)
    _, condition = pipe.prepare_latents(image, 1, kind.latent, SIDE, SIDE, FRAMES, torch.float32, "cpu", None, noise)
    if not kind.has_clip:
        return condition, None
    size = pipe.image_encoder.config.image_size
    larger = torch.nn.functional.interpolate(image, size=(size, size), mode="bicubic", align_corners=False)  # as the official code does
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (pipe.image_processor.image_mean, pipe.image_processor.image_std))
    features = pipe.image_encoder(pixel_values=((larger + 1) / 2 - mean) / spread, output_hidden_states=True)
    return condition, features.hidden_states[-2]


def decoded(vae, latent):
    """Frames from 0 to 255 [frames, height, width, 3], not rounded."""
    mean, spread = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    pixels = vae.decode(latent[None] * spread + mean, return_dict=False)[0][0]
    return ((pixels.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 3, 0)


@torch.no_grad()
def test_a_step_is_the_one_that_the_libraries_compute(toys, task, programs, square):
    made, repository, _ = toys(task)
    has_image = made.kind.takes_image and task != "ti2v-5B"  # 5B's image lies in the latent: other timesteps
    programs.video("--ckpt-dir", repository, *ONE_STEP, image=square if has_image else None)
    ours = load_file(programs.last_latents())
    pipe = (WanImageToVideoPipeline if has_image else WanPipeline).from_pretrained(repository, torch_dtype=torch.float32)
    texts, _ = pipe.encode_prompt(PROMPT, do_classifier_free_guidance=False, max_sequence_length=512)
    noise = torch.randn(ours["latent"].shape, generator=torch.Generator().manual_seed(SEED))[None]
    condition, features = image_inputs(pipe, made.kind, square, noise) if has_image else (noise[:, :0], None)
    step = pipe.transformer(torch.cat([noise, condition], 1), torch.tensor([1000.0]), texts, features, return_dict=False)[0]
    theirs = (noise - step)[0]
    assert torch.dist(theirs, ours["latent"]) <= TOLERANCE * ours["latent"].norm()
    frames = decoded(pipe.vae, ours["latent"])
    assert frames.std() > 10  # a picture
    assert (frames - ours["frames"].float()).abs().max() <= 1.01  # the program cuts, or the last bit of a float decides
