"""Single files, in fp16, bf16 and fp8, against the official layout of the same numbers. Widths are those of released models."""

import pytest
import torch

from official_layout import official, transformer_config, write_checkpoint, write_expert
from single_files import FP8, scaled, with_prefix, write, write_parts
from toy_models import KINDS, networks

BF16, F16 = torch.bfloat16, torch.float16
OFFICIAL, SCALED = "official names", "official names, fp8 with scales"


def as_options(files: list) -> list:
    return ["--model", files[0]] if len(files) == 1 else ["--high-noise-model", files[0], "--low-noise-model", files[1]]


# A file of 5B has a quarter of a gigabyte, so one form of it suffices.
FORMS = [(task, "model.diffusion_model.", F16) for task in KINDS] + [(task, "", BF16) for task in KINDS if task != "ti2v-5B"]


@pytest.mark.parametrize(("task", "prefix", "dtype"), FORMS)
def test_files_of_experts_make_the_bytes_of_the_official_layout(programs, tmp_path, task, prefix, dtype):
    made = networks(task, as_released=True, dtype=dtype)
    folder = write_checkpoint(tmp_path / "official", made)
    noises = ("high", "low") if made.kind.experts == 2 else ("",)
    tensors = [with_prefix(official("transformer", expert.state_dict()), prefix) for expert in made.experts]
    files = [write(tmp_path / f"wan_{noise}_noise.safetensors", part) for noise, part in zip(noises, tensors, strict=True)]
    options = [*as_options(files), *write_parts(tmp_path, made), "--task", task]
    video = programs.video("--ckpt-dir", folder, has_image=made.kind.takes_image)[:2]
    assert programs.video(*options, has_image=made.kind.takes_image)[:2] == video
    forms = programs.accepted_forms(*options[:-2])
    assert forms.pop("text encoder") == "names of transformers"
    assert forms.pop("image encoder", None) == ("names of transformers" if made.kind.has_clip else None)
    assert set(forms.values()) == {OFFICIAL}


def test_file_of_save_pretrained_alone_is_a_model(programs, tmp_path):
    made = networks("t2v-1.3B", as_released=True, dtype=BF16)
    folder = write_checkpoint(tmp_path / "official", made)
    made.experts[0].save_pretrained(tmp_path / "theirs")
    options = ["--model", tmp_path / "theirs/diffusion_pytorch_model.safetensors", *write_parts(tmp_path, made)]
    assert programs.video(*options)[:2] == programs.video("--ckpt-dir", folder)[:2]
    assert programs.accepted_forms(*options)["transformer"] == "names of Diffusers"


@pytest.mark.parametrize("form", ["ComfyUI's marker", "ComfyUI's comfy_quant", "LightX2V's rows", "Diffusers' names"])
def test_fp8_with_scales_makes_the_bytes_of_the_products(programs, tmp_path, form):
    made = networks("t2v-1.3B", as_released=True, dtype=BF16)
    expert = made.experts[0]
    weights = dict(expert.state_dict())
    if form == "Diffusers' names":
        stored, theirs = scaled(weights, "scale_weight")
        products = official("transformer", theirs)
    else:
        ending = "scale_weight" if form == "ComfyUI's marker" else "weight_scale"
        stored, products = scaled(official("transformer", weights), ending, per_row=form == "LightX2V's rows")
        stored = with_prefix(stored, "" if form == "LightX2V's rows" else "model.diffusion_model.")
    assert sum(tensor.dtype == FP8 for tensor in stored.values()) >= 10
    umt5, umt5_products = scaled(without_copy(made.text_encoder.state_dict()), "scale_weight")
    options = ["--model", write(tmp_path / "wan_fp8_scaled.safetensors", stored), *write_parts(tmp_path / "fp8", made, umt5)]
    ours = ["--model", write_expert(tmp_path / "official", products, transformer_config(expert, "t2v-1.3B"))]
    ours += write_parts(tmp_path / "bf16", made, umt5_products)
    *video, record = programs.video(*options)
    assert video == list(programs.video(*ours)[:2])
    assert record["weights_widened"] == "fp8 widened to bf16: wan_fp8_scaled.safetensors, umt5_xxl.safetensors"
    forms = programs.accepted_forms(*options)
    assert forms["transformer"] == ("names of Diffusers, fp8 with scales" if form == "Diffusers' names" else SCALED)
    assert forms["text encoder"] == "names of transformers, fp8 with scales"


def without_copy(tensors: dict) -> dict:
    return {name: tensor for name, tensor in tensors.items() if name != "encoder.embed_tokens.weight"}


def test_fp8_that_diffusers_stores_is_widened(toys, programs, tmp_path):
    """enable_layerwise_casting() keeps weights in fp8 without scales, and save_pretrained() writes them so."""
    network = networks("t2v-1.3B").experts[0]
    _, _, folder = toys("t2v-1.3B")
    network.enable_layerwise_casting(storage_dtype=FP8, compute_dtype=BF16)
    network.save_pretrained(tmp_path / "theirs")
    tensors = official("transformer", network.state_dict())
    assert sum(tensor.dtype == FP8 for tensor in tensors.values()) >= 20
    widened = {name: tensor.to(BF16) if tensor.dtype == FP8 else tensor for name, tensor in tensors.items()}
    ours = write_expert(tmp_path / "ours", widened, transformer_config(network, "t2v-1.3B"))
    videos = [programs.video("--ckpt-dir", folder, "--model", model) for model in (tmp_path / "theirs", ours)]
    assert videos[0][:2] == videos[1][:2]
    assert videos[0][2]["weights_widened"].startswith("fp8 widened to bf16: ")
    assert programs.accepted_forms("--ckpt-dir", folder, "--model", tmp_path / "theirs")["transformer"] == "names of Diffusers, fp8"
