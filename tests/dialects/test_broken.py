"""Broken forms of the libraries' files: wan_doctor gives the message of --dry-run."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from official_layout import official
from single_files import scaled, with_prefix, write, write_parts
from toy_models import networks


@pytest.fixture
def repository(toys, tmp_path):
    """A copy of the pair's repository, to be broken."""
    return shutil.copytree(toys("t2v-A14B")[1], tmp_path / "repository")


def broken_file(folder, change):
    """Changes the first shard's tensors and names in the index."""
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    values = json.loads(index.read_text(encoding="utf-8"))
    shard = sorted(set(values["weight_map"].values()))[0]
    tensors = load_file(folder / shard)
    change(tensors)
    save_file(tensors, folder / shard)
    kept = {name: file for name, file in values["weight_map"].items() if file != shard}
    index.write_text(json.dumps({**values, "weight_map": kept | dict.fromkeys(tensors, shard)}), encoding="utf-8")


def rename(old, new):
    def change(tensors):
        tensors[new] = tensors.pop(old)

    return change


def set_key(path, key, value):
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: value}), encoding="utf-8")


def expect_one_message(programs, options, part, *words):
    """Both programs refuse the options with one message that has these words."""
    refused = programs.refusal(*options)
    verdict, found = programs.findings(*options)[part]
    assert verdict == "FAIL", found
    assert found == refused
    assert all(word in refused for word in words), refused


def test_mixed_dialects(repository, programs):
    broken_file(repository / "transformer_2", rename("blocks.0.attn1.to_q.weight", "blocks.0.self_attn.q.weight"))
    expect_one_message(programs, ["--ckpt-dir", repository], "transformer_2", "names of two dialects are mixed")


def test_a_missing_scale(programs, tmp_path):
    made = networks("t2v-1.3B", as_released=True)
    stored, _ = scaled(official("transformer", made.experts[0].state_dict()), "scale_weight")
    del stored["blocks.0.ffn.2.scale_weight"]
    options = ["--model", write(tmp_path / "wan.safetensors", with_prefix(stored)), *write_parts(tmp_path, made)]
    expect_one_message(programs, options, "folder", "'model.diffusion_model.blocks.0.ffn.2.weight' has no scale")


def test_a_missing_part(repository, programs):
    shutil.rmtree(repository / "text_encoder")
    (repository / "vae/diffusion_pytorch_model.safetensors.index.json").unlink()
    words = ("lacks text_encoder", "vae/diffusion_pytorch_model.safetensors", "Expected in it")
    expect_one_message(programs, ["--ckpt-dir", repository], "folder", *words)


def test_the_autoencoder_of_another_model(repository, programs, toys):
    shutil.rmtree(repository / "vae")
    shutil.copytree(toys("ti2v-5B")[1] / "vae", repository / "vae")
    expect_one_message(programs, ["--ckpt-dir", repository], "VAE", "48 latent channels", "t2v-A14B works with 16")


def test_swapped_experts(programs, tmp_path):
    made = networks("t2v-A14B", as_released=True)
    tensors = [official("transformer", expert.state_dict()) for expert in made.experts]
    files = [write(tmp_path / f"t2v_{noise}_noise.safetensors", part) for noise, part in zip(("low", "high"), tensors, strict=True)]
    options = ["--high-noise-model", files[0], "--low-noise-model", files[1], *write_parts(tmp_path, made)]
    expect_one_message(programs, options, "folder", "--high-noise-model", "it is the low-noise expert", "swapped")


def test_parts_in_each_others_place(repository, programs):
    shutil.move(repository / "vae", repository / "x")
    shutil.move(repository / "text_encoder", repository / "vae")
    shutil.move(repository / "x", repository / "text_encoder")
    expect_one_message(programs, ["--ckpt-dir", repository], "text encoder", "the tensors of a VAE, and a umT5 text encoder must be")


def test_a_config_of_another_model(repository, programs):
    set_key(repository / "transformer/config.json", "ffn_dim", 128)
    expect_one_message(programs, ["--ckpt-dir", repository], "transformer", "'ffn_dim' is 128, but the tensors give 96")


def test_a_pipeline_of_another_model(repository, programs):
    set_key(repository / "model_index.json", "_class_name", "LTXPipeline")
    expect_one_message(programs, ["--ckpt-dir", repository], "folder", "LTXPipeline", "holds another model")
