"""Files of other dialects, for tests: safetensors by hand, with holes for data that nobody reads."""

import json
import struct
from pathlib import Path

import numpy

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "U8": 1, "I8": 1}
Shapes = dict[str, tuple[str, list[int]]]  # tensor name to type and shape


def write_file(path: Path, tensors: Shapes, data: dict[str, bytes] | None = None) -> Path:
    """A safetensors file; a tensor without data is a hole of zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header, end = {}, 0
    for name, (kind, shape) in tensors.items():
        begin = end
        end += BYTES[kind] * int(numpy.prod(shape, dtype=numpy.int64))
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, content in (data or {}).items():
            file.seek(8 + len(text) + header[name]["data_offsets"][0])
            file.write(content)
        file.truncate(8 + len(text) + end)
    return path


def read_file(path: Path) -> tuple[Shapes, dict[str, bytes]]:
    """All tensors of a safetensors file."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    shapes = {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()}
    data = {name: content[8 + length :][entry["data_offsets"][0] : entry["data_offsets"][1]] for name, entry in header.items()}
    return shapes, data


def transformer(
    width: int = 1536, channels: int = 16, latent: int = 16, text: int = 32, image: int = 0, layers: int = 1, kind: str = "BF16"
) -> Shapes:
    """The official tensors of a transformer."""
    ffn = 32
    names: dict[str, list[int]] = {"patch_embedding.weight": [width, channels, 1, 2, 2], "patch_embedding.bias": [width]}

    def linear(name: str, rows: int, columns: int) -> None:
        names[f"{name}.weight"], names[f"{name}.bias"] = [rows, columns], [rows]

    def norm(name: str, size: int) -> None:
        names[f"{name}.weight"], names[f"{name}.bias"] = [size], [size]

    for name, columns in (("text_embedding.0", text), ("text_embedding.2", width), ("time_embedding.0", 256), ("time_embedding.2", width)):
        linear(name, width, columns)
    linear("time_projection.1", 6 * width, width)
    if image:
        norm("img_emb.proj.0", image)
        linear("img_emb.proj.1", image, image)
        linear("img_emb.proj.3", width, image)
        norm("img_emb.proj.4", width)
    for layer in range(layers):
        block = f"blocks.{layer}"
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                linear(f"{block}.{attention}.{part}", width, width)
            for part in ("norm_q", "norm_k"):
                names[f"{block}.{attention}.{part}.weight"] = [width]
        if image:
            linear(f"{block}.cross_attn.k_img", width, width)
            linear(f"{block}.cross_attn.v_img", width, width)
            names[f"{block}.cross_attn.norm_k_img.weight"] = [width]
        norm(f"{block}.norm3", width)
        linear(f"{block}.ffn.0", ffn, width)
        linear(f"{block}.ffn.2", width, ffn)
        names[f"{block}.modulation"] = [1, 6, width]
    linear("head.head", 4 * latent, width)
    names["head.modulation"] = [1, 2, width]
    return {name: (kind, shape) for name, shape in names.items()}


def is_scaled(name: str) -> bool:
    """Whether a converter to fp8_scaled takes this tensor: the matrices of the blocks."""
    return name.startswith("blocks.") and name.endswith(".weight") and ".norm" not in name


def scaled(tensors: Shapes, ending: str = "scale_weight", marker: bool = True) -> Shapes:
    """The same as ComfyUI's fp8_scaled files have them."""
    result: Shapes = {"scaled_fp8": ("F8_E4M3", [0])} if marker else {}
    for name, (kind, shape) in tensors.items():
        result[name] = ("F8_E4M3", shape) if is_scaled(name) else (kind, shape)
        if is_scaled(name):
            result[name.removesuffix("weight") + ending] = ("F32", [])
    return result


def fp8_values() -> numpy.ndarray:
    """The value of each of the 256 bytes in F8_E4M3, from its definition; NaN for two of them."""
    values = numpy.empty(256, dtype=numpy.float32)
    for byte in range(256):
        sign, exponent, mantissa = (-1.0 if byte & 0x80 else 1.0), (byte >> 3) & 15, byte & 7
        values[byte] = sign * (mantissa * 2.0**-9 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))
        if byte & 0x7F == 0x7F:
            values[byte] = numpy.nan
    return values


def bf16_bytes(values: numpy.ndarray) -> bytes:
    """Rounded to nearest, ties to even."""
    bits = values.astype(numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16).tobytes()
