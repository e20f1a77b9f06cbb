"""The official layout of the same numbers: tensors under their official names, and the folders and files that hold them."""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from toy_models import PROJECT, TOKENIZER, Networks

Tensors = dict[str, torch.Tensor]
NAMES = PROJECT / "tests/data/checkpoint/dialect_names.tsv"
VAE_FILES = {False: "Wan2.1_VAE.pth", True: "Wan2.2_VAE.pth"}
TEXT_FILE, CLIP_FILE = "models_t5_umt5-xxl-enc-bf16.pth", "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
THEIR_BLOCK = re.compile(r"\b(blocks|block|layers)\.(\d+)\.")  # numbered as the official ones
QKV = ("q_proj", "k_proj", "v_proj")


def names(part: str) -> dict[str, str]:
    """Official names by the libraries' names; of blocks that are alike, those of the first."""
    lines = (line.split() for line in NAMES.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return {theirs: official for of, theirs, official in lines if of == part}


def official(part: str, tensors: Tensors) -> Tensors:
    """The same tensors under their official names. A name that the list lacks is an error."""
    table = names(part)
    result: Tensors = {}
    pieces: dict[str, Tensors] = {}
    for theirs, tensor in tensors.items():
        name, block = theirs, None
        if part in ("transformer", "umt5", "clip") and (found := THEIR_BLOCK.search(theirs)):
            block = found[2]
            name = f"{theirs[: found.start(2)]}0{theirs[found.end(2) :]}"
        target = table[name]
        if block is not None:
            target = re.sub(r"^(visual\.transformer\.|blocks\.)0\.", rf"\g<1>{block}.", target)
        piece = next((piece for piece in QKV if part == "clip" and piece in theirs), None)
        if piece:
            pieces.setdefault(target, {})[piece] = tensor
        elif target == "visual.cls_embedding":
            result[target] = tensor[None, None].clone()
        elif target == "visual.pos_embedding":
            result[target] = tensor[None].clone()
        else:
            result[target] = tensor.clone()
    return result | {target: torch.cat([found[piece] for piece in QKV]) for target, found in pieces.items()}


def transformer_config(transformer, task: str) -> dict:
    """config.json of the official code."""
    config = transformer.config
    kind = "ti2v" if task == "ti2v-5B" else task[:3]
    return {
        "_class_name": "WanModel",
        "model_type": kind,
        "dim": config.num_attention_heads * config.attention_head_dim,
        "num_heads": config.num_attention_heads,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.freq_dim,
        "in_dim": config.in_channels,
        "out_dim": config.out_channels,
        "num_layers": config.num_layers,
        "eps": config.eps,
        "text_len": 512,
    }


def write_expert(folder: Path, tensors: Tensors, config: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def write_parts(root: Path, networks: Networks) -> None:
    """All but the experts."""
    root.mkdir(parents=True, exist_ok=True)
    is_22 = networks.kind.is_22_vae
    torch.save(official("vae22" if is_22 else "vae21", networks.vae.state_dict()), root / VAE_FILES[is_22])
    umt5 = networks.text_encoder.state_dict()
    umt5.pop("encoder.embed_tokens.weight", None)  # shared.weight, once more
    torch.save(official("umt5", umt5), root / TEXT_FILE)
    if networks.image_encoder:
        clip = networks.image_encoder.state_dict()
        clip.pop("vision_model.embeddings.position_ids", None)
        torch.save(official("clip", clip), root / CLIP_FILE)
    shutil.copytree(TOKENIZER, root / "google/umt5-xxl")


def write_checkpoint(root: Path, networks: Networks) -> Path:
    """A whole checkpoint in the official layout."""
    write_parts(root, networks)
    folders = [root / "high_noise_model", root / "low_noise_model"] if networks.kind.experts == 2 else [root]
    for folder, expert in zip(folders, networks.experts, strict=True):
        write_expert(folder, official("transformer", expert.state_dict()), transformer_config(expert, networks.kind.task))
    return root
