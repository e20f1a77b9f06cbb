"""The batch scripts without a Slurm: scontrol, srun and the program are played by stand-ins on PATH."""

import json
import os
import re
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
        return kept | {"HOME": str(self.folder), "PATH": f"{self.bin}:{os.environ['PATH']}", "PLAYED": str(self.folder),
                       "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2",
                       "SLURM_TASKS_PER_NODE": "2", "WAN_SCRATCH": str(self.folder)} | variables

    def bash(self, text: str, **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(["bash", "-c", f"set -euo pipefail; project={SCRIPTS.parent}; . {SCRIPTS}/common.sh; {text}"], text=True,
                              capture_output=True, env=self.environment(**variables), timeout=60, check=False)

    # --- what is decided when a job has to stop ---

    def finish(self, *, exit_code: int = STOPPED_EARLY, steps: int = 5, stop_signal: str = "USR1", start: int = 1,
               stopped_by: str = "", **variables: str):
        ledger = self.folder / "job"
        ledger.mkdir(exist_ok=True)
        record = ledger / f"start-{start}.run.json"
        text = f'{{"exit_code": {STOPPED_EARLY}, "steps_gained": {steps}, "made": 0{stopped_by}}}'
        record.write_text(text if exit_code == STOPPED_EARLY else "")
        return self.bash(f"ledger={ledger} start_number={start} start_record={ledger}/start-{start} scratch= stop_signal='{stop_signal}' "
                         f"stopped_at=0 end_code={STOPPED_EARLY} exit_code={exit_code} program=/bin/false; finish_job", **variables)

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
        for steps in (0, 5):
            done = self.finish(steps=steps, stop_signal="", stopped_by=', "stopped_by": "stop_file"')
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

    def test_no_answer_is_no_cancellation_whatever_the_signal(self):
        for stop_signal, exit_code, steps in (("TERM", STOPPED_EARLY, 5), ("TERM", STOPPED_EARLY, 0), ("USR1", STOPPED_EARLY, 0),
                                              ("TERM", 143, 0)):
            with self.subTest(stop_signal=stop_signal, exit_code=exit_code, steps=steps):
                (self.folder / "requeued").unlink(missing_ok=True)
                self.scontrol(away=8)
                self.stand_in("date", "echo 0")
                # The first question is given up after a few tries; the requeue itself gets through.
                text = (self.bin / "scontrol").read_text()
                self.stand_in("scontrol", text.replace("#!/bin/bash\n", "").replace('[ "$calls" -ge 8 ]', '[ "$1" = requeue ]'))
                done = self.finish(stop_signal=stop_signal, exit_code=exit_code, steps=steps, SLURM_JOB_END_TIME="15")
                self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, ["7"]), done.stdout + done.stderr)
                self.assertIn("Slurm's controller does not answer", done.stdout)
                self.assertNotIn("cancelled", done.stdout)
                self.assertNotIn("somebody wants", done.stdout)

    def test_a_stop_is_asked_about_until_ten_seconds_before_the_end(self):
        for now, has_time in (("85", "no"), ("84", "no"), ("83", "yes")):
            self.stand_in("date", f"echo {now}")
            done = self.bash("stop_signal=USR1 stopped_at=0; if has_time_left 6; then echo yes; else echo no; fi", SLURM_JOB_END_TIME="100")
            self.assertEqual(done.stdout.strip(), has_time, now)

    def test_requeueing_that_is_off_ends_preempted_jobs_too(self):
        self.scontrol(preempted="2026-11-28T12:00:00")
        done = self.finish(WAN_REQUEUE="off")
        self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, []))
        self.assertIn("not requeued: WAN_REQUEUE is off", done.stdout)

    def test_a_lost_node_is_called_so(self):
        self.scontrol(state="NODE_FAIL")
        done = self.finish(stop_signal="TERM", exit_code=143)
        self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, []), done.stdout)
        self.assertIn("Slurm has ended this start: a node was lost, or somebody requeued the job", done.stdout)
        self.assertNotIn("somebody wants", done.stdout)

    # --- ranks that die ---

    def crash(self, exit_code: int = 139, *, start: int = 1, steps: int = 0, made: int = 0, in_hand: int = 0, **variables: str):
        """A start in which a signal has ended a rank, after what it had gained."""
        ledger = self.folder / "job"
        ledger.mkdir(exist_ok=True)
        (self.folder / "requeued").unlink(missing_ok=True)
        (ledger / f"start-{start}.group-0.json").write_text(
            f'{{"failed":0,"in_hand":{in_hand},"made":{made},"steps":40,"steps_made":{steps}}}\n')
        self.scontrol()
        return self.finish(exit_code=exit_code, stop_signal="", start=start, **variables)

    def test_a_death_that_gained_something_is_followed_by_three_starts(self):
        for start in (1, 2, 3):
            done = self.crash(steps=1, start=start)
            self.assertEqual((done.returncode, self.requeued()), (139, ["7"]), done.stdout)
            self.assertIn(f"a rank died (SIGSEGV); this is crash {start} of the job", done.stdout)
        done = self.crash(steps=1, start=4)
        self.assertEqual((done.returncode, self.requeued()), (139, []), done.stdout)
        self.assertIn("not requeued: a rank died (SIGSEGV), and so did one in 3 earlier starts of this job", done.stdout)

    def test_a_death_in_a_row_is_counted_by_the_next_start(self):
        self.assertEqual((self.crash(137, in_hand=1).returncode, self.requeued()), (137, ["7"]))
        self.assertEqual((self.crash(137, made=1).returncode, self.requeued()), (137, ["7"]))
        done = self.crash(137)
        self.assertEqual((done.returncode, self.requeued()), (137, []))
        self.assertIn("not requeued: a rank died (SIGKILL) before the run had begun a row", done.stdout)

    def test_errors_of_the_program_are_not_requeued(self):
        for exit_code in (1, 2, 3):
            done = self.crash(exit_code, steps=5)
            self.assertEqual((done.returncode, self.requeued()), (exit_code, []), done.stdout)
        # srun reports the ranks that it ended, not the rank that ended by itself.
        (self.folder / "job").mkdir(exist_ok=True)
        (self.folder / "job" / "start-1.error").write_text("the disk is full\n")
        done = self.crash(137, steps=5)
        self.assertEqual((done.returncode, self.requeued()), (1, []), done.stdout)

    # --- the bounds of a chain ---

    def test_a_bound_ends_the_chain_with_1_and_is_named(self):
        self.scontrol(preempted="2026-11-28T12:00:00")
        done = self.finish(start=2, WAN_MAX_STARTS="3")
        self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, ["7"]), done.stdout)
        (self.folder / "requeued").unlink()
        done = self.finish(start=3, WAN_MAX_STARTS="3")
        self.assertEqual((done.returncode, self.requeued()), (1, []), done.stdout)
        self.assertIn("not requeued: WAN_MAX_STARTS is 3, and this was start 3", done.stdout)
        self.assertIn("reason=preempted\n", (self.folder / "job" / "start-3").read_text())

    def test_the_running_time_of_all_starts_is_bounded(self):
        self.scontrol()
        (self.folder / "job").mkdir()
        (self.folder / "job" / "start-1").write_text("began_s=1000\nended_s=4000\n")
        (self.folder / "job" / "start-2").write_text("began_s=9000\nseen_s=9500\nseen_s=10000\n")  # killed: its last sign of life
        (self.folder / "job" / "start-3").write_text("began_s=20000\n")
        self.stand_in("date", "echo 20399")
        done = self.finish(start=3, WAN_MAX_CHAIN_HOURS="1.25")  # 4500 s
        self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, ["7"]), done.stdout)
        self.stand_in("date", "echo 20500")
        (self.folder / "requeued").unlink()
        done = self.finish(start=3, WAN_MAX_CHAIN_HOURS="1.25")
        self.assertEqual((done.returncode, self.requeued()), (1, []), done.stdout)
        self.assertIn("not requeued: WAN_MAX_CHAIN_HOURS is 1.25, and the starts of this job have run for 4500 s", done.stdout)

    def test_a_start_beyond_the_bound_ends_before_its_ranks(self):
        done = self.start_job(SLURM_RESTART_COUNT="3", WAN_MAX_STARTS="3")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("the job ends here: WAN_MAX_STARTS is 3, and this is start 4", done.stdout)
        self.assertFalse((self.folder / "srun.args").exists())

    def test_bounds_that_are_no_numbers_are_refused(self):
        for knobs, said in (({"WAN_MAX_STARTS": "0"}, "WAN_MAX_STARTS is '0'"), ({"WAN_MAX_STARTS": "x"}, "WAN_MAX_STARTS is 'x'"),
                            ({"WAN_MAX_CHAIN_HOURS": "1h"}, "WAN_MAX_CHAIN_HOURS is '1h'")):
            done = self.start_job(**knobs)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(said, done.stderr)

    # --- the record of the starts ---

    def start_job(self, script: str = "i2v_2gpu.sh", arguments: tuple[str, ...] = ("m.csv",), *, output: str = "out",
                  device: str = "auto", body: str = "exit 0", **variables: str) -> subprocess.CompletedProcess:
        """As a job of 2 tasks on one node with 2 GPUs, with a stand-in for wan_batch."""
        self.scontrol(command=f"{SCRIPTS}/{script}")
        program = self.stand_in("program", f"""
[ "$1" != places ] || {{ printf 'output_dir=%s\\ndevice=%s\\n' "{self.folder / output if output else ''}" {device}; exit; }}
[ "$1" != status ] || {{ echo "account: $*"; exit; }}
{body}""", self.folder)
        self.stand_in("srun", """case $1 in --mpi=list) echo "MPI plugin types are..."; echo pmix; exit;; esac
echo "$@" >"$PLAYED/srun.args"; env >"$PLAYED/srun.env"
while [ "$1" != "$WAN_BATCH" ]; do shift; done; exec "$@" """)
        given = {"SLURM_GPUS_ON_NODE": "2", "SLURM_JOB_NUM_NODES": "1", "WAN_BATCH": str(program)} | variables
        return self.start_copy(script, *arguments, **{name: value for name, value in given.items() if value})

    def test_what_decides_lies_in_the_output_folder(self):
        body = 'echo "{\\"exit_code\\": 85, \\"steps_gained\\": 7, \\"made\\": 0}" >"$WAN_JOB_START.run.json"; exit 85'
        for variables, job in (({}, "7"), ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "5"}, "5_3")):
            (self.folder / "requeued").unlink(missing_ok=True)
            array = {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_COUNT": "1"} if variables else {}
            done = self.start_job("i2v_array.sh" if array else "i2v_2gpu.sh", ("my rows.csv",),
                                  body=f"rm -rf {self.folder}/wan_7_*; {body}", **variables, **array)  # somebody empties /tmp
            self.assertEqual((done.returncode, self.requeued()), (STOPPED_EARLY, [job]), done.stdout + done.stderr)
            self.assertIn("stopped early: 7 steps and 0 items gained", done.stdout)
            record = (self.folder / "out" / ".jobs" / job / "start-1").read_text()
            self.assertIn("gpus=2\n", record)
            shard = "--shard 0/1 " if job == "5_3" else ""
            self.assertIn("sbatch --nodes=1 --ntasks-per-node=2 --gpus-per-node=2 --cpus-per-task=1 "
                          f"{SCRIPTS}/i2v_2gpu.sh {shard}'my rows.csv'\n", record)
            self.assertIn("requeued=yes\nreason=stopped early\nexit_code=85\n", record)
            self.assertIn(f"account: status --job {job} {self.folder}/out", done.stdout)

    def test_a_usage_error_leaves_nothing_behind(self):
        done = self.start_job(body="exit 2")
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertFalse((self.folder / "out").exists())

    def test_an_output_folder_that_cannot_be_made_is_left_to_the_program(self):
        (self.folder / "file").write_text("")
        for output in ("file/out", ""):
            done = self.start_job(output=output, body="exit 3")
            self.assertEqual(done.returncode, 3, done.stdout + done.stderr)

    def test_a_launcher_that_does_not_start_the_ranks_is_named(self):
        self.stand_in("ompi_info", "echo mca:pmix:ext3x:version:component:4.1.4")
        text = (f"mkdir {self.folder}/job; start_number=1 start_record={self.folder}/job/start-1 launcher=srun launcher_kind=pmix; "
                "silence_s=1; start_watcher; /bin/sleep 3; stop_watcher")
        done = self.bash(text)
        self.assertIn("no rank has passed MPI_Init after 1 s. The job goes on waiting.", done.stdout)
        self.assertIn("Launcher: srun --mpi=pmix; Slurm has: pmix ; the MPI library has PMIx: ext3x 4.1.4.", done.stdout)
        self.assertEqual(done.stdout.count("no rank has passed"), 1)
        (self.folder / "job" / "start-1.mpi").write_text("")
        self.assertNotIn("no rank", self.bash(text.replace("mkdir", "ls")).stdout)

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
        done = self.start_job(SLURM_GPUS_PER_TASK="1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the ranks see all GPUs of their node all the same", done.stdout)
        variables = dict(line.partition("=")[::2] for line in (self.folder / "srun.env").read_text().splitlines())
        self.assertEqual(variables["SLURM_GPU_BIND"], "none")
        self.assertNotIn("SLURM_GPUS_PER_TASK", variables)

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
        for path in [*SCRIPTS.glob("i2v_*.sh"), SCRIPTS / "common.sh", *SCRIPTS.glob("lib/*.sh")]:
            text = path.read_text().replace("\\\n", " ")
            messages += re.findall(r'(?:\bdie|\bsay) "((?:not requeued|[^"$]*\$?)[^\n]*)', text) if path.name == "requeue.sh" else \
                re.findall(r'\bdie "([^\n]*)', text)
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
        self.assertEqual(read - known, set(), "read, and not in slurm/lib/names.sh")
        self.assertEqual(known - read, {"WAN_JOB_START", "WAN_BENCH"}, "in slurm/lib/names.sh, and never read")

    # --- where the scripts find the checkout ---

    def checkout(self, folder: Path) -> Path:
        """A copy of the scripts, with a common.sh that says where it lies."""
        shutil.copytree(SCRIPTS, folder / "slurm")
        (folder / "slurm" / "common.sh").write_text('echo "found: $project"; exit 0\n')
        return folder

    def start_copy(self, name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """As slurmd does: a copy in the spool folder, from another folder."""
        spool = self.folder / "spool" / "job00007"
        spool.mkdir(parents=True, exist_ok=True)
        shutil.copy(SCRIPTS / name, spool / "slurm_script")
        return subprocess.run(["bash", str(spool / "slurm_script"), *arguments], text=True, capture_output=True, cwd="/", timeout=60,
                              check=False,
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
