#!/usr/bin/env python3
"""Writes the toy checkpoint of tests and examples: the official Wan2.2-I2V-A14B folder layout with a model a millionth of its size.

    .venv/bin/python inputs/toy/make_checkpoint.py [FOLDER]        (inputs/toy/checkpoint)

Every weight is random, from a fixed seed, and scaled so that activations stay near one: the videos are coloured noise that
moves, neither NaN nor grey. The tokenizer is trained on sentences that this script puts together. The result is committed;
the script is here to say where it comes from and to make it again.
"""

import hashlib
import json
import math
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from toy_vae import vae_state

sys.path.append(str(Path(__file__).resolve().parents[1] / "demo" / "train"))
from toy_tokenizer import write_tokenizer  # noqa: E402

DIM, HEADS, LAYERS, FFN, FREQ_DIM = 64, 4, 2, 128, 256
IN_DIM, OUT_DIM, TEXT_LEN = 36, 16, 512
TEXT_DIM, TEXT_HEADS, TEXT_LAYERS, TEXT_FFN, TEXT_BUCKETS = 32, 4, 2, 64, 32
VAE_WIDTH = 8  # levels of 8, 16, 32 and 32 channels
LARGEST_BYTES = 5 << 20  # what a repository may be asked to carry


class Weights:
    """Draws named tensors one after the other from one generator."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.tensors: dict[str, torch.Tensor] = {}

    def normal(self, name: str, *shape: int, std: float, mean: float = 0.0):
        self.tensors[name] = torch.randn(*shape, generator=self.generator) * std + mean

    def linear(self, name: str, out_features: int, in_features: int, bias: bool = True):
        self.normal(f"{name}.weight", out_features, in_features, std=1 / math.sqrt(in_features))
        if bias:
            self.normal(f"{name}.bias", out_features, std=0.1)


def expert_state(seed: int) -> dict[str, torch.Tensor]:
    w = Weights(seed)
    w.normal("patch_embedding.weight", DIM, IN_DIM, 1, 2, 2, std=1 / math.sqrt(IN_DIM * 4))
    w.normal("patch_embedding.bias", DIM, std=0.1)
    w.linear("text_embedding.0", DIM, TEXT_DIM)
    w.linear("text_embedding.2", DIM, DIM)
    w.linear("time_embedding.0", DIM, FREQ_DIM)
    w.linear("time_embedding.2", DIM, DIM)
    w.linear("time_projection.1", 6 * DIM, DIM)
    for layer in range(LAYERS):
        block = f"blocks.{layer}"
        w.normal(f"{block}.modulation", 1, 6, DIM, std=0.3)
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                w.linear(f"{block}.{attention}.{part}", DIM, DIM)
            for part in "qk":
                w.normal(f"{block}.{attention}.norm_{part}.weight", DIM, std=0.1, mean=1)
        w.normal(f"{block}.norm3.weight", DIM, std=0.1, mean=1)
        w.normal(f"{block}.norm3.bias", DIM, std=0.1)
        w.linear(f"{block}.ffn.0", FFN, DIM)
        w.linear(f"{block}.ffn.2", DIM, FFN)
    w.linear("head.head", OUT_DIM * 4, DIM)
    w.normal("head.modulation", 1, 2, DIM, std=0.3)
    return w.tensors


def write_expert(folder: Path, state: dict[str, torch.Tensor], shards: int) -> None:
    """One file, or several with an index, as the official loader finds them."""
    folder.mkdir(parents=True)
    config = {
        "_class_name": "WanModel", "_diffusers_version": "0.33.0", "dim": DIM, "eps": 1e-06, "ffn_dim": FFN, "freq_dim": FREQ_DIM,
        "in_dim": IN_DIM, "model_type": "i2v", "num_heads": HEADS, "num_layers": LAYERS, "out_dim": OUT_DIM, "text_len": TEXT_LEN,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    stem = "diffusion_pytorch_model"
    if shards == 1:
        save_file(state, folder / f"{stem}.safetensors", metadata={"format": "pt"})
        return
    names = list(state)
    weight_map = {}
    for shard in range(shards):
        file = f"{stem}-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard * len(names) // shards:(shard + 1) * len(names) // shards]
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def text_encoder_state(seed: int, vocabulary: int) -> dict[str, torch.Tensor]:
    w = Weights(seed)
    w.normal("token_embedding.weight", vocabulary, TEXT_DIM, std=1)
    for layer in range(TEXT_LAYERS):
        block = f"blocks.{layer}"
        w.normal(f"{block}.norm1.weight", TEXT_DIM, std=0.1, mean=1)
        for part in "qkvo":
            w.linear(f"{block}.attn.{part}", TEXT_DIM, TEXT_DIM, bias=False)
        w.normal(f"{block}.norm2.weight", TEXT_DIM, std=0.1, mean=1)
        w.linear(f"{block}.ffn.gate.0", TEXT_FFN, TEXT_DIM, bias=False)
        w.linear(f"{block}.ffn.fc1", TEXT_FFN, TEXT_DIM, bias=False)
        w.linear(f"{block}.ffn.fc2", TEXT_DIM, TEXT_FFN, bias=False)
        w.normal(f"{block}.pos_embedding.embedding.weight", TEXT_BUCKETS, TEXT_HEADS, std=0.5)
    w.normal("norm.weight", TEXT_DIM, std=0.1, mean=1)
    return {name: tensor.to(torch.bfloat16) for name, tensor in w.tensors.items()}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "checkpoint")
    if folder.exists():
        shutil.rmtree(folder)
    tokens = write_tokenizer(folder / "google" / "umt5-xxl")
    # bf16, as a checkpoint may well be stored; the two experts differ, so that the switch between them shows.
    write_expert(folder / "high_noise_model", {n: t.to(torch.bfloat16) for n, t in expert_state(seed=1).items()}, shards=2)
    write_expert(folder / "low_noise_model", {n: t.to(torch.bfloat16) for n, t in expert_state(seed=2).items()}, shards=1)
    # A few rows more than the tokenizer has pieces, as in the official file.
    torch.save(text_encoder_state(seed=3, vocabulary=tokens + 20), folder / "models_t5_umt5-xxl-enc-bf16.pth")
    # In bf16 only to be small; the program computes in fp32, as with the official file.
    vae = vae_state(Weights(seed=4), VAE_WIDTH)
    torch.save({name: tensor.to(torch.bfloat16) for name, tensor in vae.items()}, folder / "Wan2.1_VAE.pth")

    total = 0
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        total += len(content)
        print(f"{hashlib.sha256(content).hexdigest()[:16]} {len(content):>9,} {file.relative_to(folder)}")
    print(f"{total:,} bytes in {folder}")
    if total > LARGEST_BYTES:
        sys.exit(f"more than {LARGEST_BYTES:,} bytes: too large to commit")


if __name__ == "__main__":
    main()
