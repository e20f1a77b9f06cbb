"""Writes the checkpoint of a parity case with its LoRAs merged into the experts: W + strength * alpha / rank * (up @ down), in fp32.

    merge_loras.py CASE OUT

CASE is a folder of tests/data/parity whose case.json lists LoRAs in the form of Wan2.2-Lightning; OUT becomes a checkpoint folder.
The program itself reads LoRAs by other code, so a test can hold both to the same numbers.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def merged(folder: Path, lora: dict) -> dict:
    """The expert's tensors with the LoRA of one entry of case.json in them."""
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    tensors = load_file(folder.parent.parent / lora["file"])
    changed = 0
    for name, down in tensors.items():
        if not name.endswith(".lora_down.weight"):
            continue
        module = name.removesuffix(".lora_down.weight")
        up, alpha = tensors[module + ".lora_up.weight"], tensors[module + ".alpha"]
        target = module.removeprefix("diffusion_model.") + ".weight"
        scale = lora["strength"] * float(alpha) / down.shape[0]
        weights[target] = weights[target].float() + scale * (up.float() @ down.float())
        changed += 1
    if changed != lora["changed"]:
        sys.exit(f"{lora['file']}: {changed} tensors changed, {lora['changed']} expected")
    return weights


def main() -> None:
    case, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    checkpoint = case / "ckpt"
    for place in checkpoint.iterdir():
        if not place.name.endswith("_noise_model"):
            os.symlink(place.resolve(), out / place.name)
    for lora in json.loads((case / "case.json").read_text())["lora"]:
        expert = f"{lora['expert']}_noise_model"
        (out / expert).mkdir()
        shutil.copy(checkpoint / expert / "config.json", out / expert)
        save_file(merged(checkpoint / expert, lora), out / expert / "diffusion_pytorch_model.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
