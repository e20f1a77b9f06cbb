"""--offload-model disk: experts take turns in one memory, and the items of a manifest go through one after the other."""

import hashlib

import h5py

from cli_case import CHECKPOINT, DONE, SMALL, USAGE, CliCase, each

ROWS = 8


class Turns(CliCase):
    def eight_rows(self):
        return self.manifest("id,image,prompt", *(f"item{row},good.png,prompt {row}" for row in range(ROWS)))

    def make(self, out: str, *options: str, ranks: int = 0):
        result = self.run_program("--ckpt-dir", CHECKPOINT, "--device", "cpu", *SMALL, "--sample-steps", "4", "--save-latents",
                                  "--output-dir", self.folder / out, *options, "rows.csv", ranks=ranks)
        self.assertEqual(result.code, DONE, result)
        return self.folder / out

    def files(self, out) -> dict[str, str]:
        made = [*out.glob("*.mp4"), *out.glob("*.safetensors")]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made}

    def loads(self, out) -> list[list[tuple[float, float]]]:
        """For each rank, start and seconds of what it read after the items began."""
        found = {}
        for path in sorted((out / "trace").glob("*.h5")):
            with h5py.File(path) as trace:
                phases = trace["phases"]
                first_item_s = min(phases["start_s"][phases["item"][:] >= 0])
                for rank, name, start_s, wall_s in zip(phases["world_rank"], phases["phase"].asstr(), phases["start_s"], phases["wall_s"],
                                                       strict=True):
                    if name == "load" and start_s > first_item_s:
                        found.setdefault(int(rank), []).append((start_s, wall_s))
        return [found[rank] for rank in sorted(found)]

    @each((0, ()), (2, ()), (2, ("--group-size", "1")), (2, ("--dit-fsdp", "on")))
    def test_each_expert_is_read_once_and_the_files_are_the_same(self, case):
        ranks, options = case
        self.eight_rows()
        plain = self.files(self.make("plain", *options, "--offload-model", "off", ranks=ranks))
        self.assertEqual(len(plain), 2 * ROWS)
        turning = self.make("turns", *options, "--offload-model", "disk", ranks=ranks)
        self.assertEqual(self.files(turning), plain)
        loads = self.loads(turning)
        self.assertEqual([len(of_rank) for of_rank in loads], [2] * max(ranks, 1))

    def test_the_trace_tells_of_both_parts_of_an_item(self):
        self.eight_rows()
        out = self.make("turns", "--offload-model", "disk")
        (path,) = (out / "trace").glob("*.h5")
        with h5py.File(path) as trace:
            self.assertTrue(trace.attrs["layout"].endswith(", one expert at a time"), trace.attrs["layout"])
            outcomes = list(trace["item_ends/outcome"].asstr())
            self.assertEqual((outcomes.count("handed over"), outcomes.count("done")), (ROWS, ROWS))
            self.assertEqual({str(text) for text in trace["stretches/placement"].asstr()}, {"in turns"})
            self.assertEqual(len(trace["steps/step"]), 4 * ROWS)

    def test_plan_and_refusals(self):
        plan = ["--plan", "--task", "i2v-A14B", "--gpus", "1", "--gpu-memory", "140GiB", "--size", "832*480", "--offload-model"]
        said = self.run_program(*plan, "disk").out
        self.assertIn("one of them in memory at a time", said)
        self.assertIn("read experts, once for 8 items (an estimate)", said)
        result = self.run_program(*plan[:-1], "--offload-model=disc")
        self.assertEqual(result.code, USAGE)
        self.assertIn("'disc' is not one of on, off, disk, auto", result.err)
        result = self.run_program("--plan", "--task", "t2v-1.3B", "--gpus", "1", "--gpu-memory", "140GiB", "--offload-model", "disk")
        self.assertEqual(result.code, USAGE, result)
        self.assertIn("refused by --offload-model disk", result.err)
