"""Checkpoints as people have them: parts named one by one, single files, fp8, and what cannot be used."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy

from cli_case import CHECKPOINT, DONE, CliCase, each, nightly
from dialect_files import bf16_bytes, fp8_values, is_scaled, read_file, scaled, transformer, write_file

T2V = ["--size", "64*64", "--frame-num", "5", "--sample-steps", "2", "--base-seed", "7"]
OTHERS = [
    "--vae",
    CHECKPOINT / "Wan2.1_VAE.pth",
    "--text-encoder",
    CHECKPOINT / "models_t5_umt5-xxl-enc-bf16.pth",
    "--tokenizer",
    CHECKPOINT / "google/umt5-xxl",
]


def text_width() -> int:
    """The toy text encoder's."""
    shapes, _ = read_file(CHECKPOINT / "low_noise_model/diffusion_pytorch_model.safetensors")
    return shapes["text_embedding.0.weight"][1][1]


TEXT = text_width()


def without(tensors: dict, *names: str) -> dict:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def with_prefix(tensors: dict, prefix: str) -> dict:
    return {prefix + name: tensor for name, tensor in tensors.items()}


class Dialect(CliCase):
    def dry_run(self, *arguments):
        return self.run_program(
            "--device", "cpu", "--dry-run", "--output-dir", self.out, *T2V, self.manifest("id,image,prompt", "one,,A white cat"), *arguments
        )

    def lone(self, tensors: dict, name: str = "model.safetensors", data: dict | None = None) -> Path:
        return write_file(self.folder / name, tensors, data)

    def small(self, **more) -> dict:
        return transformer(text=TEXT, **more)


class LoneFiles(Dialect):
    @each("", "model.diffusion_model.", "diffusion_model.")
    def test_a_single_file_is_a_model(self, prefix):
        result = self.dry_run("--model", self.lone(with_prefix(self.small(kind="F16"), prefix)), *OTHERS)
        self.assertEqual(result.code, DONE, result)
        plan = self.run_program(
            "--plan", "--gpus", "1", "--gpu-memory", "80GiB", *T2V, "--model", self.folder / "model.safetensors", *OTHERS
        )
        self.assertEqual(plan.code, DONE, plan)

    def test_two_files_are_the_experts_of_one(self):
        files = [self.lone(self.small(), f"wan2.2_t2v_{noise}_noise.safetensors") for noise in ("high", "low")]
        result = self.dry_run("--high-noise-model", files[0], "--low-noise-model", files[1], "--task", "t2v-A14B", *OTHERS)
        self.assertEqual(result.code, DONE, result)

    def test_a_checkpoint_folder_gives_the_parts_that_are_not_named(self):
        result = self.dry_run("--model", self.lone(self.small()), "--ckpt-dir", CHECKPOINT)
        self.assertEqual(result.code, DONE, result)

    @each("scale_weight", "weight_scale")
    def test_fp8_scaled_says_that_it_is_widened(self, ending):
        tensors = scaled(self.small(), ending, marker=ending == "scale_weight")
        result = self.dry_run("--model", self.lone(tensors), *OTHERS)
        self.assertEqual(result.code, DONE, result)
        self.assertIn("fp8 widened to bf16: model.safetensors", result.out + result.err)

    @nightly
    @each("scale_weight", "weight_scale")
    def test_fp8_scaled_makes_the_bytes_of_the_widened_weights(self, ending):
        """One scale for a matrix, or one for each row, against an official folder with the products in bf16."""
        draw, values = numpy.random.default_rng(5), fp8_values()
        tensors, official, data, products = {}, {}, {}, {}
        for name, (kind, shape) in self.small().items():
            count = int(numpy.prod(shape))
            official[name] = ("BF16", shape)
            if not is_scaled(name):
                tensors[name] = (kind, shape)
                content = draw.normal(0, 0.02, count) + (1.0 if name.endswith(("norm_q.weight", "norm_k.weight", "norm3.weight")) else 0.0)
                data[name] = products[name] = bf16_bytes(content)
                continue
            stored = draw.integers(0, 0x70, count, dtype=numpy.uint8) | (draw.integers(0, 2, count, dtype=numpy.uint8) << 7)
            scales = draw.uniform(1e-4, 2e-4, shape[0] if ending == "weight_scale" else 1).astype(numpy.float32)
            tensors[name], data[name] = ("F8_E4M3", shape), stored.tobytes()
            scale = name.removesuffix("weight") + ending
            tensors[scale], data[scale] = ("F32", [len(scales), 1]), scales.tobytes()
            products[name] = bf16_bytes((values[stored].reshape(shape) * scales.reshape(-1, 1)).ravel())
        lone = self.lone(tensors, "model.safetensors", data)
        folder = self.folder / "official"
        write_file(folder / "diffusion_pytorch_model.safetensors", official, products)
        (folder / "config.json").write_text(
            json.dumps(
                {
                    "model_type": "t2v",
                    "dim": 1536,
                    "ffn_dim": 32,
                    "freq_dim": 256,
                    "in_dim": 16,
                    "out_dim": 16,
                    "num_heads": 12,
                    "num_layers": 1,
                    "eps": 1e-6,
                }
            )
        )
        rows = self.manifest("id,prompt", "one,A white cat")
        made = []
        for name, model, ranks in (("a", lone, 0), ("b", folder, 0), ("c", lone, 2)):
            out = self.folder / name
            result = self.run_program(
                "--device", "cpu", "--output-dir", out, *T2V, "--model", model, *OTHERS, rows, "--save-latents", ranks=ranks
            )
            self.assertEqual(result.code, DONE, result)
            made.append((out / "one.mp4").read_bytes())
            record = json.loads((out / "one.json").read_text(encoding="utf-8"))
            self.assertEqual(record.get("weights_widened"), None if model == folder else "fp8 widened to bf16: model.safetensors")
        self.assertEqual(made[0], made[1])
        self.assertEqual((self.folder / "a/one.latent.safetensors").read_bytes(), (self.folder / "b/one.latent.safetensors").read_bytes())
        result = self.run_program(
            "--device", "cpu", "--output-dir", self.folder / "a", *T2V, "--model", lone, *OTHERS, rows, "--save-latents"
        )
        self.assertEqual(result.code, DONE, result)
        self.assertEqual((self.folder / "a/one.mp4").read_bytes(), made[0])


