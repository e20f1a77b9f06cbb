"""LoRAs for tests: pairs and differences of a model's tensors, in any spelling."""

from collections.abc import Callable
from pathlib import Path

import numpy

from dialect_files import Shapes, bf16_bytes, write_file

Tensors = dict[str, numpy.ndarray]


def drawn(shape: list[int], seed: int) -> numpy.ndarray:
    """Multiples of 1/64 below 1: products and short sums of them are exact in fp32."""
    return (numpy.random.default_rng(seed).integers(-63, 64, shape) / 64).astype(numpy.float32)


def pairs(shapes: Shapes, rank: int = 4, alpha: float | None = None, seed: int = 0, chosen: Callable[[str], bool] | None = None) -> Tensors:
    """Pairs of the matrices of the blocks, or of the chosen ones, in the official names."""
    result: Tensors = {}
    for number, (name, (_, shape)) in enumerate(shapes.items()):
        module = name.removesuffix(".weight")
        if module == name or len(shape) != 2 or not (chosen(name) if chosen else name.startswith("blocks.")):
            continue
        result[f"{module}.lora_down.weight"] = drawn([rank, shape[1]], seed + 2 * number)
        result[f"{module}.lora_up.weight"] = drawn([shape[0], rank], seed + 2 * number + 1) / 8
        if alpha is not None:
            result[f"{module}.alpha"] = numpy.float32(alpha).reshape(())
    return result


def mangled(tensors: Tensors) -> Tensors:
    """The same as kohya's and musubi's trainers write it."""
    result: Tensors = {}
    for name, values in tensors.items():
        for ending in (".lora_down.weight", ".lora_up.weight", ".alpha"):
            if name.endswith(ending):
                result["lora_unet_" + name.removesuffix(ending).replace(".", "_") + ending] = values
    assert len(result) == len(tensors)
    return result


def renamed(tensors: Tensors, prefix: str = "", **endings: str) -> Tensors:
    """With a prefix, and with other words for lora_down and lora_up."""
    result: Tensors = {}
    for name, values in tensors.items():
        other = name
        for old, new in endings.items():
            other = other.replace(old, new)
        result[prefix + other] = values
    return result


def write_lora(path: Path, tensors: Tensors, kind: str = "F32") -> Path:
    """A safetensors file."""
    data = {
        name: bf16_bytes(values.ravel()) if kind == "BF16" else values.astype("<f4" if kind == "F32" else "i1").tobytes()
        for name, values in tensors.items()
    }
    return write_file(path, {name: (kind, list(values.shape)) for name, values in tensors.items()}, data)


def merge(data: Tensors, tensors: Tensors, strength: float) -> Tensors:
    """Weights in the official names with pairs added, from the definition, in fp64."""
    merged = dict(data)
    for name, down in tensors.items():
        if not name.endswith(".lora_down.weight"):
            continue
        module = name.removesuffix(".lora_down.weight")
        alpha = float(tensors.get(f"{module}.alpha", 0)) or down.shape[0]
        product = tensors[f"{module}.lora_up.weight"].astype(float) @ down.astype(float)
        weight = data[f"{module}.weight"]
        merged[f"{module}.weight"] = (weight.astype(float) + strength * alpha / down.shape[0] * product).astype(numpy.float32)
    return merged
