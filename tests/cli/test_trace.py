"""The trace of a run on two ranks, read with h5py, against docs/trace.md; and traces of each format, which stay readable."""

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from cli_case import MPIEXEC, PROJECT, CliCase, environment

BENCH = Path(os.environ.get("WAN_BENCH", PROJECT / "build" / "bin" / "wan_bench"))
TOY = PROJECT / "tests" / "data" / "parity" / "i2v_landscape" / "ckpt" / "high_noise_model" / "config.json"
KEPT = PROJECT / "tests" / "data" / "traces"
STEPS = 3
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def documented(most: int) -> tuple[set[str], dict[str, set[str]]]:
    """The root's attributes and the columns by table, of a format number, as docs/trace.md lists them."""
    attributes: set[str] = set()
    tables: dict[str, set[str]] = defaultdict(set)
    table = ""
    for line in (PROJECT / "docs" / "trace.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[1] in ("0", "1", "2") and int(cells[1]) <= most:
            attributes.update(re.findall(r"`(\w+)`", cells[0]))
        if named := re.fullmatch(r"`/(\w+)`", cells[0]):
            table = named[1]
        elif line.startswith("| |") and len(cells) >= 6 and int(cells[2]) <= most:
            tables[table].update(re.findall(r"`(\w+)`", cells[1]))
    return attributes, dict(tables)


def columns(trace, table: str) -> list[dict]:
    """Rows of a table."""
    names = list(trace[table])
    datasets = [trace[table][name] for name in names]
    values = [data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:] for data in datasets]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def unnamed_s(trace) -> dict[int, float]:
    """Seconds by rank in which it was in no phase and not between two phases of one item."""
    left = {}
    for rank in trace["ranks/world_rank"][:]:
        end_s, item, gap_s = 0.0, -1, 0.0
        own = [row for row in columns(trace, "phases") if row["world_rank"] == rank and not row["background"]]
        for phase in sorted(own, key=lambda row: row["start_s"]):
            if not (phase["item"] == item and item >= 0):
                gap_s += max(phase["start_s"] - end_s, 0)
            assert phase["start_s"] > end_s - 1e-3, f"{phase['phase']} of rank {rank} begins in another phase"
            end_s, item = phase["start_s"] + phase["wall_s"], phase["item"]
        left[int(rank)] = gap_s + max(trace.attrs["ended_s"] - end_s, 0)
    return left


