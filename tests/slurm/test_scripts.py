"""Every batch script is submitted as a user would and runs to its end, with both launchers, on one and two nodes."""

import json
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

from cli_case import CHECKPOINT, PROGRAM, PROJECT, SMALL
from slurm_case import Job, SlurmCase

USER = "nobody"  # has no home, either
#: A study in a test: two starts of each case, however far they are apart.
TWO_STARTS = {"WAN_STUDY_STARTS": "2", "WAN_STUDY_PRECISION": "99"}
TOY_MODEL = PROJECT / "tests" / "data" / "parity" / "i2v_landscape" / "ckpt" / "high_noise_model" / "config.json"
NIGHT = {"gpus": 4, "gpu_model": "NVIDIA H200", "model": "i2v-A14B", "size": "832*480", "frame_num": 81, "precision": "bf16",
         "layout": "cfg2 x ulysses2", "attention": "flashinfer", "s_per_step": 1.4, "step_s": [1.4],
         "parts_s": {"attention": 0.73, "linear": 0.57, "elementwise": 0.06},
         "text_s": 0.02, "vae_encode_s": 0.17, "vae_decode_s": 0.77, "peak_vram_bytes": 64_000_000_000}


def can_read_build(user: str) -> bool:
    """A checkout below /root is closed to other users."""
    tried = subprocess.run([str(PROGRAM), "--version"], user=user, extra_groups=[], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           check=False, env={**os.environ, "HOME": "/"})
    return tried.returncode == 0


