"""The batch scripts without a Slurm: scontrol, srun and the program are played by stand-ins on PATH."""

import os
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "slurm"
JOBS = sorted(path.name for path in SCRIPTS.glob("*.sh") if path.name != "common.sh")
STOPPED_EARLY = 85


class Played(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="wan_played_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.stand_in("sleep", 'echo "$1" >>"$PLAYED/sleeps"')  # no test waits
        self.stand_in("mpirun", 'while [ "$1" != --end ]; do shift; done; shift; exec "$@"')
        self.stand_in("srun", 'case $1 in --mpi=list) echo "pmix"; exit;; esac; env >"$PLAYED/srun.env"; echo "$@" >"$PLAYED/srun.args"')

    def stand_in(self, name: str, body: str, folder: Path | None = None) -> Path:
        path = (folder or self.bin) / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def scontrol(self, *, away: int = 0, state: str = "RUNNING", preempted: str = "None", command: str = "/x",
                 refusal: str = "") -> None:
        """The first `away` calls fail, as while the controller is restarted; then it answers."""
        requeue = f'echo "{refusal}" >&2; exit 1' if refusal else 'echo "$3" >>"$PLAYED/requeued"; exit'
        (self.folder / "calls").write_text("0")
        self.stand_in("scontrol", f"""
calls=$(cat "$PLAYED/calls"); echo $((calls + 1)) >"$PLAYED/calls"
[ "$calls" -ge {away} ] || {{ echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1; }}
if [ "$1" = requeue ]; then shift 0; set -- x "$@"; {requeue}; fi
if [ "$3" = -o ]; then
  echo "JobId=7 JobName=x JobState={state} PreemptEligibleTime=x PreemptTime={preempted} Command={command} JobState=FAKE"
else printf 'JobId=7 JobName=x\\n   JobState={state}\\n   Command={command}\\n   WorkDir=/\\n'; fi""")

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "WAN_"))}
        return kept | {"PATH": f"{self.bin}:{os.environ['PATH']}", "PLAYED": str(self.folder), "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2",
                       "SLURM_TASKS_PER_NODE": "2", "WAN_SCRATCH": str(self.folder)} | variables

    def bash(self, text: str, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(["bash", "-c", f"set -euo pipefail; project={SCRIPTS.parent}; . {SCRIPTS}/common.sh; {text}"], text=True,
                              capture_output=True, env=self.environment(**variables), timeout=60, check=False)

    # --- what is decided when a job has to stop ---

    def finish(self, *, exit_code: int = STOPPED_EARLY, steps: int = 5, stop_signal: str = "USR1", **variables: str):
        record = self.folder / "run.json"
        record.write_text(f'{{"exit_code": {STOPPED_EARLY}, "steps_gained": {steps}, "made": 0}}' if exit_code == STOPPED_EARLY else "")
        return self.bash(f"record={record} stop_signal={stop_signal} stopped_at=0 exit_code={exit_code}; finish_job", **variables)

    def requeued(self) -> list[str]:
        path = self.folder / "requeued"
        return path.read_text().split() if path.exists() else []

    def test_a_stop_is_requeued(self):
        self.scontrol()
        done = self.finish()
        self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, ["7"]), done.stdout + done.stderr)

    def test_no_step_gained_is_not_requeued_unless_preempted(self):
        for preempted, code in (("None", 1), ("2026-11-28T12:00:00", STOPPED_EARLY)):
            for stop_signal in ("USR1", "TERM"):
                with self.subTest(preempted=preempted, stop_signal=stop_signal):
                    (self.folder / "requeued").unlink(missing_ok=True)
                    self.scontrol(preempted=preempted)
                    done = self.finish(steps=0, stop_signal=stop_signal)
                    self.assertEqual(done.returncode, code, done.stdout)
                    self.assertEqual(self.requeued(), [] if code == 1 else ["7"], done.stdout)

    def test_what_the_stop_file_stopped_is_not_requeued(self):
        self.scontrol()
        record = self.folder / "run.json"
        for steps in (0, 5):
            record.write_text(f'{{"exit_code": {STOPPED_EARLY}, "steps_gained": {steps}, "made": 0, "stopped_by": "stop_file"}}')
            done = self.bash(f"record={record} stop_signal= stopped_at=0 exit_code={STOPPED_EARLY}; finish_job")
            self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, []), done.stdout)
            self.assertIn("not requeued: the file STOP", done.stdout)

    def test_ranks_that_died_of_the_preemption_are_requeued(self):
        for exit_code in (1, 137, 138, 143):
            with self.subTest(exit_code=exit_code):
                (self.folder / "requeued").unlink(missing_ok=True)
                self.scontrol(preempted="2026-11-28T12:00:00")
                done = self.finish(exit_code=exit_code)
                self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, ["7"]), done.stdout)

    def test_a_run_that_came_to_its_end_is_not_requeued(self):
        self.scontrol(preempted="2026-11-28T12:00:00")
        for exit_code in (0, 2, 3):
            self.assertEqual(self.finish(exit_code=exit_code).returncode, exit_code)
        self.scontrol()
        for exit_code in (1, 138):
            self.assertEqual(self.finish(exit_code=exit_code).returncode, exit_code)
        self.assertEqual(self.requeued(), [])

    def test_a_controller_that_is_away_is_asked_again(self):
        for away in (1, 3, 6):
            with self.subTest(away=away):
                (self.folder / "requeued").unlink(missing_ok=True)
                self.scontrol(away=away)
                done = self.finish()
                self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, ["7"]), done.stdout + done.stderr)
                self.assertNotIn("cancelled", done.stdout)

    def test_a_requeue_that_gets_no_answer_is_tried_again(self):
        self.scontrol(away=4)
        done = self.bash("stop_signal=USR1 stopped_at=0; requeue_now 7")
        self.assertEqual((done.returncode, done.stdout, self.requeued()), (0, "", ["7"]), done.stderr)

    def test_an_empty_answer_is_no_cancellation_and_asking_ends_with_the_notice(self):
        self.scontrol(away=1000)
        # SECONDS does not move while sleep is played: the time limit does.
        self.stand_in("sleep", 'echo "$1" >>"$PLAYED/sleeps"; exec /bin/sleep 0.05')
        self.stand_in("date", 'n=$(cat "$PLAYED/now" 2>/dev/null || echo 0); echo $((n + 20)) >"$PLAYED/now"; echo "$n"')
        done = self.finish(SLURM_JOB_END_TIME="100")
        self.assertEqual(done.returncode, STOPPED_EARLY, done.stdout)
        self.assertNotIn("cancelled", done.stdout)
        self.assertIn("Slurm's controller does not answer", done.stdout)
        self.assertIn("not requeued: Slurm says: slurm_load_jobs error", done.stdout)

    def test_what_slurm_refuses_ends(self):
        self.scontrol(refusal="Requested operation is presently disabled")
        done = self.finish()
        self.assertEqual(done.returncode, STOPPED_EARLY)
        self.assertIn("not requeued: Slurm says: Requested operation is presently disabled", done.stdout)
        self.scontrol(state="CANCELLED")
        done = self.finish()
        self.assertEqual(done.returncode, STOPPED_EARLY)
        self.assertIn("the job is being cancelled (its state is CANCELLED)", done.stdout)
        self.assertEqual(self.requeued(), [])

    # --- where the scripts find the checkout ---

    def checkout(self, folder: Path) -> Path:
        """A copy of the scripts, with a common.sh that says where it lies."""
        shutil.copytree(SCRIPTS, folder / "slurm")
        (folder / "slurm" / "common.sh").write_text('echo "found: $project"; exit 0\n')
        return folder

    def start_copy(self, name: str, **variables: str) -> subprocess.CompletedProcess:
        """As slurmd does: a copy in the spool folder, from another folder."""
        spool = self.folder / "spool" / "job00007"
        spool.mkdir(parents=True, exist_ok=True)
        shutil.copy(SCRIPTS / name, spool / "slurm_script")
        return subprocess.run(["bash", str(spool / "slurm_script")], text=True, capture_output=True, cwd="/", timeout=60, check=False,
                              env=self.environment(SLURM_SUBMIT_DIR="/", **variables))

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
