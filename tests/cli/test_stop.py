"""Runs that are told to stop: exit code 85, and the next run goes on in mid-item with the same bits."""

import json
import os
import signal
import subprocess
import time

from cli_case import CHECKPOINT, DONE, SMALL, CliCase, environment, nightly
from test_kill import processes_of

STOPPED = 85


class Stopped(CliCase):
    def arguments(self, *extra) -> list:
        manifest = self.manifest("id,image,prompt,sample_steps", "one,good.png,A white cat,2", "two,good.png,A black cat,500")
        return ["--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, "--save-latents", manifest, *extra]

    def start(self, arguments: list, ranks: int) -> subprocess.Popen:
        log = open(self.folder / "stopped.log", "a", encoding="utf-8")  # noqa: SIM115  (closed by the cleanup)
        self.addCleanup(log.close)
        return subprocess.Popen(self.command(*arguments, ranks=ranks), cwd=self.folder, env=environment(), stdout=log, stderr=log)

    def wait_for_steps(self, process: subprocess.Popen, steps: int) -> None:
        self.wait_for_step(process, "two", steps, self.folder / "stopped.log")

    def outputs(self, folder) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("*") if path.suffix in (".mp4", ".safetensors")}

    def check_stop_and_go_on(self, ranks: int, send, extra=()) -> None:
        arguments = self.arguments(*extra)
        for steps in (3, 60):
            process = self.start([*arguments, "--run-record", self.folder / "record.json"], ranks)
            self.wait_for_steps(process, steps)
            send(process)
            self.assertEqual(process.wait(timeout=60), STOPPED, (self.folder / "stopped.log").read_text())
            record = json.loads((self.folder / "record.json").read_text())
            self.assertEqual(record["exit_code"], STOPPED)
            self.assertGreater(record["steps_gained"], 0)
            self.assertLessEqual(set(self.records()), {"one"})  # with two groups the first item may have been stopped, too
            self.assertEqual([path.name for path in self.out.glob(".*.mp4")], [], "something unfinished is left")
        self.assertEqual(len(list((self.out / ".state").glob("two.*"))), 2)
        result = self.run_program(*arguments, ranks=ranks)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(len(self.records()["two"]["resumed_at_steps"]), 2)
        self.assertEqual(list((self.out / ".state").glob("*")), [])

        whole = self.folder / "whole"
        self.assertEqual(self.run_program(*arguments, "--output-dir", whole, ranks=ranks).code, DONE)
        self.assertEqual(self.outputs(self.out), self.outputs(whole))

    def test_sigterm_to_a_bare_process(self):
        self.check_stop_and_go_on(0, lambda process: process.send_signal(signal.SIGTERM))

    def test_sigusr1_through_mpirun(self):
        self.check_stop_and_go_on(2, lambda process: process.send_signal(signal.SIGUSR1))

    def to_last_rank(self, process: subprocess.Popen) -> None:
        subprocess.run(["kill", "-USR1", str(processes_of(process)[-1])], check=True)

    def test_sigusr1_to_a_rank_that_does_not_lead(self):
        import h5py

        manifest = self.manifest("id,image,prompt,sample_steps", "two,good.png,A black cat,500", "three,good.png,A dog,500")
        process = self.start(["--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, manifest], 2)
        self.wait_for_steps(process, 3)
        self.to_last_rank(process)
        self.assertEqual(process.wait(timeout=60), STOPPED, (self.folder / "stopped.log").read_text())
        (trace,) = (self.out / "trace").glob("*.h5")
        with h5py.File(trace, "r") as file:
            self.assertEqual(file["items/id"][:].tolist(), [b"two"], "the run began another item")

    def test_sigusr1_to_one_rank_of_two_groups(self):
        self.check_stop_and_go_on(2, self.to_last_rank, ["--objective", "throughput", "--join-groups", "off"])

    def test_time_limit(self):
        rows = [f"row{number},good.png,A black cat,1000" for number in range(20)]  # a fast machine makes more than one
        manifest = self.manifest("id,image,prompt,sample_steps", *rows)
        for limit_s in (8, 50):  # a busy machine may take longer than the first to start and to end
            out = self.folder / f"out_{limit_s}"
            arguments = ["--ckpt-dir", CHECKPOINT, "--output-dir", out, *SMALL, "--time-limit", f"0-00:00:{limit_s:02}", manifest]
            began = time.monotonic()
            result = self.run_program(*arguments, "--size", "160*96", "--frame-num", "17")
            seconds = time.monotonic() - began
            self.assertEqual(result.code, STOPPED, result)
            self.assertGreater(seconds, limit_s / 2)
            self.assertRegex(result.err, rf"the time limit of {limit_s}(\.0)? s is near")
            gained = json.loads((out / "run.json").read_text())["steps_gained"]
            if gained > 0 and seconds < 0.99 * limit_s:
                return
        self.fail(f"{gained} steps in {seconds:.2f} s of {limit_s}")

    def long_run(self, *extra) -> list:
        """A run that nobody waits for: it takes many seconds on any machine."""
        manifest = self.manifest("id,image,prompt,sample_steps", "two,good.png,A black cat,1000")
        large = ["--size", "160*96", "--frame-num", "33"]
        return ["--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, *large, manifest, *extra]

    def check_stopped(self, process: subprocess.Popen, cause: str, has_begun: bool = True) -> str:
        self.assertEqual(process.wait(timeout=60), STOPPED, (self.folder / "stopped.log").read_text())
        record = json.loads((self.out / "run.json").read_text())
        self.assertEqual((record["stopped_by"], record["exit_code"]), (cause, STOPPED))
        if has_begun:
            self.assertGreater(record["steps_gained"], 0)
        return (self.folder / "stopped.log").read_text()

    def test_the_stop_file(self):
        """It stops a run, keeps the next one from starting, and stays until its owner removes it."""
        file = self.out / "STOP"
        process = self.start(self.long_run(), 0)
        self.wait_for_steps(process, 3)
        file.touch()
        self.assertIn(f"remove {file} and run the same command again", self.check_stopped(process, "stop_file"))
        for extra in ([], ["--dry-run"]):
            self.assert_usage_error(self.run_program(*self.long_run(*extra)), f"{file} is there", "Remove that file to go on")
        self.assertTrue(file.exists())
        status = self.run_program("status", self.out)
        self.assertIn(f"{file} is there", status.out)
        file.unlink()
        process = self.start(self.long_run(), 0)
        self.wait_for_steps(process, 1)
        process.send_signal(signal.SIGTERM)
        self.check_stopped(process, "signal")

    def test_ctrl_c_and_its_repetition_are_one_stop(self):
        process = self.start(self.long_run(), 0)
        self.wait_for_steps(process, 3)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        self.assertIn("came: the step in hand is finished and the item saved", self.check_stopped(process, "signal"))

    def start_long_phase(self) -> subprocess.Popen:
        """A run that is in its first item for much longer than these tests take, and between whose steps nobody asks for signals."""
        process = self.start(self.long_run("--size", "832*480", "--frame-num", "81"), 0)
        self.wait_for_steps(process, 0)
        return process

    def assert_runs_on(self, process: subprocess.Popen, seconds: float) -> None:
        time.sleep(seconds)
        self.assertIsNone(process.poll(), (self.folder / "stopped.log").read_text())

    def assert_left(self, process: subprocess.Popen, within_s: float) -> None:
        self.assertEqual(process.wait(timeout=within_s), STOPPED, (self.folder / "stopped.log").read_text())
        self.assertEqual([path.name for path in self.out.glob("*.mp4")], [])
        self.assertEqual(self.records(), {})

    @nightly
    def test_a_second_sigterm_leaves_and_sigusr1_is_never_a_second(self):
        process = self.start_long_phase()
        process.send_signal(signal.SIGTERM)
        self.assert_runs_on(process, 0.5)
        process.send_signal(signal.SIGTERM)  # within five seconds: the same request
        self.assert_runs_on(process, 5.0)
        process.send_signal(signal.SIGUSR1)
        self.assert_runs_on(process, 1.0)
        process.send_signal(signal.SIGTERM)
        self.assert_left(process, 5)
        self.assertIn("a second signal, SIGTERM, came: the run leaves now", (self.folder / "stopped.log").read_text())

    @nightly
    def test_a_third_signal_ends_the_process_at_once(self):
        process = self.start_long_phase()
        process.send_signal(signal.SIGINT)
        self.assert_runs_on(process, 5.5)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        self.assert_left(process, 2)

    def test_the_end_of_the_slurm_job(self):
        job = ["--size", "160*96", "--frame-num", "17"]
        os.environ["SLURM_JOB_ID"], os.environ["SLURM_JOB_END_TIME"] = "7", str(int(time.time()) + 2)
        self.addCleanup(os.environ.pop, "SLURM_JOB_ID")
        self.addCleanup(os.environ.pop, "SLURM_JOB_END_TIME")
        process = self.start(self.long_run(*job), 0)  # a busy machine may come to the job's end before the first step
        self.assertIn("the end of the Slurm job", self.check_stopped(process, "job_end", has_begun=False))
        self.assertLess(json.loads((self.out / "run.json").read_text())["steps_gained"], 500, "the job's end did not stop the run")

    def test_max_hours(self):
        process = self.start(self.long_run("--size", "160*96", "--frame-num", "17", "--max-hours", "0.0005"), 0)
        self.assertIn("the time limit of 1.8 s is near", self.check_stopped(process, "time_limit", has_begun=False))


class Joined(CliCase):
    def test_idle_groups_join_and_the_result_stays_the_same(self):
        manifest = self.manifest("id,image,prompt,sample_steps", "long,good.png,A white cat,1000")
        arguments = ["--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, "--objective", "throughput", "--save-latents", manifest]
        result = self.run_program(*arguments, "--log-level", "verbose", ranks=4, timeout_s=300)
        self.assertEqual(result.code, DONE, result)
        self.assertIn("4 groups work on it", result.err)
        self.assertEqual(self.records()["long"]["layout"], "cfg2 x ulysses2")
        self.assertEqual(list((self.out / ".claims").glob("*.claim*")), [])
        alone = self.folder / "alone"
        result = self.run_program(*arguments, "--output-dir", alone, "--join-groups", "off", ranks=4, timeout_s=300)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(json.loads((alone / "long.json").read_text())["layout"], "cfg1 x ulysses1")
        self.assertLess(self.difference("long", alone), 1e-5)

    def difference(self, name: str, other) -> float:
        import numpy
        from safetensors.numpy import load_file

        mine, theirs = (load_file(folder / f"{name}.latent.safetensors")["latent"] for folder in (self.out, other))
        return float(numpy.linalg.norm(mine - theirs) / numpy.linalg.norm(theirs))
