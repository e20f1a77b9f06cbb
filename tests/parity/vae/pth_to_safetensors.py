"""Writes the tensors of a .pth file as fp32 to a .safetensors file: pth_to_safetensors.py IN OUT"""

import sys

import torch
from safetensors.torch import save_file

source, target = sys.argv[1:]
weights = torch.load(source, map_location="cpu", weights_only=True)
save_file({name: tensor.float().contiguous() for name, tensor in weights.items()}, target)
