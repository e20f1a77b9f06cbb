"""Makes i2v_landscape/exact.safetensors: what the official modules compute in bf16, on the CPU (README.md beside this file).

    python make_exact.py OFFICIAL_CHECKOUT [--check]

OFFICIAL_CHECKOUT holds wan/modules/{model,attention}.py and wan/utils/fm_solvers_unipc.py of github.com/Wan-Video/Wan2.2. --check also runs
the official transformer on tensors without data on a CUDA device, under torch's own autocast, and compares the types at every operation.
"""

import argparse
import contextlib
import enum
import importlib.util
import json
import re
import sys
import types
import typing
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CASE = Path(__file__).resolve().parent / "i2v_landscape"
SCHEDULES = [(steps, shift) for shift in (3.0, 5.0, 12.0) for steps in (1, 2, 3, 4, 20, 40)]


def cuda_cast_lists():
    """The functions that autocast on CUDA runs in the lower precision, and those in fp32, from the lists in torch's own header."""
    header = (Path(torch.__path__[0]) / "include/ATen/autocast_mode.h").read_text()

    def names(macro):
        body = re.search(rf"#define {macro}\(_\)(.*?)\n\n", header, re.DOTALL).group(1)
        return set(re.findall(r"_\((\w+)", body))

    return names("AT_FORALL_LOWER_PRECISION_FP"), names("AT_FORALL_FP32")


class PlayedAutocast(contextlib.ContextDecorator):
    """Stands in for torch.amp.autocast("cuda", ...): keeps the innermost region's type for CudaCasts."""

    regions: typing.ClassVar = [None]

    def __init__(self, device, dtype=torch.bfloat16, enabled=True):
        assert device == "cuda"
        self.dtype = dtype if enabled else None

    def __enter__(self):
        self.regions.append(self.dtype)

    def __exit__(self, *_):
        self.regions.pop()


