#!/usr/bin/env python3
"""Times the official code on one GPU with random weights: a guided denoising step, and the autoencoder.

    time_official.py CHECKOUT MODEL [--steps 3] [--no-vae]

CHECKOUT is a copy of github.com/Wan-Video/Wan2.2 (models ti2v-5B and i2v-A14B) or of Wan2.1 (t2v-1.3B). It needs torch and einops.
FlashAttention is replaced by cuDNN's attention, the fastest that torch alone has on Hopper, so the comparison is kind to the official
code; diffusers is replaced by two empty classes. A step is two passes (with and without prompt) in autocast to bf16 over bf16 weights,
as generate.py runs with --convert_model_dtype. The autoencoder runs in fp32 with PyTorch's defaults, as there. Prints one line of JSON;
compare it with `wan_bench --model MODEL` in the same call.
"""

import argparse
import json
import sys
import time
import types
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch.nn.attention import SDPBackend, sdpa_kernel

#: Arguments of WanModel, and a latent of the default video: channels, frames, height, width.
MODELS = {
    "ti2v-5B": ({"model_type": "ti2v", "in_dim": 48, "out_dim": 48, "dim": 3072, "ffn_dim": 14336, "num_heads": 24, "num_layers": 30},
                (48, 31, 44, 80)),
    "i2v-A14B": ({"model_type": "i2v", "in_dim": 36, "out_dim": 16, "dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40},
                 (16, 21, 60, 104)),
    "t2v-1.3B": ({"model_type": "t2v", "in_dim": 16, "out_dim": 16, "dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30},
                 (16, 21, 60, 104)),
}


def flash_attention(q, k, v, q_lens=None, k_lens=None, dtype=torch.bfloat16, **_):  # noqa: ARG001
    """[batch, tokens, heads, head_dim]; the lengths are those of the tensors here."""
    wanted = q.dtype
    q, k, v = ((x if x.dtype in (torch.float16, torch.bfloat16) else x.to(dtype)).transpose(1, 2) for x in (q, k, v))
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]):
        out = functional.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).contiguous().type(wanted)


def load_official(checkout: Path):
    """The official modules without their packages' own imports."""
    for name, path in (("wan", checkout / "wan"), ("wan.modules", checkout / "wan" / "modules")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    for name, contents in (("diffusers", {}), ("diffusers.models", {}), ("diffusers.configuration_utils", {
            "ConfigMixin": type("ConfigMixin", (), {}), "register_to_config": lambda function: function}),
                           ("diffusers.models.modeling_utils", {"ModelMixin": torch.nn.Module})):
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        sys.modules[name] = module
    from wan.modules import model

    model.flash_attention = flash_attention
    model.WanModel.init_weights = lambda _: None
    return model.WanModel


@torch.no_grad()
def fill(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)
        else:
            torch.nn.init.ones_(parameter)


def timed(work) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def time_steps(wan_model, arguments: dict, shape: tuple, steps: int) -> dict:
    with torch.device("cuda"):
        model = wan_model(freq_dim=256, text_dim=4096, **arguments)
    fill(model)
    model.eval().requires_grad_(False).to(torch.bfloat16)
    model.freqs = model.freqs.cuda()
    channels, frames, height, width = shape
    tokens = frames * height * width // 4
    latent = torch.randn(channels, frames, height, width, device="cuda")
    condition = [torch.randn(20, frames, height, width, device="cuda")] if arguments["model_type"] == "i2v" else None
    texts = [torch.randn(length, 4096, device="cuda", dtype=torch.bfloat16) for length in (60, 120)]
    timestep = torch.full((1,), 900.0, device="cuda")
    if arguments["model_type"] == "ti2v":  # of an image: frame 0 has timestep 0
        timestep = timestep.repeat(tokens)
        timestep[: height * width // 4] = 0
        timestep = timestep[None]
    torch.cuda.reset_peak_memory_stats()

    def step():
        with torch.amp.autocast("cuda", dtype=torch.bfloat16), torch.no_grad():
            passes = [model([latent], t=timestep, context=[text], seq_len=tokens, y=condition)[0] for text in texts]
            return passes[1] + 5 * (passes[0] - passes[1])

    step()
    seconds = [timed(step) for _ in range(steps)]
    return {"step_s": seconds, "s_per_step": sorted(seconds)[steps // 2], "peak_bytes": torch.cuda.max_memory_allocated()}


def time_vae(shape: tuple, model: str) -> dict:
    if model == "ti2v-5B":
        from wan.modules.vae2_2 import WanVAE_
        network = WanVAE_(z_dim=48, dim=160, dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True])
        frames, pixels = 1, 16  # it encodes the image alone
    else:
        from wan.modules.vae import WanVAE_
        network = WanVAE_(z_dim=16, dim=96, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
                          temperal_downsample=[False, True, True])
        frames, pixels = 81, 8
    fill(network)
    network = network.eval().requires_grad_(False).cuda()
    channels, _, height, width = shape
    scale = [torch.zeros(channels, device="cuda"), torch.ones(channels, device="cuda")]
    clip = torch.rand(1, 3, frames, height * pixels, width * pixels, device="cuda") * 2 - 1
    latent = torch.randn(1, *shape, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad(), torch.amp.autocast("cuda", dtype=torch.float32):
        network.decode(latent[:, :, :3], scale)
        network.encode(clip[:, :, : min(frames, 9)], scale)
        encode_s = timed(lambda: network.encode(clip, scale))
        decode_s = timed(lambda: network.decode(latent, scale))
    return {"vae_encode_s": encode_s, "vae_decode_s": decode_s, "vae_peak_bytes": torch.cuda.max_memory_allocated()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--no-vae", action="store_true")
    options = parser.parse_args()
    arguments, shape = MODELS[options.model]
    result = {"model": options.model, "gpu": torch.cuda.get_device_name()}
    result |= time_steps(load_official(options.checkout), arguments, shape, options.steps)
    torch.cuda.empty_cache()
    if not options.no_vae:
        result |= time_vae(shape, options.model)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