class Scripts(SlurmCase):
    def check_completes(self, script: str, ranks: int, launcher: str, *options: str, user: str | None = None) -> Job:
        """One video on all ranks of the job."""
        job = self.submit(script, self.arguments(self.manifest(1)), options, {"WAN_LAUNCHER": launcher}, user).wait()
        self.assert_completed(job)
        text = job.text()
        self.assertRegex(text, f"(?m): run: {launcher} .*/wan_batch ")
        self.assertIn(f"1 item, {ranks} ranks in 1 group", text)
        self.assertEqual(set(self.records()), {"row0"})
        return job

    def test_2gpu_srun(self):
        self.check_completes("i2v_2gpu.sh", 2, "srun")

    def test_a_ready_configuration_with_the_default_checkpoint(self):
        config = PROJECT / "jobs" / "configs" / "480p_2gpu.cfg"
        arguments = ["--config", str(config), "--device", "cpu", "--output-dir", str(self.out), *SMALL, str(self.manifest(1))]
        job = self.submit("i2v_2gpu.sh", arguments, knobs={"WAN_CKPT_DIR": str(CHECKPOINT)}).wait()
        self.assert_completed(job)
        self.assertRegex(job.text(), rf"(?m): run: .* --ckpt-dir {re.escape(str(CHECKPOINT))} --config {re.escape(str(config))} ")
        self.assertEqual(set(self.records()), {"row0"})

    def test_4gpu_mpirun(self):
        self.check_completes("i2v_4gpu.sh", 4, "mpirun")

    def test_8gpu_srun(self):
        self.check_completes("i2v_8gpu.sh", 8, "srun")

    def test_multinode_srun(self):
        text = self.check_completes("i2v_multinode.sh", 4, "srun", "--ntasks-per-node=2").text()
        self.assertIn("--nodes=2 --ntasks=4 --ntasks-per-node=2", text)

    def test_multinode_mpirun(self):
        self.check_completes("i2v_multinode.sh", 4, "mpirun", "--ntasks-per-node=2")

    def test_plain_user_srun(self):
        self.check_plain_user("i2v_2gpu.sh", 2, "srun")

    def test_plain_user_mpirun_on_two_nodes(self):
        self.check_plain_user("i2v_multinode.sh", 2, "mpirun", "--ntasks-per-node=1")

    def check_plain_user(self, script: str, ranks: int, launcher: str, *options: str) -> None:
        if not can_read_build(USER):
            self.skipTest(f"the user {USER} cannot run {PROGRAM}")
        self.check_completes(script, ranks, launcher, *options, user=USER)
        self.assertEqual((self.out / "row0.mp4").owner(), USER)

    def test_array_of_6_makes_every_row_once(self):
        rows = 13
        array = self.submit("i2v_array.sh", self.arguments(self.manifest(rows)), ("--array=0-5", "--ntasks-per-node=1"))
        tasks = self.tasks(array, 6)
        for task in tasks:
            self.assert_completed(task.wait(timeout_s=180))
        self.assertEqual({task.fields()["BatchHost"] for task in tasks}, {"n1", "n2"})
        made = {}
        for index, task in enumerate(tasks):
            self.assertIn(f"--shard {index}/6", task.text())
            made[index] = {f"row{row}" for row in range(index, rows, 6)}
            self.assertIn(f"{len(made[index])} of {len(made[index])} done", task.text())
        records = self.records()
        self.assertEqual(set(records), {f"row{row}" for row in range(rows)})
        runs = {index: {records[name]["run"] for name in names} for index, names in made.items()}
        self.assertEqual([len(run) for run in runs.values()], [1] * 6, "a task's rows were made by another task")
        self.assertEqual(len(set.union(*runs.values())), 6)

    def test_study_of_a_benchmark_ends_in_a_report(self):
        bench = PROGRAM.parent / "wan_bench"
        arguments = ["--device", "cpu", "--model", str(TOY_MODEL), "--size", "64*48", "--frame-num", "5", "--steps", "2"]
        knobs = {"WAN_BENCH": str(bench), **TWO_STARTS}
        job = self.submit("scaling_study.sh", arguments, ("--ntasks-per-node=4",), knobs).wait(timeout_s=240)
        self.assert_completed(job)
        folder = self.folder / f"scaling_{job.id}"
        self.assertEqual(sorted(path.name for path in folder.iterdir()),
                         ["gpus_1", "gpus_2", "gpus_4", "report.html", "report.json", "starts.jsonl", "study.json"])
        starts = [f"gpus_{count}/start_{number}" for count in (1, 2, 4) for number in (1, 2)]
        self.assertEqual(sorted(str(path.relative_to(folder)) for path in folder.glob("gpus_*/*") if path.is_dir()), starts)
        page = (folder / "report.html").read_text()
        self.assertIn("64*48", page)
        rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)
                if re.search(r'"scaling/[^"/]+/gpus"', row)]
        gpus = [re.search(r'<data value="([^"]+)" data-key="scaling/[^"/]+/gpus">', "".join(row))[1] for row in rows]
        self.assertEqual(gpus, ["1.0", "2.0", "4.0"])
        self.assertEqual([row[3] for row in rows], ["cfg1 x ulysses1", "cfg2 x ulysses1", "cfg2 x ulysses2"])
        efficiencies = [float(value) for value in re.findall(r'<data value="([^"]+)" data-key="scaling/[^"/]+/efficiency_percent">', page)]
        self.assertEqual(efficiencies[0], 100.0)
        self.assertTrue(all(0 < value < 200 for value in efficiencies), efficiencies)
        self.model_takes(*(folder / f"gpus_{count}" for count in (1, 2, 4)))

    def model_takes(self, *traces: Path) -> None:
        """`model` predicts 8 ranks in one group, and 64 ranks in groups of 8, because no group on several nodes was measured."""
        heads = ["--heads", "40", "--gpus", "8,64"]
        done = subprocess.run([str(PROJECT / "jobs" / "analysis.sh"), "model", *map(str, traces), *heads], capture_output=True, text=True,
                              check=False)
        self.assertEqual(re.findall(r"(?m)^ *(\d+)  ((?:8 groups of )?cfg\d x ulysses\d)", done.stdout)[:5], [
            ("1", "cfg1 x ulysses1"), ("2", "cfg2 x ulysses1"), ("4", "cfg2 x ulysses2"), ("8", "cfg2 x ulysses4"),
            ("64", "8 groups of cfg2 x ulysses4")], done.stderr)
        self.assertEqual(done.returncode, 0)

    def test_study_of_videos_leaves_out_what_failed(self):
        arguments = ["--device", "cpu", "--ckpt-dir", str(CHECKPOINT), *SMALL, "--group-size", "2", str(self.manifest(1))]
        knobs = {"WAN_STUDY": "wan_batch", "WAN_COUNTS": "1 2", "WAN_STUDY_DIR": str(self.folder / "study"), **TWO_STARTS}
        job = self.submit("scaling_study.sh", arguments, ("--ntasks-per-node=2",), knobs).wait(timeout_s=240)
        self.assertEqual((job.state, job.exit_code), ("FAILED", 1), job.text())
        self.assertIn("failed with GPUs: 1;", job.text())  # one rank is no group of two
        self.assertTrue((self.folder / "study" / "report.html").is_file(), job.text())

    def test_nightly_passes_the_verdict_on(self):
        stand_in = self.folder / "bench.py"
        stand_in.write_text(f"print({json.dumps(NIGHT)!r})\n")
        history = ["--history", str(self.folder / "history"), "--references", str(self.folder / "ref.json")]
        for arguments, code in (([*history, "--update"], 0), (history, 0)):
            job = self.submit("nightly.sh", [*arguments, "--", sys.executable, str(stand_in)]).wait()
            self.assertEqual(job.exit_code, code, job.text())
        stand_in.write_text(f"print({json.dumps(NIGHT | {'s_per_step': 1.6, 'parts_s': NIGHT['parts_s'] | {'linear': 0.77}})!r})\n")
        job = self.submit("nightly.sh", [*history, "--", sys.executable, str(stand_in)]).wait()
        self.assertEqual((job.state, job.exit_code), ("FAILED", 3), job.text())
        self.assertIn("grew in: linear", job.text())


