"""Writes the trained networks as a checkpoint in the official Wan2.2-I2V-A14B layout, in bf16."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from dit import TEXT_LENGTH, Dit

LARGEST_BYTES = 12_000_000


def halved(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu", torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}


def write_expert(folder: Path, model: Dit) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    size = model.size
    config = {
        "_class_name": "WanModel", "_diffusers_version": "0.33.0", "dim": size.dim, "eps": 1e-06, "ffn_dim": size.ffn,
        "freq_dim": size.freq_dim, "in_dim": size.in_dim, "model_type": "i2v", "num_heads": size.heads, "num_layers": size.layers,
        "out_dim": 16, "text_len": TEXT_LENGTH,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(halved(model), folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def write_checkpoint(folder: Path, vae: nn.Module, encoder: nn.Module, high: Dit, low: Dit) -> int:
    """Writes all but the tokenizer, which lies in `folder` already; returns the bytes of the whole folder."""
    write_expert(folder / "high_noise_model", high)
    write_expert(folder / "low_noise_model", low)
    torch.save(halved(encoder), folder / "models_t5_umt5-xxl-enc-bf16.pth")
    torch.save(halved(vae), folder / "Wan2.1_VAE.pth")
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if total > LARGEST_BYTES:
        raise SystemExit(f"{folder} has {total:,} bytes, more than {LARGEST_BYTES:,}: choose smaller sizes in plan.py")
    return total
