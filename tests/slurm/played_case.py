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


class PlayedCase(unittest.TestCase):
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

    def crash(self, exit_code: int = 139, *, start: int = 1, steps: int = 0, made: int = 0, in_hand: int = 0, **variables: str):
        """A start in which a signal has ended a rank, after what it had gained."""
        ledger = self.folder / "job"
        ledger.mkdir(exist_ok=True)
        (self.folder / "requeued").unlink(missing_ok=True)
        (ledger / f"start-{start}.group-0.json").write_text(
            f'{{"failed":0,"in_hand":{in_hand},"made":{made},"steps":40,"steps_made":{steps}}}\n')
        self.scontrol()
        return self.finish(exit_code=exit_code, stop_signal="", start=start, **variables)

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
while [[ $1 == -* ]]; do shift; done; exec "$@" """)
        given = {"SLURM_GPUS_ON_NODE": "2", "SLURM_JOB_NUM_NODES": "1", "WAN_BATCH": str(program)} | variables
        return self.start_copy(script, *arguments, **{name: value for name, value in given.items() if value})

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
