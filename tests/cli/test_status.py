"""wan_batch status: how a batch stands, from its files, while it runs and after it was killed."""

import json
import os
import signal
import subprocess
import time
from unittest import mock

from cli_case import CHECKPOINT, DONE, SMALL, SOME_FAILED, USAGE, CliCase, environment


class Status(CliCase):
    def status(self) -> dict:
        result = self.run_program("status", "--json", self.out)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(result.err, "", "MPI was started, or something is wrong")
        return json.loads(result.out)

    def test_of_a_finished_batch(self):
        manifest = self.manifest("id,image,prompt", "one,good.png,A white cat", "bad,absent.png,A white cat", "two,good.png,A dog")
        self.run_batch(manifest, "--shard", "0/2")
        status = self.status()
        self.assertEqual([status[key] for key in ("state", "rows", "done", "failed", "open")], ["stopped", 3, 2, 0, 1])
        self.run_batch(manifest)
        result = self.run_program("status", self.out)
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(result.made, set())
        self.assertIn("finished", result.out)
        self.assertIn("items       3: 2 done, 1 failed, 0 running, 0 open", result.out)
        self.assertIn("bad  image: ", result.out)
        self.assertIn("some items failed (exit code 3)", result.out)
        status = self.status()
        self.assertEqual([status[key] for key in ("rows", "done", "failed", "running", "open")], [3, 2, 1, 0, 0])
        self.assertGreater(status["items_per_hour_overall"], 0)
        self.assertEqual(status["failures"][0]["id"], "bad")
        self.assertEqual(status["last_run"]["exit_code"], 3)

    def test_a_failure_that_was_mended_does_not_count(self):
        def run(size: str, *more: str) -> int:
            rows = ["one,good.png,A white cat,64*64", f"two,good.png,A dog,{size}", *more]
            return self.run_batch(self.manifest("id,image,prompt,size", *rows)).code

        self.assertEqual([run("64*64"), run("wide"), run("64*64")], [DONE, SOME_FAILED, DONE])
        self.assertTrue((self.out / "two.failed.json").exists(), "its row was faulty while its video was there")
        self.assertEqual([self.status()[key] for key in ("done", "failed")], [2, 0])
        with mock.patch.dict(os.environ, {"WAN_JOB_START": str(self.folder / "start-1")}):
            self.assertEqual(run("64*64", "three,good.png,A bird,64*64"), DONE)
            progress = json.loads((self.folder / "start-1.group-0.json").read_text())
            self.assertEqual((progress["rows"], progress["failed_before"], progress["failed"]), (3, 0, 0))
            self.assertEqual(run("wide", "four,good.png,A fish,64*64"), SOME_FAILED)
            self.assertEqual(run("wide", "five,good.png,A frog,64*64"), SOME_FAILED)
            progress = json.loads((self.folder / "start-1.group-0.json").read_text())
            self.assertEqual((progress["rows"], progress["failed_before"], progress["failed"]), (3, 1, 0))

    def test_of_a_running_and_a_killed_batch(self):
        manifest = self.manifest("id,image,prompt,sample_steps", "one,good.png,A white cat,2", "two,good.png,A black cat,1000",
                                 "three,good.png,A dog,2")
        process = subprocess.Popen(self.command("--ckpt-dir", CHECKPOINT, "--output-dir", self.out, *SMALL, manifest), cwd=self.folder,
                                   env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.wait_for_step(process, "two", 1)
            while not (self.out / "one.json").exists() or (self.out / ".claims" / "one.claim").exists():
                self.assertIsNone(process.poll(), "a thread writes it beside the steps")
                time.sleep(0.02)
            status = self.status()
            self.assertEqual([status[key] for key in ("state", "rows", "done", "running", "open")], ["running", 3, 1, 1, 1])
            worker = status["workers"][0]
            self.assertEqual((worker["id"], worker["alive"], worker["pid"]), ("two", True, process.pid))
            self.assertEqual((worker["steps"], worker["phase"]), (1000, "denoise"))
            self.assertGreater(worker["step"], 0)
            self.assertGreater(worker["step_s"], 0)
            self.assertGreater(status["left_s"], 0)
            self.assertIsNone(process.poll())
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(timeout=60)
        status = self.status()
        self.assertEqual([status[key] for key in ("state", "done", "running", "open")], ["stopped", 1, 0, 2])
        self.assertEqual([(worker["id"], worker["alive"]) for worker in status["workers"]], [("two", False)])

    def test_usage(self):
        for arguments, fragments in (((), ("status OUT",)), (("absent",), ("absent", "not a folder")), (("a", "b"), ("'a' and 'b'",)),
                                     (("--jsn", "a"), ("--jsn", "--json")), ((self.folder,), ("holds nothing of wan_batch",))):
            with self.subTest(arguments=arguments):
                self.assert_usage_error(self.run_program("status", *arguments), *fragments)
        result = self.run_program("status", "--help")
        self.assertEqual(result.code, DONE, result)
        self.assertIn("wan_batch status [--json] OUT", result.out)

    def test_a_manifest_of_that_name(self):
        self.manifest("id,image,prompt", "one,good.png,A white cat", name="status")
        result = self.run_batch("./status")
        self.assertEqual(result.code, DONE, result)
        self.assertEqual(self.run_program("status").code, USAGE)
