"""First steps on a cluster: where MPI cannot start, where console, home folder or GPUs are missing, on odd file systems."""

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from cli_case import CHECKPOINT, DONE, FAILURE, MPIEXEC, PROGRAM, PROJECT, SMALL, USAGE, CliCase, each, environment, nightly

DOCTOR = Path(os.environ.get("WAN_DOCTOR", PROGRAM.parent / "wan_doctor"))
STOPPED = 85
SHIM = os.environ.get("WAN_FILE_SYSTEM_SHIM", "")
# `srun --pty bash` without PMIx: Open MPI takes this for a direct start by srun, finds nobody to ask, and ends the process.
INTERACTIVE = {"SLURM_JOB_ID": "7", "SLURM_JOBID": "7", "SLURM_NODELIST": "n1", "SLURM_JOB_NODELIST": "n1", "SLURM_NTASKS": "1",
               "SLURM_STEP_ID": "0", "SLURM_STEPID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


class StartCase(CliCase):
    def start(self, *words, variables: dict[str, str] | None = None, without: tuple[str, ...] = (),
              **options) -> subprocess.CompletedProcess:
        variables = {name: value for name, value in (environment() | (variables or {})).items() if name not in without}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.run([str(word) for word in words], env=variables, cwd=self.folder, text=True, timeout=120, check=False,
                              stdin=subprocess.DEVNULL, **streams)

    def run_words(self, *more) -> list:
        return [PROGRAM, "--device", "cpu", "--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, self.good_manifest(), *more]

    def check_made(self, done: subprocess.CompletedProcess) -> None:
        self.assertEqual(done.returncode, DONE, done)
        self.assertEqual(set(self.records()), {"one"}, done)
        self.assertIn("checkpoint loaded", (self.out / "wan_batch.log").read_text())


class Starts(StartCase):
    def looks(self) -> dict[str, list]:
        """All that only looks, by name."""
        self.out.mkdir(exist_ok=True)
        (self.out / "run.json").write_text('{"run": "r", "version": "0", "exit_reason": "done", "counts": {}}')
        return {"help": [PROGRAM, "--help"], "version": [PROGRAM, "--version"], "status": [PROGRAM, "status", self.out],
                "plan": self.run_words("--plan"), "dry-run": self.run_words("--dry-run"), "unknown option": [PROGRAM, "--bogus"],
                "list-rows": [PROGRAM, "--list-rows", self.good_manifest()],
                "doctor": [DOCTOR, "--json", "--ckpt-dir", CHECKPOINT, "--output-dir", self.out]}

    def check_needs_no_mpi(self, *names):
        """Each start that only looks, in a Slurm step in which MPI_Init would fail."""
        looks = self.looks()
        for name in names or looks:
            with self.subTest(name):
                done = self.start(*looks[name], variables=INTERACTIVE)
                self.assertNotIn("MPI_Init", done.stderr)
                self.assertNotIn("orte", done.stderr.lower())
                if name == "unknown option":
                    self.assertEqual((done.returncode, done.stderr.count("error:")), (USAGE, 1), done.stderr)
                elif name == "doctor":
                    launch = next(found for found in json.loads(done.stdout)["findings"] if found["check"] == "MPI launch")
                    self.assertEqual(launch["verdict"], "WARN", launch)
                    self.assertIn("srun --mpi=pmix", launch["remedy"])
                elif name != "status":
                    self.assertEqual(done.returncode, DONE, done)

    def test_the_doctor_needs_no_mpi(self):
        self.check_needs_no_mpi("doctor")

    def test_a_dry_run_needs_no_mpi(self):
        self.check_needs_no_mpi("dry-run")

    def test_a_status_needs_no_mpi(self):
        self.check_needs_no_mpi("status")

    @nightly
    def test_what_only_looks_needs_no_mpi(self):
        self.check_needs_no_mpi()

    def path_without_ssh(self) -> Path:
        """A folder for PATH as in a container without ssh: Open MPI's programs, and the words that jobs/common.sh uses."""
        folder = self.folder / "programs"
        folder.mkdir()
        for name in ("orted", "mpirun", "orterun", "env", "bash", "id", "dirname", "basename", "sh"):
            if (program := shutil.which(name)) is not None:
                (folder / name).symlink_to(Path(program).resolve() if name != "mpirun" else program)
        return folder

    def test_a_start_without_mpirun_needs_no_ssh(self):
        self.check_made(self.start(*self.run_words(), variables={"PATH": str(self.path_without_ssh())}))

    def begin(self, out: Path, variables: dict[str, str], **changes: str) -> subprocess.Popen:
        words = self.run_words()
        for name, value in ({"output-dir": out} | changes).items():
            words[words.index("--" + name.replace("_", "-")) + 1] = value
        with (self.folder / f"{out.name}.log").open("w", encoding="utf-8") as log:
            return subprocess.Popen([str(word) for word in words], env=environment() | variables, cwd=self.folder,
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def test_starts_at_the_same_time_need_no_ssh(self):
        """Open MPI's isolated starts share one folder: each removes it at its end, which ends another one that is in MPI_Init."""
        shared = self.folder / "tmp"
        shared.mkdir()
        variables = {"PATH": str(self.path_without_ssh()), "TMPDIR": str(shared)}
        long = self.begin(self.folder / "long", variables, sample_steps="1000", frame_num="81")
        self.addCleanup(long.kill)
        log = self.folder / "long" / "wan_batch.log"
        deadline = time.monotonic() + 60
        while not (log.exists() and "checkpoint loaded" in log.read_text()):
            self.assertIsNone(long.poll(), (self.folder / "long.log").read_text())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        folders = [path for path in shared.rglob("*") if path.is_dir()]  # MPI's, of this start alone
        for process in [self.begin(self.folder / f"out{number}", variables) for number in range(2)]:
            self.assertEqual(process.wait(timeout=120), DONE, [path.read_text() for path in self.folder.glob("out?.log")])
        self.assertIsNone(long.poll(), (self.folder / "long.log").read_text())
        self.assertEqual([path for path in folders if not path.is_dir()], [], "another start removed MPI's folders of this one")
        long.send_signal(signal.SIGTERM)
        self.assertEqual(long.wait(timeout=60), STOPPED, (self.folder / "long.log").read_text())

    def test_mpirun_of_the_jobs_needs_no_ssh(self):
        words = " ".join(shlex.quote(str(word)) for word in self.run_words())
        script = f'. {PROJECT}/jobs/common.sh && mpi_environment && mpirun "${{mpi_options[@]}}" -np 1 {words}'
        self.check_made(self.start(shutil.which("bash"), "-c", script, variables={"PATH": str(self.path_without_ssh())}))

    def test_a_run_in_a_step_without_pmix_says_how_to_start(self):
        done = self.start(*self.run_words(), variables=INTERACTIVE)
        self.assertEqual(done.returncode, USAGE, done)
        message = done.stderr.rpartition("error: ")[2]
        self.assertIn("srun --mpi=pmix", message)
        self.assertIn("mpirun", message)
        self.assertFalse(self.out.exists())

    def test_one_rank_where_slurm_has_two_tasks_is_refused(self):
        done = self.start(*self.run_words(), variables={"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"})
        self.assertEqual((done.returncode, done.stderr.count("error:")), (USAGE, 1), done)
        self.assertIn("srun --mpi=pmix", done.stderr)
        self.assertFalse(self.out.exists())
        self.assertEqual(self.start(*self.run_words("--dry-run"), variables={"SLURM_NTASKS": "2"}).returncode, DONE)

    @each({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0,1"}, {"SLURM_STEP_GPUS": "0"}, {"SLURM_GPUS_ON_NODE": "2"})
    def test_gpus_that_are_there_and_not_seen_are_not_replaced_by_the_cpu(self, variables):
        words = [word for word in self.run_words() if word not in ("--device", "cpu")]
        for more in ([], ["--dry-run"]):
            done = self.start(*words, *more, variables=variables)
            self.assertEqual((done.returncode, done.stderr.count("error:")), (USAGE, 1), done)
            self.assertIn("--device cpu", done.stderr)
            self.assertFalse(self.out.exists())

    def test_the_cpu_may_be_asked_for_beside_gpus(self):
        self.assertEqual(self.start(*self.run_words("--dry-run"), variables={"SLURM_JOB_GPUS": "0,1"}).returncode, DONE)

    def test_a_console_that_takes_nothing(self):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            self.check_made(self.start(*self.run_words(), stdout=full, stderr=full))

    def test_a_console_that_is_closed(self):
        self.check_made(self.start("bash", "-c", '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}', "-", *self.run_words()))
        self.check_made(self.start("bash", "-c", '"$@" >&- 2>&-', "-", *self.run_words("--no-resume")))

    def test_what_was_asked_for_and_cannot_be_written(self):
        done = self.start("bash", "-c", '"$@" | head -1; exit ${PIPESTATUS[0]}', "-", PROGRAM, "--help")
        self.assertEqual((done.returncode, done.stderr), (DONE, ""))
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            done = self.start(PROGRAM, "--version", stdout=full)
        self.assertEqual(done.returncode, FAILURE)
        self.assertIn("cannot write to standard output: No space left", done.stderr)

    def test_a_terminal_that_goes_away(self):
        ours, theirs = pty.openpty()
        words = [str(word) for word in self.run_words("--sample-steps", "40")]
        process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=self.folder, env=environment(),
                                   start_new_session=True)
        os.close(theirs)
        os.read(ours, 1)  # it is at work
        os.close(ours)  # and the terminal is closed
        process.send_signal(1)  # SIGHUP, which a shell would pass on
        self.assertEqual(process.wait(timeout=120), DONE)
        self.assertEqual(set(self.records()), {"one"})

    @unittest.skipIf(os.getuid() != 0, "needs root to become somebody else")
    def test_nobody_at_home(self):
        stranger = 54321  # has no entry in the passwd file
        self.folder.chmod(0o777)
        variables = {"HOME": "gone", "TMPDIR": str(self.folder)}
        done = self.start("setpriv", f"--reuid={stranger}", f"--regid={stranger}", "--clear-groups", *self.run_words(), variables=variables,
                          without=("HOME",))
        if "Permission denied" in done.stderr and not self.out.exists():
            self.skipTest("the program lies in a folder that is closed to others")
        self.check_made(done)

    def test_a_folder_for_temporary_files_that_is_not_there(self):
        """Open MPI would end the process with a message of its own, exit code 1."""
        gone = str(self.folder / "gone")
        said = f"TMPDIR={gone} is not a writable folder"
        done = self.start(*self.run_words(), variables={"TMPDIR": gone})
        self.assertEqual(done.returncode, USAGE, done.stderr)
        self.assertIn(f"error: {said}, but MPI makes its files there: make that folder, or unset TMPDIR", done.stderr)
        self.assertNotIn("MPI_Init", done.stderr)
        done = self.start(*self.run_words("--dry-run"), variables={"TMPDIR": gone})
        self.assertEqual(done.returncode, DONE, done.stderr)
        self.assertIn(f"warning: {said}", done.stderr)

    @unittest.skipIf(os.getuid() != 0, "needs root to become somebody else")
    def test_two_users_of_one_group_share_a_folder(self):
        self.folder.chmod(0o777)
        shared = self.folder / "shared"
        shared.mkdir()
        os.chown(shared, 0, 54320)
        shared.chmod(0o2775)
        self.out = shared / "out"
        for user, more in ((54321, ()), (54322, ("--no-resume",))):
            done = self.start("setpriv", f"--reuid={user}", "--regid=54320", "--clear-groups", "bash", "-c", 'umask 002; exec "$@"', "-",
                              *self.run_words(*more), variables={"HOME": "/", "TMPDIR": "/tmp"})
            if "Permission denied" in done.stderr and not self.out.exists():
                self.skipTest("the program lies in a folder that is closed to others")
            self.check_made(done)
        for path in self.out.rglob("*"):
            mode = path.lstat().st_mode & 0o777
            self.assertEqual(mode & 0o070, 0o070 if path.is_dir() else 0o060, f"{path}: {mode:o}")


@unittest.skipIf(not SHIM, "the library that plays file systems is not built")
class PlayedFileSystems(StartCase):
    def played(self, words: str, *more, ranks: int = 0) -> subprocess.CompletedProcess:
        launcher = [MPIEXEC, "-np", ranks, "--oversubscribe", "-x", f"LD_PRELOAD={SHIM}", "-x", f"WAN_PLAYED={words}"] if ranks else []
        without = ("OMPI_MCA_btl_vader_single_copy_mechanism",) if words.startswith("cma") else ()
        variables = {} if ranks else {"LD_PRELOAD": SHIM, "WAN_PLAYED": words}
        return self.start(*launcher, *self.run_words(*more), variables=variables, without=without)

    @each("flock=38,link=1,dirsync=22", "flock=37,link=95,dirsync=95", "flock=38,link=22", "flock=95,inode")
    def test_a_file_system_without_locks_links_and_flushes(self, words):
        done = self.played(words, "--no-resume")
        self.check_made(done)
        self.assertEqual(done.stderr.count("warning:"), 2, done.stderr)
        self.assertIn("nothing says that the model is distilled", done.stderr)
        self.assertIn("cannot be locked", done.stderr)
        self.assertEqual([path.name for path in (self.out / ".claims").glob("*") if not path.name.startswith(".batch")], [])

    def test_doctor_and_dry_run_find_what_it_lacks(self):
        variables = {"LD_PRELOAD": SHIM, "WAN_PLAYED": "flock=38,link=1,dirsync=22"}
        done = self.start(DOCTOR, "--json", "--output-dir", self.out, variables=variables)
        found = [finding for finding in json.loads(done.stdout)["findings"] if finding["check"] == "output folder"]
        self.assertEqual([finding["verdict"] for finding in found], ["WARN"] * 3, found)
        done = self.start(*self.run_words("--dry-run"), variables=variables)
        self.assertEqual(done.returncode, DONE, done)
        self.assertEqual(done.stderr.count("warning:"), 3, done)
        self.assertIn("nothing says that the model is distilled", done.stderr)
        self.assertFalse(self.out.exists())

    def test_a_container_that_forbids_to_read_other_processes(self):
        done = self.played("cma=1", "--size", "128*128", ranks=2)
        self.check_made(done)
        self.assertNotIn("Read -1", done.stderr)


class InTheWay(StartCase):
    @each("run.json", "trace")
    def test_links_and_pipes_in_a_shared_folder(self, name):
        """Two of the names; all of them are tried in tests/unit (OutputProbe, TraceIndex)."""
        precious = self.folder / "precious"
        precious.write_text("mine")
        self.out.mkdir()
        if name == "trace":
            (self.out / name).symlink_to(precious)
        else:
            os.mkfifo(self.out / name)
        for more in ([], ["--dry-run"]):
            done = self.start(*self.run_words(*more))
            self.assertEqual((done.returncode, done.stderr.count("error:")), (USAGE, 1), done)
            self.assertIn(f"{name} is in the way", done.stderr)
        self.assertEqual(precious.read_text(), "mine")
        self.assertEqual([path.name for path in self.out.iterdir()], [name])

    def test_doctor_names_it_too(self):
        self.out.mkdir()
        os.mkfifo(self.out / "trace.h5")
        done = self.start(DOCTOR, "--json", "--output-dir", self.out)
        self.assertEqual(done.returncode, FAILURE)
        found = [finding for finding in json.loads(done.stdout)["findings"] if finding["check"] == "output folder"]
        self.assertEqual([finding["verdict"] for finding in found], ["FAIL"])
        self.assertIn("trace.h5 is in the way", found[0]["found"])

    def test_too_little_space_is_found_by_the_dry_run(self):
        if os.getuid() != 0:
            self.skipTest("needs root to mount a small file system")
        self.out.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", self.out], capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest("this container may not mount")
        self.addCleanup(subprocess.run, ["umount", str(self.out)], check=False)
        done = self.start(*self.run_words("--dry-run"))
        self.assertEqual((done.returncode, done.stderr.count("error:")), (USAGE, 1), done)
        self.assertIn("MiB free", done.stderr)
