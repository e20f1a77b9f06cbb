"""Rows of one manifest that ask for different LoRAs."""

import json
from pathlib import Path

import numpy

from cli_case import CHECKPOINT, DONE, SMALL, SOME_FAILED
from lora_files import pairs
from test_lora import MODEL, LoraCase, Q, half, with_value


class Rows(LoraCase):
    def test_rows_may_have_different_ones(self):
        """Each row has the bytes of a run with its LoRAs alone, in either order, on one rank and on several."""
        names = {"a": "loras/a.safetensors:0.5@high", "b": "loras/b.safetensors; loras/a.safetensors", "plain": ""}
        for number, name in enumerate(("a", "b")):
            self.lora(pairs(MODEL, seed=9 * number), f"loras/{name}.safetensors")
        head = "id,image,prompt,lora,seed"
        for ranks, more, orders in ((0, (), ("a,b,plain,b,a", "plain,b,a,plain,b")), (2, ("--dit-fsdp", "on"), ("b,plain,a,b",))):
            expected, out = {}, self.folder / f"ranks{ranks}"
            for name, loras in names.items():
                manifest = self.manifest(head, f"{name}1,good.png,A white cat,{loras},7")
                result = self.run_batch(manifest, "--output-dir", out / name, "--save-latents", *more, ranks=ranks)
                self.assertEqual(result.code, DONE, result)
                expected[name] = (out / name / f"{name}1.latent.safetensors").read_bytes()
            self.assertEqual(len(set(expected.values())), 3)
            for order in orders:
                rows = [f"{name}{place},good.png,A white cat,{names[name]},7" for place, name in enumerate(order.split(","))]
                result = self.run_batch(self.manifest(head, *rows), "--output-dir", out / order, "--save-latents", *more, ranks=ranks)
                self.assertEqual(result.code, DONE, result)
                messages = result.out + result.err
                self.assertIn("3 sets of LoRAs; the base weights stay in host memory for changes", messages)
                self.assertEqual(messages.count("b.safetensors: lora_down/lora_up"), 1, "once for each file")
                for place, name in enumerate(order.split(",")):
                    made = (out / order / f"{name}{place}.latent.safetensors").read_bytes()
                    record = json.loads((out / order / f"{name}{place}.json").read_text(encoding="utf-8"))
                    self.assertEqual([file.rsplit("/")[-1] for file in record.get("lora_files", [])],
                                     {"a": ["a.safetensors"], "b": ["b.safetensors", "a.safetensors"], "plain": []}[name])  # fmt: skip
                    self.assertEqual(made, expected[name], f"{name}{place} of {order} on {ranks} ranks")
                self.check_changes(out / order, changes=2)

    def check_changes(self, out: Path, changes: int) -> None:
        """The trace and the account count the changes."""
        import h5py

        with h5py.File(next((out / "trace").glob("*.h5"))) as trace:
            rows = [(seconds, written) for name, seconds, written, rank in zip(*(trace[f"phases/{column}"][:] for column in
                    ("phase", "wall_s", "merged_bytes", "world_rank")), strict=True) if name == b"lora" and rank == 0]  # fmt: skip
            self.assertEqual(len(rows), changes)
            self.assertTrue(all(seconds > 0 and written > 0 for seconds, written in rows), rows)
            account = [calls for name, calls in zip(trace["account/name"][:], trace["account/calls"][:], strict=True) if name == b"lora"]
            self.assertEqual(account[0], changes)

    def test_a_row_without_any_takes_those_of_the_command_line(self):
        one, two = self.lora(pairs(MODEL), "a.safetensors"), self.lora(pairs(MODEL, seed=9), "b.safetensors")
        manifest = self.manifest("id,image,prompt,lora", "one,good.png,A cat,", f"two,good.png,A cat,{two.name}")
        result = self.run_batch(manifest, "--lora", f"{one}:0.5")
        self.assertEqual(result.code, DONE, result)
        files = {name: record["lora_files"] for name, record in self.records().items()}
        self.assertEqual(files, {"one": [str(one)], "two": [str(two)]})
        again = self.run_batch(manifest, "--lora", f"{one}:0.25")
        self.assertIn("two  kept ", again.out, again)
        self.assertIn("loras: ", self.records()["one"]["made_again"]["because"])

    def test_one_that_a_rank_does_not_see_fails_its_rows_alone(self):
        """As on the disk of another node: a file that rank 1 lacks, and a folder that is a file there. No rank waits for the other."""
        self.prefix = ["sh", "-c", 'cd "rank$OMPI_COMM_WORLD_RANK" && exec "$@"', "sh"]
        for rank in "01":
            self.lora(pairs(MODEL), f"rank{rank}/here.safetensors")
            (self.folder / f"rank{rank}/good.png").write_bytes((self.folder / "good.png").read_bytes())
        self.lora(pairs(MODEL, seed=9), "rank0/away.safetensors")
        for name in ("high", "low"):
            self.lora(pairs(MODEL, seed=9), f"rank0/lightning/{name}_noise_model.safetensors")
        self.lora(pairs(MODEL, seed=9), "rank1/lightning")
        head = "id,image,prompt,lora"
        self.manifest(head, "one,good.png,A cat,here.safetensors", "two,good.png,A dog,away.safetensors",
                      "three,good.png,A hen,lightning", "four,good.png,A pig,", name="rank0/rows.csv")  # fmt: skip
        words = ["--ckpt-dir", CHECKPOINT, "--device", "cpu", "--output-dir", self.out, *SMALL, "rows.csv"]
        result = self.run_program(*words, ranks=2, timeout_s=120)
        self.assertEqual(result.code, SOME_FAILED, result)
        self.assertEqual(set(self.records()), {"one", "four"})
        for name, fragment in (("two", "away.safetensors"), ("three", "rows.csv:4:22: rank 0 finds other files for it than this rank")):
            message = json.loads((self.out / f"{name}.failed.json").read_text(encoding="utf-8"))["message"]
            self.assertIn(fragment, message)
            self.assertIn("(rank 1)", message)

    def test_a_broken_one_fails_its_rows_alone(self):
        """Each kind of fault: a file that does not fit, a value that is no number, a folder that is not Lightning's."""
        self.lora(pairs(MODEL), "good.safetensors")
        self.lora(half(f"{Q}.lora_up.weight"), "half.safetensors")
        self.lora(with_value("head.diff_m", numpy.nan), "nan.safetensors")
        self.lora(pairs(MODEL), "f/high_noise_model.safetensors")
        manifest = self.manifest(
            "id,image,prompt,lora",
            "plain,good.png,A cat,", "good,good.png,A cat,good.safetensors", "half,good.png,A cat,half.safetensors",
            "nan,good.png,A cat,good.safetensors;nan.safetensors", "folder,good.png,A cat,f", "again,good.png,A dog,half.safetensors:0.5",
        )  # fmt: skip
        said = (
            f"rows.csv:4:21: {self.folder}/half.safetensors: ", "the other half of its pair", "rows.csv:5:20: ",
            "'head.diff_m' holds the value nan",
            "rows.csv:6:23: --lora ", "the folder has no low_noise_model.safetensors", "rows.csv:7:22: ",
        )  # fmt: skip
        checked = self.run_program("--device", "cpu", "--ckpt-dir", CHECKPOINT, "--dry-run", "--output-dir", self.out, *SMALL, manifest)
        self.assertEqual(checked.code, 3, checked)
        self.assertIn("6 items checked, 4 would fail", checked.out)
        result = self.run_batch(manifest)
        self.assertEqual(result.code, 3, result)
        for text in said:
            self.assertIn(text, checked.out + checked.err)
            self.assertIn(text, result.out + result.err)
        self.assertEqual(set(self.records()), {"plain", "good"})
