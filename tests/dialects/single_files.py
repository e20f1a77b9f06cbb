"""Single files as ComfyUI's users have them, and the same weights in fp8, written by safetensors from the libraries' networks."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from official_layout import Tensors, official
from toy_models import TOKENIZER, Networks

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max
PREFIX = "model.diffusion_model."


def with_prefix(tensors: Tensors, prefix: str = PREFIX) -> Tensors:
    return {name if name == "scaled_fp8" else prefix + name: tensor for name, tensor in tensors.items()}


def write(path: Path, tensors: Tensors) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def write_parts(folder: Path, networks: Networks, umt5: Tensors | None = None) -> list:
    """The parts beside the transformers, and the options that name them: umT5 and CLIP as transformers names them, an official VAE."""
    vae = official("vae22" if networks.kind.is_22_vae else "vae21", networks.vae.state_dict())
    if umt5 is None:
        umt5 = dict(networks.text_encoder.state_dict())
        umt5.pop("encoder.embed_tokens.weight", None)
    # ComfyUI's file holds the tokenizer, too.
    pieces = torch.frombuffer(bytearray((TOKENIZER / "spiece.model").read_bytes()), dtype=torch.uint8)
    options = ["--vae", write(folder / "wan_vae.safetensors", vae), "--tokenizer", TOKENIZER]
    options += ["--text-encoder", write(folder / "umt5_xxl.safetensors", {**umt5, "spiece_model": pieces})]
    if networks.image_encoder:
        options += ["--image-encoder", write(folder / "clip_vision_h.safetensors", dict(networks.image_encoder.state_dict()))]
    return options


def is_scaled(name: str, tensor: torch.Tensor) -> bool:
    """A converter takes the matrices of the blocks."""
    return tensor.dim() == 2 and "block" in name and "norm" not in name and "table" not in name and "relative_attention" not in name


def scaled(tensors: Tensors, ending: str, per_row: bool = False) -> tuple[Tensors, Tensors]:
    """fp8 weights with their scales as X.`ending`, and the products in bf16 that they stand for."""
    stored: Tensors = {"scaled_fp8": torch.zeros(2, dtype=FP8)} if ending == "scale_weight" else {}
    products: Tensors = {}
    for name, tensor in tensors.items():
        if not is_scaled(name, tensor):
            stored[name] = products[name] = tensor
            continue
        size = tensor.float().abs()
        scale = (size.amax(dim=1, keepdim=True) if per_row else size.max()) / LARGEST
        stored[name] = (tensor.float() / scale).to(FP8)
        module = name.removesuffix("weight")
        stored[module + ending] = scale
        if ending == "weight_scale" and not per_row:
            form = json.dumps({"format": "float8_e4m3fn"}).encode()
            stored[module + "comfy_quant"] = torch.frombuffer(bytearray(form), dtype=torch.uint8)
        products[name] = (stored[name].float() * scale).to(torch.bfloat16)
    return stored, products
