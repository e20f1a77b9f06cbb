"""LoRAs on the command line: what they change, what records say, and what cannot be used."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy

from cli_case import CHECKPOINT, DONE, PROJECT, SMALL, CliCase, each
from dialect_files import read_file, write_file
from lora_files import Tensors, drawn, mangled, merge, pairs, renamed, write_lora

EXPERTS = ("high_noise_model", "low_noise_model")
PARITY = PROJECT / "tests/data/parity"


def tensors_of(checkpoint: Path) -> tuple[dict, Tensors]:
    """Shapes and fp32 values of an expert's folder of one file or several."""
    shapes, values = {}, {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        kinds, data = read_file(file)
        shapes |= kinds
        for name, content in data.items():
            kind, shape = kinds[name]
            if kind == "BF16":
                wide = numpy.frombuffer(content, "<u2").astype(numpy.uint32) << 16
                values[name] = wide.view(numpy.float32).reshape(shape)
            else:
                values[name] = numpy.frombuffer(content, {"F32": "<f4", "F16": "<f2"}[kind]).astype(numpy.float32).reshape(shape)
    return shapes, values


MODEL, _ = tensors_of(CHECKPOINT / "low_noise_model")
Q = "blocks.0.self_attn.q"


class LoraCase(CliCase):
    def dry_run(self, *arguments, checkpoint: Path = CHECKPOINT):
        return self.run_program(
            "--device", "cpu", "--ckpt-dir", checkpoint, "--dry-run", "--output-dir", self.out, *SMALL, self.good_manifest(), *arguments
        )

    def lora(self, tensors: Tensors, name: str = "lora.safetensors", kind: str = "F32") -> Path:
        return write_lora(self.folder / name, tensors, kind)

    def make(self, name: str, *arguments, checkpoint: Path = CHECKPOINT, ranks: int = 0):
        """A video in an output folder of its own; returns the latent's file, the record and the messages."""
        out = self.folder / name
        result = self.run_batch(self.good_manifest(), "--output-dir", out, "--save-latents", *arguments, checkpoint=checkpoint, ranks=ranks)
        self.assertEqual(result.code, DONE, result)
        record = json.loads((out / "one.json").read_text(encoding="utf-8"))
        return (out / "one.latent.safetensors").read_bytes(), record, result.out + result.err


class Applied(LoraCase):
    def merged_checkpoint(self, loras: dict[str, Tensors], strength: float) -> Path:
        root = self.folder / "merged"
        shutil.copytree(CHECKPOINT, root)
        for expert in EXPERTS:
            _, values = tensors_of(CHECKPOINT / expert)
            values = merge(values, loras[expert], strength)
            for old in (root / expert).glob("*.safetensors*"):
                old.unlink()
            write_file(
                root / expert / "diffusion_pytorch_model.safetensors",
                {name: ("F32", list(value.shape)) for name, value in values.items()},
                {name: value.astype("<f4").tobytes() for name, value in values.items()},
            )
        return root

    def test_the_bytes_are_those_of_merged_weights(self):
        loras = {expert: pairs(MODEL, alpha=2, seed=100 * number) for number, expert in enumerate(EXPERTS)}
        files = [self.lora(renamed(tensors, "diffusion_model."), f"folder/{expert}.safetensors") for expert, tensors in loras.items()]
        expected, _, _ = self.make("merged_out", checkpoint=self.merged_checkpoint(loras, 0.5))
        plain, _, _ = self.make("plain")
        self.assertNotEqual(expected, plain)
        made, record, messages = self.make("folder_out", "--lora", f"{files[0].parent}:0.5")
        self.assertEqual(made, expected)
        self.assertEqual(record["lora_files"], [str(file) for file in files])
        self.assertEqual([(one["strength"], one["experts"]) for one in record["parameters"]["loras"]], [(0.5, "high"), (0.5, "low")])
        self.assertIn(f"--lora {files[0]}:0.5@high --lora {files[1]}:0.5@low", record["command"])
        self.assertIn(f"LoRA {files[0]}: lora_down/lora_up, diffusion_model., high-noise expert, strength 0.5: 20 + 0 tensors", messages)
        self.assertIn("low-noise expert, strength 0.5: 0 + 20 tensors changed", messages)
        singly = ("--lora", f"{files[1]}:0.5@low", "--lora", f"{files[0]}:0.5@high")
        for ranks, fsdp in ((2, "on"), (2, "off"), (4, "on")):
            split = ("--dit-fsdp", fsdp)
            of_merged, _, _ = self.make(f"merged{ranks}{fsdp}", *split, checkpoint=self.folder / "merged", ranks=ranks)
            self.assertEqual(self.make(f"ranks{ranks}{fsdp}", *singly, *split, ranks=ranks)[0], of_merged)

    def test_other_loras_make_an_item_again(self):
        one = self.lora(pairs(MODEL))
        manifest = self.good_manifest()
        self.assertEqual(self.run_batch(manifest, "--lora", one).code, DONE)
        again = self.run_batch(manifest, "--lora", f"{one}:1.0")
        self.assertIn("one  kept ", again.out, again)
        first = (self.out / "one.mp4").read_bytes()
        other = self.run_batch(manifest, "--lora", f"{one}:0.25")
        self.assertEqual(other.code, DONE, other)
        self.assertNotEqual((self.out / "one.mp4").read_bytes(), first)
        record = self.records()["one"]
        self.assertIn("loras: ", record["made_again"]["because"])
        self.assertTrue((self.out / "one.earlier-1.mp4").exists())

    def test_a_state_of_other_loras_is_not_used(self):
        one = self.lora(pairs(MODEL))
        manifest = self.good_manifest()
        steps = ("--sample-steps", "4")
        for name, second, resumed in (("same", one, [2]), ("other", f"{one}:2", None)):
            out = ("--output-dir", self.folder / name)
            self.assertEqual(self.run_batch(manifest, *steps, *out, "--lora", one, "--draft", "--stop-after-step", "2").code, DONE)
            result = self.run_batch(manifest, *steps, *out, "--lora", second)
            self.assertEqual(result.code, DONE, result)
            record = json.loads((self.folder / name / "one.json").read_text(encoding="utf-8"))
            self.assertEqual(record.get("resumed_at_steps"), resumed)

    def test_a_manifest_may_name_them(self):
        self.lora(pairs(MODEL), "loras/a.safetensors")
        self.lora(pairs(MODEL, seed=9), "loras/b.safetensors")
        loras = "loras/a.safetensors:0.5@high; loras/b.safetensors"
        manifest = self.manifest("id,image,prompt,lora", f"one,good.png,A white cat,{loras}", f"two,good.png,A dog,{loras}")
        result = self.run_batch(manifest)
        self.assertEqual(result.code, DONE, result)
        of_rows = [record["parameters"]["loras"] for record in self.records().values()]
        self.assertEqual([(one["strength"], one["experts"]) for one in of_rows[0]], [(0.5, "high"), (1.0, "both")])
        self.assertEqual(of_rows[0], of_rows[1])

    def test_a_configuration_file_may_name_several(self):
        one, two = self.lora(pairs(MODEL), "a.safetensors"), self.lora(pairs(MODEL, seed=9), "b.safetensors")
        config = self.folder / "run.cfg"
        config.write_text(f"lora = {one}:0.5\nlora = {two}@low\n", encoding="utf-8")
        result = self.dry_run("--config", config)
        self.assertEqual(result.code, DONE, result)
        messages = result.out + result.err
        self.assertIn(f"LoRA {one}: lora_down/lora_up, both experts, strength 0.5: 20 + 20 tensors changed", messages)
        self.assertIn(f"LoRA {two}: lora_down/lora_up, low-noise expert, strength 1: 0 + 20 tensors changed", messages)

    def test_torch_files_are_read(self):
        import torch

        tensors = pairs(MODEL)
        expected, _, _ = self.make("safetensors", "--lora", self.lora(tensors))
        state = {name: torch.from_numpy(values.copy()) for name, values in tensors.items()}
        for number, content in enumerate((state, {"state_dict": state, "epoch": 3})):
            path = self.folder / f"lora{number}.pt"
            torch.save(content, path)
            self.assertEqual(self.make(f"torch{number}", "--lora", path)[0], expected)

    @each("wan21_t2v", "ti2v_text")
    def test_models_with_one_expert_take_kohya_files(self, name):
        shapes, _ = tensors_of(PARITY / name / "ckpt")
        lora = self.lora(mangled(pairs(shapes, rank=3, alpha=6)), kind="BF16")
        size = ["--size", "64*64"] if name == "ti2v_text" else []
        result = self.run_program(
            "--device", "cpu", "--ckpt-dir", PARITY / name / "ckpt", "--dry-run", "--output-dir", self.out, *SMALL, *size,
            self.manifest("id,prompt", "one,A white cat"), "--lora", f"{lora}:0.7",
        )  # fmt: skip
        self.assertEqual(result.code, DONE, result)
        count = len(pairs(shapes)) // 2
        self.assertIn(f": lora_down/lora_up, lora_unet_, strength 0.7: {count} tensors changed\n", result.out + result.err)


def half(name: str) -> Tensors:
    """Pairs without one tensor."""
    return {key: values for key, values in pairs(MODEL).items() if key != name}


def with_value(name: str, value: float) -> Tensors:
    """Pairs with one value that is not a number to multiply with."""
    tensors = {key: values.copy() for key, values in pairs(MODEL, alpha=4).items()} | {"head.diff_m": drawn([1, 2, 64], 1)}
    tensors[name].ravel()[-1:] = value
    if tensors[name].shape == ():
        tensors[name] = numpy.float32(value).reshape(())
    return tensors


def more(**tensors: numpy.ndarray) -> Tensors:
    """Pairs and further tensors; names with two underscores for dots."""
    return pairs(MODEL) | {name.replace("__", "."): values for name, values in tensors.items()}


ONE = drawn([1], 1)
SCALED = {
    f"{Q}.{name}": ONE for name in ("dora_scale", "hada_w1_a", "lokr_w1", "lora_mid.weight", "reshape_weight", "set_weight", "oft_diag")
}


def only(name: str, *endings: str) -> Tensors:
    return {f"{name}.{ending}": drawn([4, 64] if "down" in ending or "A" in ending else [64, 4], 1) for ending in endings}


def broken(make: Callable[[LoraCase], object], *expected: str):
    """The value of --lora, or all options, and what the message says."""
    return make, expected


def raw(case: LoraCase, name: str, content: bytes) -> Path:
    (case.folder / name).write_bytes(content)
    return case.folder / name


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def torch_file(case: LoraCase, content: object, zipped: bool = True) -> Path:
    import torch

    path = case.folder / "lora.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def cut(case: LoraCase) -> Path:
    content = case.lora(pairs(MODEL)).read_bytes()
    return raw(case, "cut.safetensors", content[: len(content) - 1000])


BROKEN = [
    broken(lambda c: "none.safetensors:0.5", "option --lora: there is no file or folder 'none.safetensors'"),
    broken(lambda c: f"{c.lora(pairs(MODEL))}@hi", "if '@hi' names an expert, write @high, @low or @both"),
    broken(lambda c: f"{c.lora(pairs(MODEL))}:strong", "if 'strong' is a strength, write a number"),
    broken(lambda c: f"{c.lora(pairs(MODEL))}:1e6", "the strength: 1e6 is not between -100 and 100"),
    # other models
    broken(
        lambda c: c.lora({f"{Q}.lora_down.weight": drawn([4, 3072], 1), f"{Q}.lora_up.weight": drawn([3072, 4], 2)}),
        f"the pair '{Q}.lora_down.weight' [4, 3072] and '{Q}.lora_up.weight' [3072, 4] makes [3072, 3072], and '{Q}.weight' is [64, 64]",
        "belongs to another model",
    ),
    broken(
        lambda c: c.lora(renamed(pairs(MODEL), blocks="layers")), "tensor 'layers.0.cross_attn.k.lora_down.weight' belongs to no tensor"
    ),
    broken(
        lambda c: c.lora(pairs(MODEL) | only("blocks.39.ffn.0", "lora_down.weight", "lora_up.weight")),
        "'blocks.39.ffn.0.lora_down.weight' is of block 39, and the model has 2 blocks",
    ),
    broken(lambda c: c.lora({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": ONE}), "another model (FLUX or HunyuanVideo)"),
    broken(
        lambda c: c.lora({f"blocks.0.cross_attn.k_img.{end}": ONE for end in ("diff", "diff_b")}), "none of its 2 tensors changes the model"
    ),
    broken(
        lambda c: c.lora(more(head__diff_m=drawn([1, 3, 64], 1))),
        "'head.diff_m' [1, 3, 64] is a difference of 'head.modulation', which is [1, 2, 64]",
    ),
    broken(lambda c: CHECKPOINT / "low_noise_model/diffusion_pytorch_model.safetensors", "has no name of a LoRA's tensor", "whole model?"),
    # halves, ranks and values
    broken(lambda c: c.lora(half(f"{Q}.lora_up.weight")), f"'{Q}.lora_down.weight' is there without the other half of its pair"),
    broken(lambda c: c.lora(half(f"{Q}.lora_down.weight")), f"'{Q}.lora_up.weight' is there without the other half of its pair"),
    broken(lambda c: c.lora(more(head__head__alpha=ONE)), "'head.head.alpha' is there without the pair that it scales"),
    broken(
        lambda c: c.lora(pairs(MODEL) | {f"{Q}.lora_up.weight": drawn([64, 8], 1)}),
        f"'{Q}.lora_down.weight' [4, 64] and '{Q}.lora_up.weight' [64, 8] has no common rank",
    ),
    broken(
        lambda c: c.lora(more(blocks__0__norm3__lora_down__weight=drawn([4, 1], 1), blocks__0__norm3__lora_up__weight=drawn([64, 4], 1))),
        "makes [64, 1], and 'blocks.0.norm3.weight' is [64]",
    ),
    broken(lambda c: c.lora(with_value("blocks.1.ffn.2.lora_up.weight", numpy.nan)), "'blocks.1.ffn.2.lora_up.weight' holds the value nan"),
    broken(lambda c: c.lora(with_value("head.diff_m", numpy.inf)), "'head.diff_m' holds the value inf"),
    broken(lambda c: c.lora(with_value(f"{Q}.alpha", numpy.nan)), f"'{Q}.alpha' holds the value nan"),
    broken(lambda c: c.lora(pairs(MODEL) | {f"{Q}.alpha": drawn([2], 1)}), f"'{Q}.alpha' [2] must be one number"),
    broken(lambda c: c.lora(pairs(MODEL), kind="I8"), "is of type I8; floating-point numbers are expected"),
    broken(
        lambda c: c.lora(pairs(MODEL) | only(Q, "lora_A.weight", "lora_B.weight")),
        f"the tensors '{Q}.lora_A.weight' and '{Q}.lora_down.weight' are for the same thing, in two spellings",
    ),
    # other methods and networks
    *(
        broken(lambda c, name=name: c.lora(pairs(MODEL) | {name: SCALED[name]}), f"{kind}, which is not read (tensor '{name}')")
        for name, kind in zip(
            SCALED,
            (
                "it is DoRA (weights that are scaled again by their length)",
                "it is LoHa (Hadamard products)",
                "it is LoKr (Kronecker products)",
                "it is LoCon with a middle factor (Tucker decomposition)",
                "it is a LoRA that gives weights another shape",
                "it is a patch that replaces weights instead of adding to them",
                "it is OFT (orthogonal rotations)",
            ),
            strict=True,
        )
    ),
    broken(lambda c: c.lora({"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": ONE}), "it is a LoRA for a text encoder"),
    broken(lambda c: c.lora({"text_encoder.encoder.block.0.lora_A.weight": ONE}), "it is a LoRA for a text encoder"),
    # files
    broken(cut, "cut.safetensors: tensor ", "the file is cut off or damaged"),
    broken(lambda c: raw(c, "a.safetensors", struct.pack("<Q", 20) + b"{" * 20), "a.safetensors", "header"),
    broken(lambda c: raw(c, "a.safetensors", b""), "a.safetensors", "empty"),
    broken(lambda c: raw(c, "a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"), "is a Git LFS pointer"),
    broken(lambda c: raw(c, "a.safetensors", b"<!DOCTYPE html><html>Not found</html>"), "HTML"),
    broken(lambda c: c.lora({}), "holds no tensor"),
    broken(lambda c: torch_file(c, {"a.lora_A.weight": Evil()}), "print'", "nothing was executed"),
    broken(lambda c: torch_file(c, {"state_dict": {"a.lora_A.weight": Evil()}}), "print'", "nothing was executed"),
    broken(lambda c: raw(c, "a.pt", pickle.dumps({"a": Evil()})), "is not a zip archive"),
    # experts
    broken(lambda c: c.lora(pairs(MODEL), "f/high_noise_model.safetensors").parent, "the folder has no low_noise_model.safetensors"),
    broken(
        lambda c: f"{c.lora(renamed(pairs(MODEL), 'transformer_2.'))}@high", "none of its tensors is for the expert that it is given for"
    ),
]


class Broken(LoraCase):
    @each(*BROKEN)
    def test_the_message_names_what_is_wrong(self, value):
        make, expected = value
        lora = make(self)
        self.assert_usage_error(self.dry_run("--lora", lora), *expected)

    def test_a_run_refuses_what_it_reads(self):
        """Values are checked while they are merged, by every rank."""
        lora = self.lora(with_value("blocks.1.ffn.2.lora_up.weight", numpy.nan))
        result = self.run_batch(self.good_manifest(), "--lora", lora, ranks=2)
        self.assertEqual(result.code, 2, result)
        self.assertIn("'blocks.1.ffn.2.lora_up.weight' holds the value nan", result.err)

    def test_one_expert_takes_no_other(self):
        shapes, _ = tensors_of(PARITY / "wan21_t2v/ckpt")
        for lora, expected in (
            (f"{self.lora(pairs(shapes))}@low", "t2v-1.3B has one expert; leave '@low' out"),
            (self.lora(renamed(pairs(shapes), "transformer_2."), "b.safetensors"), "of a second expert, and the model has one"),
        ):
            result = self.run_program(
                "--device", "cpu", "--ckpt-dir", PARITY / "wan21_t2v/ckpt", "--dry-run", "--output-dir", self.out, *SMALL,
                self.manifest("id,prompt", "one,A white cat"), "--lora", lora,
            )  # fmt: skip
            self.assert_usage_error(result, expected)

    def test_a_row_without_its_file_fails_alone(self):
        lora = self.lora(pairs(MODEL))
        manifest = self.manifest("id,image,prompt,lora", f"one,good.png,A cat,{lora.name}", "two,good.png,A dog,none.safetensors")
        result = self.run_batch(manifest)
        self.assertEqual(result.code, 3, result)
        self.assertIn("rows.csv:3:20: lora: there is no file or folder 'none.safetensors'", result.out + result.err)
        self.assertEqual(set(self.records()), {"one"})
