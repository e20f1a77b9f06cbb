"""The decisions of the batch scripts when a job starts, and their common text, without a Slurm."""

import json
import re
import subprocess
import unittest

from played_case import JOBS, SCRIPTS, PlayedCase


class Starts(PlayedCase):
    def test_a_launcher_that_does_not_start_the_ranks_is_named(self):
        self.stand_in("ompi_info", "echo mca:pmix:ext3x:version:component:4.1.4")
        text = (f"mkdir {self.folder}/job; start_number=1 start_record={self.folder}/job/start-1 launcher=srun launcher_kind=pmix; "
                f"silence_s=1; start_watcher >{self.folder}/said; AWAIT; /bin/sleep 3; stop_watcher; cat {self.folder}/said")
        done = self.bash(text.replace("AWAIT", f"until grep -q 'no rank' {self.folder}/said; do /bin/sleep 0.05; done"))
        self.assertIn("no rank has passed MPI_Init after 1 s. The job goes on waiting.", done.stdout)
        self.assertIn("Launcher: srun --mpi=pmix; Slurm has: pmix ; the MPI library has PMIx: ext3x 4.1.4.", done.stdout)
        self.assertEqual(done.stdout.count("no rank has passed"), 1)
        (self.folder / "job" / "start-1.mpi").write_text("")
        self.assertNotIn("no rank", self.bash(text.replace("mkdir", "ls").replace("AWAIT", ":")).stdout)

    def test_the_comment_keeps_the_users_own(self):
        ledger = self.folder / "job"
        ledger.mkdir()
        groups = [{"rows": 120, "settled_before": 20, "failed_before": 1, "made": 7, "failed": 1, "step": 7, "steps": 40, "left_s": 600,
                   "at_s": 1764400000}, {"rows": 120, "settled_before": 22, "failed_before": 0, "made": 5, "failed": 0}]
        for index, group in enumerate(groups):
            (ledger / f"start-3.group-{index}.json").write_text(json.dumps(group) + "\n")
        shown = "31/120 done, 2 failed, step 7/40, ends 07:16, start 3"
        for before, after in (("(null)", ""), ("for Anna | 2", "for Anna | 2 | "), ("wan_batch: 1/120 done, start 1", ""),
                              ("my own | wan_batch: 1/120 done, start 1", "my own | ")):
            self.stand_in("squeue", f"echo '{before}'")
            self.stand_in("scontrol", 'printf "%s\n" "$@" >"$PLAYED/updated"')
            done = self.bash(f"start_number=3 start_record={ledger}/start-3; show_comment", TZ="UTC")
            self.assertEqual((self.folder / "updated").read_text(), f"update\nJobId=7\nComment={after}wan_batch: {shown}\n", done.stderr)
        self.stand_in("squeue", "exit 1")
        (self.folder / "updated").unlink()
        self.assertEqual(self.bash(f"start_number=3 start_record={ledger}/start-3; show_comment").returncode, 0)
        self.assertFalse((self.folder / "updated").exists(), "without the present comment, the user's own could be lost")

    # --- nothing paid for in silence ---

    def test_every_node_and_gpu_has_a_rank(self):
        def job(ranks, tasks, nodes, gpus, **more):
            return {"SLURM_NTASKS": str(ranks), "SLURM_TASKS_PER_NODE": tasks, "SLURM_JOB_NUM_NODES": str(nodes),
                    "SLURM_GPUS_ON_NODE": str(gpus) if gpus else ""} | more
        for variables, said in (
                (job(8, "8", 1, 8), ""), (job(16, "8(x2)", 2, 8), ""), (job(4, "2(x2)", 2, 2), ""), (job(1, "1", 1, 0), ""),
                (job(4, "8(x2)", 2, 8), "the job has 2 nodes and 4 ranks, so 1 node would stay idle. Ask for tasks on every node"),
                (job(2, "2(x2)", 2, 2), "1 node would stay idle"),
                (job(4, "2(x2)", 2, 8), "each node of the job has 8 GPUs and 2 ranks, so 12 GPUs would stay idle."),
                (job(1, "1", 1, 2), "1 GPU would stay idle. Ask for one task per GPU: sbatch --ntasks-per-node=2, or --gpus-per-node=1"),
                (job(4, "3,1", 2, 4), "the nodes of this job have different numbers of tasks (3,1)"),
                (job(4, "4", 1, 2), "2 GPUs and 4 ranks, and a rank needs a GPU of its own"),
                (job(1, "1", 1, 0, SLURM_JOB_GPUS="0,3"), "1 GPU would stay idle")):
            with self.subTest(variables=variables):
                (self.folder / "srun.args").unlink(missing_ok=True)
                done = self.start_job(**variables)
                self.assertEqual(done.returncode, 2 if said else 0, done.stdout + done.stderr)
                self.assertIn(said, done.stderr)
                self.assertEqual((self.folder / "srun.args").exists(), not said, "ranks were started")

    def test_the_cpu_on_demand_is_said(self):
        done = self.start_job(device="cpu", SLURM_NTASKS="1", SLURM_TASKS_PER_NODE="1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("--device cpu: the job's 2 GPUs are not used", done.stdout)

    def test_one_gpu_for_each_task_is_put_right(self):
        # As Slurm 22.05 and 24.11 set them.
        for given in ({"SLURM_GPUS_PER_TASK": "1", "SLURM_TRES_BIND": "gpu:single:1"}, {"SLURM_GPU_BIND": "single:1"},
                      {"SLURM_TRES_PER_TASK": "gres/gpu=1", "SLURM_TRES_BIND": "gres/gpu:per_task:1"}):
            done = self.start_job(**given)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("the ranks see all GPUs that the job has on their node all the same", done.stdout)
            variables = {line.partition("=")[0] for line in (self.folder / "srun.env").read_text().splitlines()}
            self.assertEqual(variables & {"SLURM_GPU_BIND", "SLURM_TRES_BIND", "SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK"}, set())
        self.assertNotIn("the ranks see all", self.start_job().stdout)

    def test_cores(self):
        for bind, words, said in (("", ["--cpu-bind=none"], ""), ("none", ["--cpu-bind=none"], ""),
                                  ("cores", ["--cpus-per-task=3", "--cpu-bind=cores"], "10 of the 16 cores of each node have no rank")):
            done = self.start_job(WAN_BIND=bind, SLURM_CPUS_PER_TASK="3", SLURM_JOB_CPUS_PER_NODE="16")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([word for word in (self.folder / "srun.args").read_text().split() if "cpu" in word], words)
            self.assertIn(said, done.stdout)
            self.assertIn(f"WAN_BIND={bind or 'gpu'}\n", (self.folder / "srun.env").read_text())

    def test_misspelled_settings_are_refused_with_the_nearest_name(self):
        for name, nearest in (("WAN_LAUNCHR", "WAN_LAUNCHER"), ("WAN_REQUEU", "WAN_REQUEUE"), ("WAN_CKPT", "WAN_CKPT_DIR"),
                              ("WAN_MAXSTARTS", "WAN_MAX_STARTS"), ("WAN_", "WAN_MPI")):
            done = self.start_job(**{name: "off"})
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(f"there is no setting {name}; did you mean {nearest}?", done.stderr)

    def test_a_launcher_that_slurm_does_not_have_is_refused(self):
        done = self.start_job(WAN_MPI="pmix_v9")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("WAN_MPI is 'pmix_v9', which srun does not have; `srun --mpi=list` names: pmix", done.stderr)

    def test_every_error_is_in_the_table_of_troubles(self):
        """By its words: the longest piece of each message that has no variable."""
        table = (SCRIPTS.parent / "docs" / "cluster.md").read_text(encoding="utf-8").partition("## Trouble")[2].replace("`", "")
        quoted = re.findall(r'"([^"]+)"', "\n".join(line.split(" | ")[0] for line in table.splitlines()))
        messages = []
        for path in [*SCRIPTS.glob("*.sh"), *SCRIPTS.glob("lib/*.sh")]:
            text = path.read_text().replace("\\\n", " ")
            messages += re.findall(r'\b(?:die|fail) "([^\n]*)', text) + re.findall(r'echo "[^"\n]*error: ([^\n]*)', text)
            if path.name in ("requeue.sh", "watch.sh", "ledger.sh"):
                messages += re.findall(r'\bsay "((?:not requeued|[^"$]*\$?)[^\n]*)', text)
        told = ("told to stop", "stopped early", "requeueing", "exit code", "run:", "no step was gained", "$reason; this is crash")
        errors = [message for message in messages if not message.startswith(told)]
        self.assertGreater(len(errors), 25)
        for message in errors:
            self.assertTrue(any(words in message.replace("\\`", "") for words in quoted) or "$bound" in message, message)

    def test_the_list_has_every_name_that_is_read(self):
        known = set(re.findall(r"WAN_[A-Z_]+", (SCRIPTS / "lib" / "names.sh").read_text().partition("wan_names=(")[2].partition("\n)")[0]))
        read = set()
        for folder, pattern in (("slurm", "*.sh"), ("jobs", "*.sh"), ("jobs", "*.py")):
            for path in (SCRIPTS.parent / folder).rglob(pattern):
                text = path.read_text()
                read |= set(re.findall(r"\$\{?(WAN_[A-Z_]+)", text)) | set(re.findall(r"environ[^\n]*[\"'](WAN_[A-Z_]+)", text))
        for path in (SCRIPTS.parent / "src").rglob("*.cpp"):  # a program's variable in quotes, alone
            read |= set(re.findall(r"\"(WAN_[A-Z_]+)\"", path.read_text()))
        self.assertEqual(read - known, set(), "read, and not in slurm/lib/names.sh")
        self.assertEqual(known - read, {"WAN_BENCH", "WAN_SLURM"}, "in slurm/lib/names.sh, and never read")

    # --- where the scripts find the checkout ---

    def test_a_checkout_below_a_folder_with_blanks(self):
        for place in ("my files/wan batch", "a/slurm/wan", "slurm/slurm x/wan"):
            project = self.checkout(self.folder / place)
            for arguments in ("", " --prompt a/slurm/b.sh c", " /slurm/x.sh"):
                with self.subTest(place=place, arguments=arguments):
                    self.scontrol(command=f"{project}/slurm/i2v_2gpu.sh{arguments}")
                    done = self.start_copy("i2v_2gpu.sh")
                    self.assertEqual(done.stdout, f"found: {project}\n", done.stderr)

    def test_every_script_waits_for_the_controller_at_its_start(self):
        project = self.checkout(self.folder / "checkout")
        for name in JOBS:
            with self.subTest(script=name):
                self.scontrol(away=3, command=f"{project}/slurm/{name} manifest.csv")
                self.assertEqual(self.start_copy(name).stdout, f"found: {project}\n")

    def test_every_script_looks_for_the_checkout_alike(self):
        """The search cannot be shared: a script is copied away from its folder, and common.sh is what it looks for."""
        searches = {}
        for name in JOBS:
            text = (SCRIPTS / name).read_text()
            begin, end = "set -euo pipefail\n", '. "$project/slurm/common.sh"\n'
            self.assertEqual((text.count(begin), text.count(end)), (1, 1), name)
            searches[name] = text[text.index(begin):text.index(end) + len(end)].replace(f"script={name} ", "script=NAME ")
        first = searches[JOBS[0]]
        for name, search in searches.items():
            self.assertEqual(search, first, f"{name} and {JOBS[0]} look for the checkout in different ways; change all {len(JOBS)} alike")

    def test_outside_a_checkout_every_script_names_itself(self):
        self.scontrol(command="/nowhere/run.sh")
        for name in JOBS:
            done = self.start_copy(name)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"slurm/{name}: error: / is no checkout of wan_batch", done.stderr)

    def test_by_hand_a_script_finds_its_own_checkout(self):
        project = self.checkout(self.folder / "checkout")
        self.scontrol(command="(null)")
        done = subprocess.run(["bash", str(project / "slurm" / "i2v_2gpu.sh")], text=True, capture_output=True, cwd="/", check=False,
                              env=self.environment(SLURM_SUBMIT_DIR="/"), timeout=60)
        self.assertEqual(done.stdout, f"found: {project}/slurm/..\n", done.stderr)

    # --- what the ranks are started with ---

    def test_ranks_get_what_the_script_sets_and_nothing_that_contradicts(self):
        self.scontrol(command=f"{SCRIPTS}/i2v_2gpu.sh")
        program = self.stand_in("program", "exit 0", self.folder)
        done = self.start_copy("i2v_2gpu.sh", SLURM_EXPORT_ENV="NONE", SLURM_MEM_PER_CPU="1000", SLURM_MEM_PER_NODE="64000",
                               SLURM_CPU_BIND="quiet,mask_cpu:0x1", SLURM_CPUS_PER_TASK="3", WAN_BATCH=str(program), WAN_LAUNCHER="srun")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("--export=ALL", (self.folder / "srun.args").read_text().split())
        variables = dict(line.partition("=")[::2] for line in (self.folder / "srun.env").read_text().splitlines())
        self.assertEqual(variables["OMP_NUM_THREADS"], "3")
        self.assertEqual(variables["SLURM_EXPORT_ENV"], "ALL")
        for name in ("SLURM_MEM_PER_CPU", "SLURM_MEM_PER_NODE", "SLURM_CPU_BIND"):
            self.assertNotIn(name, variables)

    def test_the_default_checkpoint_is_added_unless_something_names_one(self):
        configs = {"without.cfg": "# ckpt-dir = not this\nsize = 480p\n", "with.cfg": "size = 480p\r\n ckpt_dir=/config\r\n",
                   "short.cfg": "\ufeffckpt = /config\n"}
        for name, text in configs.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        for arguments, expected in (("m.csv", "--ckpt-dir /default"), ("--ckpt-dir /mine m.csv", ""), ("--ckpt_dir=/mine m.csv", ""),
                                    ("--config without.cfg m.csv", "--ckpt-dir /default"), ("--config=without.cfg", "--ckpt-dir /default"),
                                    ("--config with.cfg m.csv", ""), ("--config=with.cfg", ""), ("--config short.cfg", ""),
                                    ("--conf with.cfg m.csv", ""), ("--confi=with.cfg", ""), ("--continue with.cfg", "--ckpt-dir /default"),
                                    ("--config missing.cfg", "--ckpt-dir /default")):
            with self.subTest(arguments=arguments):
                done = self.bash(f'cd {self.folder}; default_checkpoint {arguments}; echo "${{checkpoint_words[*]}}"',
                                 WAN_CKPT_DIR="/default")
                self.assertEqual((done.returncode, done.stdout), (0, expected + "\n"), done.stderr)

    def test_a_missing_library_names_the_modules(self):
        self.scontrol(command=f"{SCRIPTS}/i2v_2gpu.sh")
        program = self.stand_in("program", "exit 0", self.folder)
        self.stand_in("ldd", 'printf "\\tlibmpi.so.40 => not found\\n\\tlibc.so.6 => /lib/libc.so.6 (0x0)\\n"')
        done = self.start_copy("i2v_2gpu.sh", WAN_BATCH=str(program), WAN_LAUNCHER="srun")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("does not find: libmpi.so.40. Load the modules", done.stderr)
        self.assertIn("WAN_MODULES", done.stderr)


if __name__ == "__main__":
    unittest.main()
