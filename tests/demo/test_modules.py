"""The networks of the demo's training compute what the official code computes: held to the tensors of tests/data/parity."""

import json

import pytest
import torch
from safetensors.torch import load_file

from conftest import PROJECT
from dit import Dit, DitSize
from umt5 import Umt5
from vae import Vae

PARITY = PROJECT / "tests" / "data" / "parity"


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture(scope="module", params=["i2v_landscape", "i2v_portrait_ragged", "t2v_square"])
def case(request):
    folder = PARITY / request.param
    return folder, json.loads((folder / "case.json").read_text()), load_file(folder / "expected.safetensors")


def load_text_encoder(checkpoint) -> Umt5:
    state = torch.load(checkpoint / "models_t5_umt5-xxl-enc-bf16.pth", weights_only=True)
    vocabulary, width = state["token_embedding.weight"].shape
    heads = state["blocks.0.pos_embedding.embedding.weight"].shape[1]
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    model = Umt5(vocabulary, width, heads, state["blocks.0.ffn.fc1.weight"].shape[0], layers)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model


def load_expert(folder) -> Dit:
    config = json.loads((folder / "config.json").read_text())
    state = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= load_file(file)
    size = DitSize(config["dim"], config["num_heads"], config["num_layers"], config["ffn_dim"], state["text_embedding.0.weight"].shape[1],
                   config["freq_dim"], config["in_dim"])
    model = Dit(size)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model


def load_vae(checkpoint) -> Vae:
    state = torch.load(checkpoint / "Wan2.1_VAE.pth", weights_only=True)
    model = Vae(state["encoder.conv1.weight"].shape[0])
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model


@torch.no_grad()
def test_text_encoder_makes_the_official_embeddings(case):
    folder, _, expected = case
    found = load_text_encoder(folder / "ckpt")(expected["text.ids"].long()[None])[0]
    length = int(expected["text.mask"].sum())
    assert error(found[:length], expected["text.context"]) < 1e-5
    assert not found[length:].any()


@torch.no_grad()
def test_autoencoder_encodes_and_decodes_as_the_official_one(case):
    folder, parameters, expected = case
    vae = load_vae(folder / "ckpt")
    if "vae.encoded" in expected:
        image = expected["image.resized"][None, :, None]
        clip = torch.cat([image, torch.zeros(1, 3, parameters["frames"] - 1, *image.shape[3:])], dim=2)
        assert error(vae.encode(clip)[0], expected["vae.encoded"]) < 1e-5
    final = expected[f"step.{parameters['steps'] - 1}.latent"]
    video = vae.decode(final[None])[0].clamp(-1, 1)
    if "video.frames" in expected:
        video = video[:, expected["video.frames"].long()]
    assert error(video, expected["video"]) < 1e-5


@torch.no_grad()
def test_experts_make_the_official_predictions(case):
    folder, parameters, expected = case
    before = expected["noise"]
    experts = {name: load_expert(folder / "ckpt" / f"{name}_noise_model") for name in ("high", "low")}
    for step in (0, 1, parameters["steps"] - 1):
        latent = (before if step == 0 else expected[f"step.{step - 1}.latent"])[None]
        if "vae.encoded" in expected:
            mask = torch.zeros(1, 4, *latent.shape[2:])
            mask[:, :, 0] = 1
            latent = torch.cat([latent, mask, expected["vae.encoded"][None]], dim=1)
        for text, prediction in (("text.context", "cond"), ("text.negative_context", "uncond")):
            rows = expected[text][None]
            found = experts[parameters["experts"][step]](latent, expected["timesteps"][step:step + 1], rows,
                                                         torch.tensor([rows.shape[1]]))
            assert error(found[0], expected[f"step.{step}.{prediction}"]) < 1e-5