def broken(make: Callable[[Dialect], list], *expected: str) -> tuple[Callable[[Dialect], list], tuple[str, ...]]:
    """Options that cannot be used, and what their message says."""
    return make, expected


def model(case: Dialect, tensors: dict, *more, others=True) -> list:
    return ["--model", case.lone(tensors), *(OTHERS if others else []), *more]


def pair(case: Dialect, high: str, low: str) -> list:
    case.lone(case.small(), high)
    case.lone(case.small(), low)
    return ["--high-noise-model", case.folder / high, "--low-noise-model", case.folder / low, *OTHERS]


def other_part(case: Dialect, option: str, content: dict | Path) -> list:
    """A good model with another file for one of its parts."""
    path = content if isinstance(content, Path) else case.lone(content, "other.safetensors")
    return [*model(case, case.small()), option, path]


def raw(case: Dialect, name: str, content: bytes) -> list:
    (case.folder / name).write_bytes(content)
    return ["--model", case.folder / name, *OTHERS]


FULL = {"text": TEXT}
BROKEN = [
    # the file does not say which model it is
    broken(
        lambda c: ["--ckpt-dir", c.lone(c.small(width=5120))],
        "--ckpt-dir: ",
        "either the transformer of t2v-14B",
        "--model ",
        "or one of the two experts of t2v-A14B",
        "--high-noise-model FILE --low-noise-model FILE",
        "does not say which",
    ),
    broken(lambda c: ["--ckpt-dir", c.lone(c.small(width=5120, channels=36))], "one of the two experts of i2v-A14B"),
    broken(lambda c: ["--ckpt-dir", c.lone(c.small())], "the transformer of t2v-1.3B: --model"),
    broken(lambda c: ["--ckpt-dir", c.lone(c.small(width=5120), "folder/x.safetensors").parent], "either the transformer of t2v-14B"),
    broken(lambda c: ["--ckpt-dir", c.lone({"decoder.conv1.weight": ("F32", [1])})], "It is a VAE: --vae"),
    broken(lambda c: model(c, c.small(width=2048)), "the width is 2048", "1536, 3072, 5120", "config.json"),
    broken(lambda c: model(c, c.small(channels=52)), "takes 52 channels"),
    # parts that are missing or given twice
    broken(lambda c: model(c, c.small(), others=False), "t2v-1.3B needs --text-encoder, --vae, --tokenizer as well"),
    broken(lambda c: ["--high-noise-model", c.lone(c.small()), *OTHERS], "--high-noise-model is given without --low-noise-model"),
    broken(lambda c: [*pair(c, "a.safetensors", "b.safetensors"), "--model", c.folder / "a.safetensors"], "give one or the other"),
    broken(lambda c: [*model(c, c.small()), "--vae", c.folder / "none.safetensors"], "--vae ", "there is no such file"),
    broken(
        lambda c: other_part(c, "--image-encoder", {"visual.patch_embedding.weight": ("F32", [1])}),
        "--image-encoder: t2v-1.3B has no image encoder",
    ),
    broken(lambda c: ["--vae", c.lone(c.small())], "--ckpt-dir is missing"),
    # experts
    broken(lambda c: pair(c, "t2v_low_noise_14B.safetensors", "b.safetensors"), "--high-noise-model ", "low-noise expert", "swapped"),
    broken(lambda c: pair(c, "a.safetensors", "Wan-High-Noise.safetensors"), "--low-noise-model ", "high-noise expert", "swapped"),
    broken(
        lambda c: ["--high-noise-model", c.lone(c.small()), "--low-noise-model", c.folder / "model.safetensors", *OTHERS], "are the same"
    ),
    broken(
        lambda c: [*pair(c, "a.safetensors", "b.safetensors"), "--low-noise-model", c.lone(c.small(layers=2), "c.safetensors")],
        "differ in num_layers",
    ),
    broken(
        lambda c: [
            "--high-noise-model",
            c.lone(c.small(width=3072, channels=48, latent=48)),
            "--low-noise-model",
            c.lone(c.small(), "b.safetensors"),
            *OTHERS,
        ],
        "the transformer of ti2v-5B, a model with one expert",
    ),
    broken(
        lambda c: model(
            c, c.small(channels=36), "--image-encoder", c.lone({"visual.patch_embedding.weight": ("F32", [1])}, "clip.safetensors")
        ),
        "no image branch",
        "expert of i2v-A14B",
    ),
    # the wrong part
    broken(
        lambda c: other_part(c, "--vae", {"shared.weight": ("F32", [1])}),
        "it holds the tensors of a umT5 text encoder, and a VAE must be",
        "--text-encoder",
    ),
    broken(
        lambda c: other_part(c, "--text-encoder", CHECKPOINT / "Wan2.1_VAE.pth"),
        "it holds the tensors of a VAE, and a umT5 text encoder must be",
    ),
    broken(lambda c: model(c, c.small(width=3072, channels=48, latent=48)), "16 latent channels", "ti2v-5B works with 48"),
    broken(lambda c: model(c, transformer(text=TEXT + 8)), "the text encoder's width is"),
    broken(lambda c: model(c, without(c.small(), "blocks.0.ffn.0.bias")), "1 missing: 'blocks.0.ffn.0.bias'"),
    broken(lambda c: model(c, {**c.small(), "blocks.0.extra": ("F32", [1])}), "1 not expected: 'blocks.0.extra'"),
    # dialects that are mixed
    broken(lambda c: model(c, {**c.small(), "condition_embedder.time_proj.bias": ("BF16", [9216])}), "names of two dialects are mixed"),
    broken(lambda c: model(c, {**with_prefix(c.small(), "model.diffusion_model."), "vae.conv1.weight": ("F32", [1])}), "several networks"),
    # fp8
    broken(
        lambda c: model(c, without(scaled(c.small()), "blocks.0.ffn.2.scale_weight")), "'blocks.0.ffn.2.weight' has no scale", "incomplete"
    ),
    broken(
        lambda c: model(c, without(scaled(c.small()), "blocks.0.ffn.2.weight")), "the scale 'blocks.0.ffn.2.scale_weight', but no tensor"
    ),
    broken(
        lambda c: model(c, {**scaled(c.small()), "blocks.0.ffn.2.scale_weight": ("F32", [48, 2])}),
        "in blocks, with more than one scale for a row",
    ),
    broken(lambda c: model(c, {**scaled(c.small(), "weight_scale"), "blocks.0.ffn.2.weight": ("I8", [1536, 32])}), "INT8"),
    broken(
        lambda c: model(
            c,
            {
                **c.small(),
                "blocks.0.ffn.2.weight": ("U8", [1536, 16]),
                "blocks.0.ffn.2.weight_scale": ("F8_E4M3", [1536, 2]),
                "blocks.0.ffn.2.weight_scale_2": ("F32", []),
            },
        ),
        "NVFP4",
    ),
    broken(
        lambda c: model(
            c, {**c.small(), "blocks.0.ffn.2.weight": ("F8_E4M3", [1536, 32]), "blocks.0.ffn.2.weight_scale": ("U8", [1536, 1])}
        ),
        "MXFP8",
    ),
    # other things
    broken(lambda c: model(c, {"blocks.0.self_attn.q.lora_A.weight": ("F32", [4, 8])}), "it is a LoRA, not a model"),
    broken(lambda c: model(c, {"double_blocks.0.img_attn.qkv.weight": ("BF16", [8, 8])}), "another model (FLUX or HunyuanVideo)"),
    broken(lambda c: model(c, {**c.small(), "vace_blocks.0.after_proj.weight": ("BF16", [8, 8])}), "is VACE"),
    broken(lambda c: model(c, {**c.small(channels=36, image=64), "img_emb.emb_pos": ("BF16", [1, 514, 64])}), "FLF2V"),
    broken(lambda c: raw(c, "wan-Q4_K_M.gguf", b"GGUF" + struct.pack("<I", 3) + bytes(64)), "is a GGUF file"),
    broken(lambda c: raw(c, "model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"), "is a Git LFS pointer"),
]


class Broken(Dialect):
    @each(*BROKEN)
    def test_the_message_names_what_is_wrong(self, value):
        make, expected = value
        arguments = make(self)
        self.assert_usage_error(self.dry_run(*arguments), *expected)


class Repositories(Dialect):
    def test_broken_repositories_get_their_message(self):
        root = self.folder / "repository"
        shutil.copytree(CHECKPOINT / "low_noise_model", root / "transformer")
        (root / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline", "transformer_2": [None, None]}))
        result = self.dry_run("--ckpt-dir", root)
        self.assert_usage_error(result, "text_encoder", "vae", "tokenizer/", "Expected in it")
        (root / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
        self.assert_usage_error(self.dry_run("--ckpt-dir", root), "StableDiffusionPipeline", "another model")
