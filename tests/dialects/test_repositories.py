"""Diffusers repositories, all of whose files save_pretrained() wrote, against the official layout of the same numbers."""

import shutil

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers

from official_layout import official, transformer_config, write_expert


def in_hub_cache(repository, entry):
    """The repository as huggingface_hub keeps it: each file is a link to a blob without an ending."""
    (entry / "refs").mkdir(parents=True)
    (entry / "blobs").mkdir()
    (entry / "refs/main").write_text("0fad7", encoding="utf-8")
    for number, file in enumerate(sorted(path for path in repository.rglob("*") if path.is_file())):
        blob = entry / "blobs" / f"{number:040x}"
        shutil.copyfile(file, blob)
        link = entry / "snapshots/0fad7" / file.relative_to(repository)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return entry


def test_repository_makes_the_bytes_of_the_official_layout(toys, task, programs):
    made, repository, folder = toys(task)
    video, latents, _ = programs.video("--ckpt-dir", folder, has_image=made.kind.takes_image)
    same = programs.video("--ckpt-dir", repository, has_image=made.kind.takes_image)
    assert same[:2] == (video, latents)
    cached = in_hub_cache(repository, programs.folder / f"models--Wan-AI--{task}")
    assert programs.video("--ckpt-dir", cached, has_image=made.kind.takes_image)[:2] == (video, latents)


def test_doctor_accepts_both_and_names_the_dialect(toys, task, programs):
    made, repository, folder = toys(task)
    theirs = programs.accepted_forms("--ckpt-dir", repository)
    vae = "names of Diffusers (Wan 2.2)" if made.kind.is_22_vae else "names of Diffusers (Wan 2.1)"
    expected = {"transformer": "names of Diffusers", "text encoder": "names of transformers", "VAE": vae}
    if made.kind.experts == 2:
        expected["transformer_2"] = "names of Diffusers"
    if made.kind.has_clip:
        expected["image encoder"] = "names of transformers"
    assert theirs == expected
    assert set(programs.accepted_forms("--ckpt-dir", folder).values()) == {"official names"}


def test_libraries_convert_the_official_tensors_into_their_own(toys, task):
    """The official layout of these tests is what Diffusers takes it for."""
    made, _, _ = toys(task)
    for expert in made.experts:
        expect_same(convert_wan_transformer_to_diffusers(official("transformer", expert.state_dict())), expert.state_dict())
    if not made.kind.is_22_vae:  # Diffusers has a converter for that of Wan 2.1 only
        expect_same(convert_wan_vae_to_diffusers(official("vae21", made.vae.state_dict())), made.vae.state_dict())


def expect_same(converted, own):
    assert converted.keys() == own.keys()
    assert all(torch.equal(converted[name], own[name]) for name in own)


def test_other_numbers_make_another_video(toys, programs):
    """Equal bytes say something only because each network's numbers reach the video."""
    made, repository, _ = toys("i2v-14B")
    video = programs.video("--ckpt-dir", repository, has_image=True)[1]
    for part in ("transformer", "vae", "text_encoder", "image_encoder"):
        changed = programs.folder / part
        shutil.copytree(repository, changed)
        network = {"transformer": made.experts[0], "vae": made.vae}.get(part) or getattr(made, part)
        name, parameter = max(network.named_parameters(), key=lambda item: item[1].numel())
        kept = parameter.data.clone()
        parameter.data.mul_(1.5)
        try:
            shutil.rmtree(changed / part)
            network.save_pretrained(changed / part)
        finally:
            parameter.data.copy_(kept)
        assert programs.video("--ckpt-dir", changed, has_image=True)[1] != video, f"{part}: {name}"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_are_read_in_each_type(toys, programs, tmp_path, dtype):
    """from_pretrained(torch_dtype=...) keeps some tensors in fp32 (Diffusers' _keep_in_fp32_modules), and saves both types."""
    made, repository, _ = toys("t2v-1.3B")
    network = type(made.experts[0]).from_pretrained(repository / "transformer", torch_dtype=dtype)
    assert {parameter.dtype for parameter in network.parameters()} == {dtype, torch.float32}
    network.save_pretrained(tmp_path / "theirs")
    ours = write_expert(tmp_path / "ours", official("transformer", network.state_dict()), transformer_config(network, "t2v-1.3B"))
    videos = [programs.video("--ckpt-dir", repository, "--model", model)[:2] for model in (tmp_path / "theirs", ours)]
    assert videos[0] == videos[1]