class Traces(CliCase):
    def check_shape(self, trace, number: int) -> None:
        attributes, tables = documented(number)
        self.assertEqual(set(trace.attrs), attributes)
        self.assertEqual({name: set(table) for name, table in trace.items()}, tables)
        for name in trace:
            self.assertEqual(len({len(column) for column in trace[name].values()}), 1, name)

    def one_trace(self, folder: Path) -> Path:
        files = list(folder.glob("*.h5"))
        self.assertEqual(len(files), 1, files)
        self.assertEqual(list(folder.glob(".*")), [], "a hidden file is left")
        return files[0]

    def check_named(self, run: Callable[[Path], list[Path]]) -> None:
        """In one of several runs, all time of a rank has a name, except for 1 % or 20 ms. A busy machine takes cores away at any moment."""
        found = []
        for number in range(8):
            for path in run(self.folder / f"named{number}"):
                with h5py.File(path) as trace:
                    found.append((max(unnamed_s(trace).values()), max(0.01 * trace.attrs["ended_s"], 0.02)))
                if found[-1][0] >= found[-1][1]:
                    break
            else:
                return
        self.fail(f"unnamed seconds, and their limits: {found}")

    def traces_of_batch(self, *options) -> Callable[[Path], list[Path]]:
        """Runs a batch on two ranks into a folder and returns its traces."""

        def run(out: Path) -> list[Path]:
            result = self.run_batch(self.good_manifest(), *options, "--output-dir", out, ranks=2)
            self.assertEqual(result.code, 0, result)
            return sorted((out / "trace").glob("*.h5"))

        return run

    def test_all_time_of_a_batch_has_a_name(self):
        self.check_named(self.traces_of_batch("--sample-steps", STEPS))

    def test_two_ranks(self):
        result = self.run_batch(self.good_manifest(), "--sample-steps", STEPS, ranks=2)
        self.assertEqual(result.code, 0, result)
        with h5py.File(self.one_trace(self.out / "trace")) as trace:
            self.check_shape(trace, 2)
            root = trace.attrs
            self.assertEqual((root["format"], root["program"], root["exit_reason"]), (2, "wan_batch", "done"))
            self.assertEqual((root["world_ranks"], root["ranks"], root["job_start"], root["dropped_rows"]), (2, 2, -1, 0))
            self.assertRegex(root["started"], TIME)
            self.assertRegex(root["ended"], TIME)
            self.assertLess(root["started"], root["ended"])
            for name in ("revision", "build", "mpi", "libtorch", "hdf5"):
                self.assertNotIn(root[name], ("", "0.0.0"), name)
            self.assertEqual([(row["world_rank"], row["gpu_uuid"]) for row in columns(trace, "ranks")], [(0, ""), (1, "")])
            self.assertTrue(np.isnan(trace["ranks/power_limit_w"][:]).all())
            clocks = columns(trace, "clocks")
            self.assertEqual(sorted(row["world_rank"] for row in clocks), [0, 0, 1, 1])
            self.assertTrue(all(abs(row["offset_s"]) < 60 and 0 <= row["uncertainty_s"] < 1 for row in clocks), clocks)
            (stretch,) = columns(trace, "stretches")
            self.assertEqual((stretch["item"], stretch["first_step"], stretch["team_width"], stretch["ranks"]), (0, 0, 1, "0,1"))
            self.assertEqual((stretch["layout"], stretch["placement"], stretch["precision"]), ("cfg2 x ulysses1", "whole", "fp32"))
            self.assertEqual((stretch["passes"], stretch["guidance"], stretch["solver"], stretch["shift"]), (2, "3.5:3.5", "unipc", 5))
            self.assertEqual((stretch["attention"], stretch["head_chunks"]), ("math", 1))
            (end,) = columns(trace, "item_ends")
            self.assertEqual((end["item"], end["outcome"], end["steps_done"]), (0, "done", STEPS))
            steps = columns(trace, "steps")
            wanted = [(step, rank) for step in range(STEPS) for rank in (0, 1)]
            self.assertEqual([(row["step"], row["world_rank"]) for row in steps], wanted)
            self.assertEqual([row["warm_up"] for row in steps], [1, 1] + [0] * (2 * STEPS - 2))
            self.assertTrue(all(row["stretch"] == 0 and row["item"] == 0 for row in steps))
            stages = {"text", "image", "encode", "denoise", "decode", "write"}
            for rank in (0, 1):
                of_rank = [row for row in columns(trace, "phases") if row["world_rank"] == rank]
                self.assertEqual({row["phase"] for row in of_rank if row["item"] == 0}, stages | ({"publish"} if rank == 0 else set()))
                self.assertEqual({row["phase"] for row in of_rank if row["item"] < 0}, {"start_up", "load", "idle", "finish"})
                beside = [row["phase"] for row in of_rank if row["background"]]
                self.assertEqual(beside, ["write", "publish"] if rank == 0 else [], "a thread of the leader writes and publishes")

    def test_other_settings_are_other_stretches(self):
        result = self.run_batch(self.good_manifest(), "--sample-guide-scale", "1", "--dit-fsdp", "on", "--attention", "reference",
                                "--sample-solver", "euler", ranks=2)
        self.assertEqual(result.code, 0, result)
        with h5py.File(self.one_trace(self.out / "trace")) as trace:
            (stretch,) = columns(trace, "stretches")
        self.assertEqual((stretch["passes"], stretch["guidance"], stretch["placement"]), (1, "1:1", "sharded over 2"))
        self.assertEqual((stretch["attention"], stretch["solver"], stretch["layout"]), ("reference", "euler", "cfg1 x ulysses2"))

    def test_an_index_that_another_hdf5_wrote_gets_one_more_link(self):
        index = self.out / "trace.h5"
        for runs in (1, 2, 3):
            result = self.run_batch(self.good_manifest(), "--sample-steps", "1", "--no-resume")
            self.assertEqual(result.code, 0, result)
            with h5py.File(index) as found:
                links = {name: found.get(name, getlink=True) for name in found}
            self.assertEqual({name: link.filename for name, link in links.items()},
                             {path.stem: f"trace/{path.name}" for path in (self.out / "trace").glob("*.h5")})
            self.assertEqual(len(links), runs)
            with h5py.File(index, "w") as rewritten:
                for name, link in links.items():
                    rewritten[name] = link

    def test_idle_groups(self):
        run, idle = self.traces_of_batch("--group-size", "1", "--join-groups", "off"), {}
        self.check_named(run)
        for path in run(self.out):
            with h5py.File(path) as trace:
                rows = columns(trace, "phases")
                idle[len(trace["items/id"])] = sum(row["wall_s"] for row in rows if row["phase"] == "idle") / trace.attrs["ended_s"]
        self.assertEqual(set(idle), {0, 1})
        self.assertGreater(idle[0], idle[1])

    def trace_of_bench(self, folder: Path) -> Path:
        folder.mkdir()
        done = subprocess.run([MPIEXEC, "-np", "2", "--oversubscribe", BENCH, "--device", "cpu", "--model", TOY, "--size", "96*64",
                               "--frame-num", "5", "--steps", "2", "--warmup", "1", "--trace", folder / "trace.h5"],
                              env=environment(), capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.one_trace(folder / "trace")

    def test_bench(self):
        self.check_named(lambda folder: [self.trace_of_bench(folder)])
        runs = set()
        for number in range(2):
            with h5py.File(self.trace_of_bench(self.folder / f"bench{number}")) as file:
                self.check_shape(file, 2)
                runs.add(file.attrs["run"])
                self.assertEqual((file.attrs["program"], file.attrs["layout"]), ("wan_bench", "cfg2 x ulysses1"))
                self.assertEqual([row["layout"] for row in columns(file, "stretches")], ["cfg2 x ulysses1"])
                self.assertEqual(file["steps/warm_up"][:].tolist(), [1, 1, 0, 0, 0, 0])
                self.assertEqual([row["outcome"] for row in columns(file, "item_ends")], ["done"])
        self.assertEqual(len(runs), 2, "two starts have one name")

    def test_traces_of_each_format_stay_readable(self):
        for number in (0, 1, 2):
            with h5py.File(KEPT / f"format{number}.h5") as trace:
                self.check_shape(trace, number)
                self.assertEqual(trace["steps/step"][:].tolist(), [0, 0, 1, 1, 2, 2])
