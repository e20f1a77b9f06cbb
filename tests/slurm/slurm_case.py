"""Shared by the Slurm tests: one cluster per run, submitting the project's scripts as a user would, and waiting for jobs."""

import atexit
import json
import pwd
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from cli_case import CHECKPOINT, PROGRAM, PROJECT, SMALL, png
from cluster import MPI_ON_ONE_NODE, MPI_ON_TWO_NODES, Cluster, UnavailableError, fields_of, wait_until

SCRIPTS = PROJECT / "slurm"
STOPPED_EARLY = 85
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}


@cache
def cluster() -> Cluster:
    """Started at first use, stopped with this process."""
    made = Cluster()
    atexit.register(made.stop)
    return made


@dataclass
class Job:
    id: str  # of an array's task: ARRAY_INDEX
    log: Path

    def fields(self) -> dict[str, str]:
        return fields_of(cluster().ask("scontrol", "show", "job", "-o", self.id))

    @property
    def state(self) -> str:
        return self.fields()["JobState"]

    @property
    def exit_code(self) -> int:
        """The batch script's."""
        return int(self.fields()["ExitCode"].split(":")[0])

    @property
    def restarts(self) -> int:
        return int(self.fields()["Restarts"])

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def wait(self, timeout_s: float = 120) -> "Job":
        """Until it has ended for good."""
        wait_until(lambda: self.state in FINAL, timeout_s, f"job {self.id} did not end:\n{self.text()}", interval_s=0.3)
        return self

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float = 90) -> None:
        """Throws AssertionError when the job ends first."""
        def check() -> None:
            if self.state in FINAL:
                raise AssertionError(f"job {self.id} ended before {what}:\n{self.text()}")
        wait_until(condition, timeout_s, f"job {self.id}: no {what}\n{self.text()}", check)

    def signal(self, name: str) -> None:
        """To the batch shell alone, as --signal=B: does."""
        cluster().ask("scancel", "--batch", f"--signal={name}", self.id)


class SlurmCase(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        try:
            cluster()
        except UnavailableError as reason:
            raise unittest.SkipTest(str(reason)) from reason

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="test_", dir=cluster().folder))  # goes with the cluster, also after a kill
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o777)
        self.out = self.folder / "out"
        (self.folder / "good.png").write_bytes(png(96, 64))

    def manifest(self, count: int, steps: int = 2) -> Path:
        """`count` rows, row0 to rowN."""
        path = self.folder / "rows.csv"
        rows = "".join(f"row{index},good.png,A white cat number {index},{steps}\n" for index in range(count))
        path.write_text("id,image,prompt,sample_steps\n" + rows)
        return path

    def arguments(self, manifest: Path, out: Path | None = None) -> list[str]:
        """Arguments of wan_batch: the toy checkpoint, small videos."""
        return ["--device", "cpu", "--ckpt-dir", str(CHECKPOINT), "--output-dir", str(out or self.out), *SMALL, str(manifest)]

    def submit(self, script: str, arguments: list[str], options: tuple[str, ...] = (), knobs: dict[str, str] | None = None,
               user: str | None = None) -> Job:
        """sbatch in the scratch folder, so that the script has to find the checkout by itself."""
        shared = {"OMPI_MCA_btl_vader_backing_directory": str(cluster().shared_memory)}  # in /dev/shm, killed ranks would leave theirs
        mpi = MPI_ON_TWO_NODES if script == "i2v_multinode.sh" else MPI_ON_ONE_NODE | shared
        environment = cluster().environment() | mpi | {"WAN_BATCH": str(PROGRAM), "OMP_NUM_THREADS": "1", **(knobs or {})}
        if user is None:
            environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        else:
            environment |= {"HOME": pwd.getpwnam(user).pw_dir, "USER": user}
        # So long that the scripts' own --signal does not come within the test.
        command = ["sbatch", "--parsable", "--cpus-per-task=1", "--time=60", *options, str(SCRIPTS / script), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60,
                              **({"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}))
        self.assertEqual(done.returncode, 0, done.stderr)
        number = done.stdout.strip()
        name = next(line.split("=")[-1] for line in (SCRIPTS / script).read_text().splitlines() if line.startswith("#SBATCH --job-name="))
        job = Job(number, self.folder / f"{name}-{number}.log")
        self.addCleanup(subprocess.run, ["scancel", "--quiet", "--signal=KILL", "--full", number], env=cluster().environment())
        self.addCleanup(subprocess.run, ["scancel", "--quiet", number], env=cluster().environment())
        return job

    def tasks(self, array: Job, count: int) -> list[Job]:
        """The tasks of an array 0 to count - 1."""
        stem = array.log.stem
        return [Job(f"{array.id}_{index}", self.folder / f"{stem}_{index}.log") for index in range(count)]

    def assert_completed(self, job: Job) -> None:
        self.assertEqual((job.state, job.exit_code), ("COMPLETED", 0), job.text())

    def records(self, out: Path | None = None) -> dict[str, dict]:
        """The records of finished items by id."""
        records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (out or self.out).glob("*.json")}
        return {name: record for name, record in records.items() if record.get("status") == "done"}


def ranks_of(job: Job) -> dict[int, int]:
    """Process ids of the job's ranks of wan_batch, by rank."""
    found = {}
    number = job.fields()["JobId"].encode()
    for process in Path("/proc").iterdir():
        try:
            if not process.name.isdecimal() or (process / "exe").readlink() != PROGRAM.resolve():
                continue
            variables = dict(word.partition(b"=")[::2] for word in (process / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        rank = variables.get(b"PMIX_RANK", variables.get(b"OMPI_COMM_WORLD_RANK"))
        if rank is not None and variables.get(b"SLURM_JOB_ID") == number:
            found[int(rank)] = int(process.name)
    return found