class CudaCasts(TorchFunctionMode):
    """Casts arguments on the CPU as autocast on CUDA does, and multiplies bf16 by a host scalar as CUDA does: in fp32, rounded once."""

    def __init__(self):
        super().__init__()
        self.low, self.fp32 = cuda_cast_lists()
        self.cast = set()

    def __torch_function__(self, func, _, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        region = PlayedAutocast.regions[-1]
        to = None
        if region is not None and name in self.low:
            to = region
        elif region is not None and name in self.fp32:
            to = torch.float32
        if to is not None:
            self.cast.add((name, to))
            args, kwargs = torch.utils._pytree.tree_map(lambda x: self.convert(x, to), (args, kwargs))
        if name in ("mul", "__mul__", "__rmul__") and all(isinstance(x, torch.Tensor) for x in args):
            for scalar, x in (args, args[::-1]):
                if scalar.dim() == 0 and scalar.dtype == torch.float32 and x.dim() > 0 and x.dtype == torch.bfloat16:
                    return (x.float() * scalar).to(torch.bfloat16)
        return func(*args, **kwargs)

    @staticmethod
    def convert(x, to):
        eligible = isinstance(x, torch.Tensor) and x.is_floating_point() and x.dtype != torch.float64
        return x.to(to) if eligible else x


def flash_attention(q, k, v, k_lens=None, **_):
    """FlashAttention's part: bf16 in and out, no mask (all keys are real here), the result in q's type."""
    assert k_lens is None or bool((k_lens == k.size(1)).all())
    q16, k16, v16 = (x.to(torch.bfloat16).transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q16, k16, v16).transpose(1, 2).contiguous().to(q.dtype)


def stand_in_for_diffusers():
    """The little of diffusers that the official files import: keeping a constructor's arguments, and names."""

    def register_to_config(init):
        def keep(self, *args, **kwargs):
            names = init.__code__.co_varnames[1 : init.__code__.co_argcount]
            values = dict(zip(names[len(names) - len(init.__defaults__) :], init.__defaults__, strict=True))
            values.update(zip(names, args, strict=False), **kwargs)
            self.config = types.SimpleNamespace(**values)
            init(self, *args, **kwargs)

        return keep

    class ModelMixin(torch.nn.Module):
        pass

    def module(name, **content):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(content)

    module("diffusers")
    module("diffusers.configuration_utils", ConfigMixin=type("ConfigMixin", (), {}), register_to_config=register_to_config)
    module("diffusers.models")
    module("diffusers.models.modeling_utils", ModelMixin=ModelMixin)
    module("diffusers.schedulers")
    module(
        "diffusers.schedulers.scheduling_utils",
        KarrasDiffusionSchedulers=enum.Enum("Karras", "none"),
        SchedulerMixin=type("SchedulerMixin", (), {}),
        SchedulerOutput=types.SimpleNamespace,
    )
    module("diffusers.utils", deprecate=lambda *_, **__: None, is_scipy_available=lambda: False)


def load_official(checkout, autocast):
    """The official modules model and fm_solvers_unipc, which find `autocast` as torch.amp.autocast."""
    torch.amp.autocast = autocast
    for package in ("wan", "wan.modules", "wan.utils"):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = []

    def load(name):
        spec = importlib.util.spec_from_file_location(name, checkout / (name.replace(".", "/") + ".py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    load("wan.modules.attention")
    model = load("wan.modules.model")
    model.flash_attention = flash_attention
    return model, load("wan.utils.fm_solvers_unipc")


def load_model(module, name):
    """An expert as `generate.py --convert_model_dtype` has it: every parameter in bf16."""
    config = json.loads((CASE / "ckpt" / name / "config.json").read_text())
    weights = {}
    for file in sorted((CASE / "ckpt" / name).glob("*.safetensors")):
        weights.update(load_file(file))
    text_dim = weights["text_embedding.0.weight"].shape[1]
    model = module.WanModel(text_dim=text_dim, **{k: v for k, v in config.items() if not k.startswith("_")})
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False).to(torch.bfloat16)


def inputs_of_case():
    """Noise, condition (mask, then the encoded image) and both texts, bf16 as the text encoder gives them."""
    expected = load_file(CASE / "expected.safetensors")
    noise, encoded = expected["noise"], expected["vae.encoded"]
    mask = torch.zeros(4, *noise.shape[1:])
    mask[:, 0] = 1
    texts = [expected[f"text.{name}"].to(torch.bfloat16) for name in ("context", "negative_context")]
    return noise, torch.cat([mask, encoded]), texts


def tokens_of(noise):
    return noise.shape[1] * noise.shape[2] * noise.shape[3] // 4


def first_pass(model, timestep):
    """Every block's parts and the prediction of the conditional pass at step 0, by name."""
    noise, condition, texts = inputs_of_case()
    seen = {}

    def keep(name):
        return lambda _module, _inputs, output: seen.__setitem__(name, output.squeeze(0).clone())

    hooks = []
    for i, block in enumerate(model.blocks):
        parts = {"": block, ".self_attn": block.self_attn, ".cross_attn": block.cross_attn, ".ffn": block.ffn}
        hooks += [part.register_forward_hook(keep(f"blocks.{i}{name}")) for name, part in parts.items()]
    model([noise], t=timestep, context=[texts[0]], seq_len=tokens_of(noise), y=[condition])
    for hook in hooks:
        hook.remove()
    return seen


def denoise(model_of, scheduler, parameters):
    """The loop of WanI2V.generate(): predictions and latent of every step, by name."""
    noise, condition, texts = inputs_of_case()
    scheduler.set_timesteps(parameters["steps"], device="cpu", shift=parameters["shift"])
    boundary = parameters["boundary"] * 1000
    latent, result = noise, {}
    for i, t in enumerate(scheduler.timesteps):
        model = model_of["high" if t.item() >= boundary else "low"]
        scale = parameters["guide_high"] if t.item() >= boundary else parameters["guide_low"]
        cond, uncond = (model([latent], t=torch.stack([t]), context=[text], seq_len=tokens_of(noise), y=[condition])[0] for text in texts)
        velocity = uncond + scale * (cond - uncond)
        latent = scheduler.step(velocity.unsqueeze(0), t, latent.unsqueeze(0), return_dict=False)[0].squeeze(0)
        result |= {f"step.{i}.cond": cond, f"step.{i}.uncond": uncond, f"step.{i}.latent": latent}
    return result


def trajectory(scheduler, steps, shift, x):
    """Velocities [steps, n] given to the official solver and the samples [steps, n] that it returns."""
    scheduler.set_timesteps(steps, device="cpu", shift=shift)
    velocities, samples = [], []
    for t in scheduler.timesteps:
        velocities.append(x * 0.7 + torch.sin(x * 2 + t.item() / 300.0))
        x = scheduler.step(velocities[-1], t, x, return_dict=False)[0]
        samples.append(x)
    return torch.stack(velocities).flatten(1), torch.stack(samples).flatten(1)


class RealAutocast(PlayedAutocast):
    """torch's own autocast for CUDA, which torch.amp.autocast turns off where there is no GPU."""

    def __enter__(self):
        self.before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        torch.set_autocast_enabled("cuda", self.dtype is not None)
        torch.set_autocast_dtype("cuda", self.dtype or torch.bfloat16)

    def __exit__(self, *_):
        torch.set_autocast_enabled("cuda", self.before[0])
        torch.set_autocast_dtype("cuda", self.before[1])


class TypesOfOperations(TorchDispatchMode):
    """Lists the types and shapes of each operation that computes."""

    moving: typing.ClassVar = {
        "_to_copy",
        "view",
        "_unsafe_view",
        "t",
        "transpose",
        "expand",
        "permute",
        "detach",
        "clone",
        "slice",
        "unsqueeze",
        "squeeze",
        "alias",
        "split",
        "split_with_sizes",
        "_reshape_alias",
        "reshape",
        "copy_",
        "select",
        "unbind",
        "lift_fresh",
    }

    def __init__(self):
        super().__init__()
        self.lines = []

    def __torch_dispatch__(self, func, _, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.__name__.split(".")[0]
        first = result[0] if isinstance(result, tuple) else result
        if name not in self.moving and isinstance(first, torch.Tensor) and first.is_floating_point():
            inputs = [str(x.dtype)[6:] for x in args if isinstance(x, torch.Tensor) and x.dim() > 0]
            self.lines.append(f"{name} {','.join(inputs)} -> {str(first.dtype)[6:]} {list(first.shape)}")
        return result


def types_of_a_forward(checkout, autocast, device, casts):
    """The types at every operation of a forward of the official transformer on tensors without data."""
    module, _ = load_official(checkout, autocast)
    model = load_model(module, "high_noise_model")
    noise, condition, texts = inputs_of_case()
    module.flash_attention = lambda q, k, v, **_: torch.empty_like(q)
    # A tensor without data has no numbers to read: the grid is handed over as them.
    grid = types.SimpleNamespace(tolist=lambda: [[noise.shape[1], noise.shape[2] // 2, noise.shape[3] // 2]])
    rotate, unpatchify = module.rope_apply, model.unpatchify
    module.rope_apply = lambda x, _, freqs: rotate(x, grid, freqs)
    model.unpatchify = lambda x, _: unpatchify(x, grid)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        fakes = [fake.from_tensor(x).to(device) for x in (noise, condition, texts[0], torch.tensor([999]))]
        model.to(device)
        with autocast("cuda"), casts, TypesOfOperations() as trace:
            model([fakes[0]], t=fakes[3], context=[fakes[2]], seq_len=tokens_of(noise), y=[fakes[1]])
    return trace.lines


def check(checkout):
    """Holds the played casts to torch's own on a CUDA device."""
    played = types_of_a_forward(checkout, PlayedAutocast, "cpu", CudaCasts())
    real = types_of_a_forward(checkout, RealAutocast, "cuda", contextlib.nullcontext())
    differences = [pair for pair in zip(played, real, strict=True) if pair[0] != pair[1]]
    if differences:
        sys.exit(f"the played casts differ from autocast on CUDA: {differences}")
    print(f"{len(real)} operations have the types that they have under autocast on CUDA")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stand_in_for_diffusers()
    if options.check:
        check(options.checkout)
    model_module, solver_module = load_official(options.checkout, PlayedAutocast)
    parameters = json.loads((CASE / "case.json").read_text())
    models = {name: load_model(model_module, f"{name}_noise_model") for name in ("high", "low")}

    def scheduler():
        return solver_module.FlowUniPCMultistepScheduler(num_train_timesteps=1000, shift=1, use_dynamic_shifting=False)

    result = {}
    with torch.no_grad(), PlayedAutocast("cuda", dtype=torch.bfloat16), CudaCasts() as casts:
        steps = denoise(models, scheduler(), parameters)
        result |= {name: steps[name] for name in ("step.0.cond", "step.0.uncond", f"step.{parameters['steps'] - 1}.latent")}
        result |= first_pass(models["high"], torch.tensor([999]))
        x = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(7))
        result["unipc.start"] = x.flatten()
        for steps, shift in SCHEDULES:
            name = f"unipc.{steps}.{shift:g}"
            result[f"{name}.velocity"], result[f"{name}.sample"] = trajectory(scheduler(), steps, shift, x)
    print("cast:", sorted(f"{name} to {str(to)[6:]}" for name, to in casts.cast))
    result = {
        name: (value.to(torch.bfloat16) if torch.equal(value, value.to(torch.bfloat16)) else value).contiguous()
        for name, value in result.items()
    }
    save_file(result, CASE / "exact.safetensors")
    print(f"{len(result)} tensors, {sum(x.numel() * x.element_size() for x in result.values())} bytes")


if __name__ == "__main__":
    main()
