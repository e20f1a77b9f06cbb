#!/usr/bin/env python3
"""Writes this folder's fixtures. Run from anywhere with torch and safetensors installed; the results are committed.

parity_tensors.txt  for every tensor of the checkpoints in tests/data/parity, as torch reads it: shape, dtype and the first
                    16 hex digits of the SHA-256 of its values as float32, row-major
views.pth           tensors that share storages, are strided, have offsets, no elements or no dimensions, in all types
views.txt           the same lines for views.pth
module.pth          a module's state_dict (OrderedDict with _metadata) and a Parameter
"""
import hashlib
import pathlib

import torch
from safetensors import safe_open

here = pathlib.Path(__file__).parent
parity = here.parent / "parity"


def line(name, tensor):
    values = tensor.detach().to(torch.float32).contiguous()
    digest = hashlib.sha256(values.numpy().tobytes()).hexdigest()[:16]
    shape = "x".join(str(size) for size in tensor.shape) or "-"
    return f"{name} {shape} {str(tensor.dtype).removeprefix('torch.')} {digest}\n"


def parity_lines():
    for file in sorted(parity.glob("*/ckpt/**/*.safetensors")):
        yield f"file {file.relative_to(parity)}\n"
        with safe_open(file, "pt") as shard:
            for name in sorted(shard.keys()):
                yield line(name, shard.get_tensor(name))
    for file in sorted(parity.glob("*/ckpt/*.pth")):
        yield f"file {file.relative_to(parity)}\n"
        for name, tensor in sorted(torch.load(file, weights_only=True).items()):
            yield line(name, tensor)


def views():
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(6, 8, generator=generator)
    cube = torch.randn(3, 4, 5, generator=generator)
    return {
        "plain": base,
        "transposed": base.t(),
        "shared_row": base[2],
        "shared_column": base[:, 3],
        "window": base[1:5:2, 2:7:3],
        "permuted": cube.permute(2, 0, 1),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "f64": torch.randn(5, generator=generator, dtype=torch.float64),
        "f16": torch.randn(7, generator=generator).to(torch.float16),
        "f16_strided": torch.randn(4, 6, generator=generator).to(torch.float16).t(),
        "bf16": torch.randn(9, generator=generator).to(torch.bfloat16),
        "bf16_strided": torch.randn(6, 6, generator=generator).to(torch.bfloat16)[:, ::2],
    }


def main():
    (here / "parity_tensors.txt").write_text("".join(parity_lines()))
    torch.save(views(), here / "views.pth")
    (here / "views.txt").write_text("".join(line(name, tensor) for name, tensor in sorted(views().items())))
    torch.manual_seed(3)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    module["parameter"] = torch.nn.Parameter(torch.arange(4, dtype=torch.float32))
    torch.save(module, here / "module.pth")


if __name__ == "__main__":
    main()