class ScriptsWithStandIn(SlurmCase):
    """The arguments and environment that the scripts pass to the program. A program that prints them takes its place."""

    def program(self, body: str) -> dict[str, str]:
        """The knob that makes it the program."""
        path = self.folder / "program.sh"
        path.write_text(f'#!/bin/bash\n[[ $1 != places && $1 != status ]] || exit 0\n{body}\n')
        path.chmod(0o755)
        return {"WAN_BATCH": str(path)}

    def test_ranks_see_all_gpus_of_the_node_and_what_the_user_set(self):
        knobs = self.program('echo "rank $PMIX_RANK gpus $CUDA_VISIBLE_DEVICES threads $OMP_NUM_THREADS nccl $NCCL_DEBUG tmp $TMPDIR"')
        knobs |= {"OMP_NUM_THREADS": "3", "NCCL_DEBUG": "INFO", "WAN_SCRATCH": str(self.folder), "WAN_LAUNCH_OPTIONS": "--label --overlap"}
        job = self.submit("i2v_4gpu.sh", ["manifest.csv"], (), knobs).wait()
        self.assert_completed(job)
        for rank in range(4):
            self.assertRegex(job.text(), f"(?m)^{rank}: rank {rank} gpus 0,1,2,3 threads 3 nccl INFO tmp {self.folder}/wan_{job.id}_")
        self.assertEqual(list(self.folder.glob(f"wan_{job.id}_*")), [], "the scratch folder is still there")

    def test_defaults_where_the_user_set_nothing(self):
        knobs = self.program('echo "threads $OMP_NUM_THREADS nccl $NCCL_DEBUG"') | {"OMP_NUM_THREADS": "", "WAN_CKPT_DIR": "/some/where"}
        job = self.submit("i2v_2gpu.sh", ["manifest.csv"], ("--cpus-per-task=2",), knobs).wait()
        self.assert_completed(job)
        self.assertEqual(job.text().count("threads 2 nccl WARN\n"), 2, job.text())
        self.assertIn("--ckpt-dir /some/where manifest.csv", job.text())

    def test_the_command_printed_is_the_command_run(self):
        words = ["--prompt", "a cat's \"tail\" $HOME *", "--image", "a b.png"]
        knobs = self.program('printf "<%s>" "$@"; echo')
        job = self.submit("i2v_2gpu.sh", words, ("--ntasks-per-node=1", "--gpus-per-node=1"), knobs).wait()
        self.assert_completed(job)
        handed_on = "".join(f"<{word}>" for word in words)
        self.assertIn(handed_on, job.text())
        printed = next(line.partition(": run: ")[2] for line in job.text().splitlines() if ": run: " in line)
        again = subprocess.run(["bash", "-c", f"printf '<%s>' {printed}"], capture_output=True, text=True, check=True).stdout
        self.assertTrue(again.endswith(handed_on), again)

    def test_without_pmix_mpirun_starts_the_ranks(self):
        knobs = self.program('echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE"')
        srun = self.folder / "srun"
        srun.write_text('#!/bin/sh\n[ "$1" != --mpi=list ] || { echo none; exit; }\nexec /usr/bin/srun "$@"\n')
        srun.chmod(0o755)
        knobs["PATH"] = f"{self.folder}:{os.environ['PATH']}"
        job = self.submit("i2v_2gpu.sh", ["manifest.csv"], (), knobs).wait()
        self.assert_completed(job)
        self.assertRegex(job.text(), ": run: mpirun -np 2 --map-by ppr:2:node --bind-to none ")
        for rank in range(2):
            self.assertIn(f"rank {rank} of 2", job.text())

    def test_modules_are_loaded_first(self):
        module = '() { [ "$2" != absent ] || return 1; echo "$1 $2 then $3"; export FROM_MODULE=yes; }'
        for names, code, said in (("wan cuda", 0, "load wan then cuda"), ("absent", 2, "module load absent failed")):
            knobs = self.program('echo "module: $FROM_MODULE"') | {"WAN_MODULES": names, "BASH_FUNC_module%%": module}
            job = self.submit("i2v_2gpu.sh", ["manifest.csv"], ("--ntasks-per-node=1", "--gpus-per-node=1"), knobs).wait()
            self.assertEqual(job.exit_code, code, job.text())
            self.assertIn(said, job.text())
            self.assertEqual("module: yes" in job.text(), code == 0, job.text())

    def test_wrong_knobs_are_refused_before_anything_runs(self):
        for knobs, said in (({"WAN_LAUNCHER": "mpiexec"}, "WAN_LAUNCHER is 'mpiexec'; it can be: srun mpirun"),
                            ({"WAN_REQUEUE": "no"}, "WAN_REQUEUE is 'no'; it can be: on off"),
                            ({"WAN_BATCH": "/absent"}, "WAN_BATCH is '/absent', which is no program"),
                            ({"WAN_SCRATCH": "/absent"}, "set WAN_SCRATCH"),
                            ({"WAN_PROJECT": "/absent"}, "/absent is no checkout of wan_batch")):
            with self.subTest(knobs=knobs):
                job = self.submit("i2v_2gpu.sh", ["manifest.csv"], (), self.program("echo ran") | knobs).wait()
                self.assertEqual((job.state, job.exit_code), ("FAILED", 2), job.text())
                self.assertIn(said, job.text())
                self.assertNotIn("ran\n", job.text())

    def test_an_array_with_gaps_needs_the_number_of_parts(self):
        job = self.tasks(self.submit("i2v_array.sh", ["m.csv"], ("--array=0,1,5",), self.program("echo $*")), 1)[0].wait()
        self.assertEqual(job.exit_code, 2, job.text())
        self.assertIn("set WAN_SHARDS", job.text())
        array = self.submit("i2v_array.sh", ["m.csv"], ("--array=0,1,5",), self.program("echo $*") | {"WAN_SHARDS": "9"})
        last = Job(f"{array.id}_5", Path(str(array.log).replace(".log", "_5.log"))).wait()
        self.assert_completed(last)
        self.assertIn("--shard 5/9 m.csv", last.text())

    def test_the_programs_exit_code_is_the_jobs(self):
        job = self.submit("i2v_2gpu.sh", ["m.csv"], (), self.program("exit 3")).wait()
        self.assertEqual((job.state, job.exit_code), ("FAILED", 3), job.text())


if __name__ == "__main__":
    unittest.main()
