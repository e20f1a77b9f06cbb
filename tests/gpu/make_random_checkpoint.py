"""Writes a checkpoint of I2V-A14B's real size and official layout with random weights: 69 GB in bf16.

    make_random_checkpoint.py OUT TOKENIZER_FOLDER [--dtype bf16|fp32] [--same-experts] [--layers N]

For load and end-to-end tests; OUT belongs on memory-backed storage (df -h /dev/shm). Needs torch and safetensors, and a GPU to draw
the numbers in reasonable time.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import safetensors.torch
import torch

DIM, FFN, HEADS, TEXT_DIM = 5120, 13824, 40, 4096
SHARDS = 6


def draw(shape, dtype, one=False):
    """Values that keep activations in range: one for norms, 1/sqrt(inputs) otherwise."""
    if one:
        return torch.ones(shape, dtype=dtype)
    spread = 0.02 if len(shape) < 2 else 1 / math.sqrt(math.prod(shape[1:]))
    values = torch.randn(shape, device="cuda" if torch.cuda.is_available() else "cpu")
    return (values * spread).to(dtype).cpu()


def expert_shapes(layers):
    def linear(name, out, inner):
        return {f"{name}.weight": (out, inner), f"{name}.bias": (out,)}

    shapes = {"patch_embedding.weight": (DIM, 36, 1, 2, 2), "patch_embedding.bias": (DIM,)}
    shapes |= linear("text_embedding.0", DIM, TEXT_DIM) | linear("text_embedding.2", DIM, DIM)
    shapes |= linear("time_embedding.0", DIM, 256) | linear("time_embedding.2", DIM, DIM)
    shapes |= linear("time_projection.1", 6 * DIM, DIM)
    for layer in range(layers):
        block = f"blocks.{layer}"
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                shapes |= linear(f"{block}.{attention}.{part}", DIM, DIM)
            for norm in ("norm_q", "norm_k"):
                shapes[f"{block}.{attention}.{norm}.weight"] = (DIM,)
        shapes |= {f"{block}.norm3.weight": (DIM,), f"{block}.norm3.bias": (DIM,)}
        shapes |= linear(f"{block}.ffn.0", FFN, DIM) | linear(f"{block}.ffn.2", DIM, FFN)
        shapes[f"{block}.modulation"] = (1, 6, DIM)
    shapes |= linear("head.head", 64, DIM)
    shapes["head.modulation"] = (1, 2, DIM)
    return shapes


def is_norm(name):
    return name.endswith("gamma") or ("norm" in name and name.endswith("weight"))


def write_expert(folder, layers, dtype):
    folder.mkdir(parents=True)
    config = {"_class_name": "WanModel", "_diffusers_version": "0.33.0", "model_type": "i2v", "dim": DIM, "ffn_dim": FFN,
              "freq_dim": 256, "in_dim": 36, "out_dim": 16, "num_heads": HEADS, "num_layers": layers, "text_len": 512, "eps": 1e-6}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = expert_shapes(layers)
    names = list(shapes)
    weight_map, total = {}, 0
    for shard in range(SHARDS):
        own = names[len(names) * shard // SHARDS : len(names) * (shard + 1) // SHARDS]
        tensors = {name: draw(shapes[name], dtype, is_norm(name)) for name in own}
        file = f"diffusion_pytorch_model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        safetensors.torch.save_file(tensors, folder / file)
        weight_map |= dict.fromkeys(own, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def write_text_encoder(file):
    inner, ffn, heads, layers = 4096, 10240, 64, 24
    tensors = {"token_embedding.weight": draw((256384, TEXT_DIM), torch.bfloat16)}
    for layer in range(layers):
        block = f"blocks.{layer}"
        tensors[f"{block}.norm1.weight"] = draw((TEXT_DIM,), torch.bfloat16, True)
        for part in "qkv":
            tensors[f"{block}.attn.{part}.weight"] = draw((inner, TEXT_DIM), torch.bfloat16)
        tensors[f"{block}.attn.o.weight"] = draw((TEXT_DIM, inner), torch.bfloat16)
        tensors[f"{block}.norm2.weight"] = draw((TEXT_DIM,), torch.bfloat16, True)
        tensors[f"{block}.ffn.gate.0.weight"] = draw((ffn, TEXT_DIM), torch.bfloat16)
        tensors[f"{block}.ffn.fc1.weight"] = draw((ffn, TEXT_DIM), torch.bfloat16)
        tensors[f"{block}.ffn.fc2.weight"] = draw((TEXT_DIM, ffn), torch.bfloat16)
        tensors[f"{block}.pos_embedding.embedding.weight"] = draw((32, heads), torch.bfloat16)
    tensors["norm.weight"] = draw((TEXT_DIM,), torch.bfloat16, True)
    torch.save(tensors, file)


def vae_shapes():
    """Names and shapes of the Wan 2.1 autoencoder, width 96 (model.md 4.3), (model.md 4.4)."""
    shapes = {}

    def conv(name, out, inner, *kernel):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, inner, *kernel), (out,)

    def residual(name, inner, out):
        shapes[f"{name}.residual.0.gamma"] = (inner, 1, 1, 1)
        conv(f"{name}.residual.2", out, inner, 3, 3, 3)
        shapes[f"{name}.residual.3.gamma"] = (out, 1, 1, 1)
        conv(f"{name}.residual.6", out, out, 3, 3, 3)
        if inner != out:
            conv(f"{name}.shortcut", out, inner, 1, 1, 1)

    def middle(name, width):
        residual(f"{name}.0", width, width)
        shapes[f"{name}.1.norm.gamma"] = (width, 1, 1)
        conv(f"{name}.1.to_qkv", 3 * width, width, 1, 1)
        conv(f"{name}.1.proj", width, width, 1, 1)
        residual(f"{name}.2", width, width)

    def head(name, inner, out):
        shapes[f"{name}.0.gamma"] = (inner, 1, 1, 1)
        conv(f"{name}.2", out, inner, 3, 3, 3)

    conv("encoder.conv1", 96, 3, 3, 3, 3)
    at, inner = 0, 96
    for level, out in enumerate((96, 192, 384, 384)):
        for _ in range(2):
            residual(f"encoder.downsamples.{at}", inner, out)
            at, inner = at + 1, out
        if level < 3:
            conv(f"encoder.downsamples.{at}.resample.1", out, out, 3, 3)
            if level > 0:
                conv(f"encoder.downsamples.{at}.time_conv", out, out, 3, 1, 1)
            at += 1
    middle("encoder.middle", 384)
    head("encoder.head", 384, 32)
    conv("conv1", 32, 32, 1, 1, 1)
    conv("conv2", 16, 16, 1, 1, 1)
    conv("decoder.conv1", 384, 16, 3, 3, 3)
    middle("decoder.middle", 384)
    at, inner = 0, 384
    for level, out in enumerate((384, 384, 192, 96)):
        for _ in range(3):
            residual(f"decoder.upsamples.{at}", inner, out)
            at, inner = at + 1, out
        if level < 3:
            conv(f"decoder.upsamples.{at}.resample.1", out // 2, out, 3, 3)
            if level < 2:
                conv(f"decoder.upsamples.{at}.time_conv", 2 * out, out, 3, 1, 1)
            at, inner = at + 1, out // 2
    head("decoder.head", 96, 3)
    return shapes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16", help="of the experts")
    parser.add_argument("--same-experts", action="store_true", help="one set of files for both experts: half the room")
    parser.add_argument("--layers", type=int, default=40)
    arguments = parser.parse_args()
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[arguments.dtype]
    torch.manual_seed(0)
    write_expert(arguments.out / "high_noise_model", arguments.layers, dtype)
    if arguments.same_experts:
        (arguments.out / "low_noise_model").symlink_to("high_noise_model")
    else:
        write_expert(arguments.out / "low_noise_model", arguments.layers, dtype)
    write_text_encoder(arguments.out / "models_t5_umt5-xxl-enc-bf16.pth")
    vae = {name: draw(shape, torch.float32, is_norm(name)) for name, shape in vae_shapes().items()}
    torch.save(vae, arguments.out / "Wan2.1_VAE.pth")
    shutil.copytree(arguments.tokenizer, arguments.out / "google" / "umt5-xxl")


if __name__ == "__main__":
    main()
