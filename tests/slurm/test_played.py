"""The decisions of the batch scripts when a job ends, without a Slurm."""

import unittest

from played_case import SCRIPTS, STOPPED_EARLY, PlayedCase


class Ends(PlayedCase):
    # --- what is decided when a job has to stop ---

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

    def test_a_controller_that_is_stopping_answers_oddly_and_is_asked_again(self):
        self.scontrol(away=6)
        text = (self.bin / "scontrol").read_text().replace("#!/bin/bash\n", "")
        self.stand_in("scontrol", text.replace("slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
                                               "Unexpected message received for job 7"))
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

    def finish_without_record(self, *, later: str = "", run: bool = True):
        """The launcher has ended with 0; the program writes its record, if at all, while the script waits."""
        ledger = self.folder / "job"
        ledger.mkdir(exist_ok=True)
        (ledger / "start-1.run.json").unlink(missing_ok=True)
        if run:
            (ledger / "start-1.group-0.json").write_text('{"failed":0,"in_hand":1,"made":0,"steps_made":9}\n')
        self.stand_in("sleep", f"echo '{later}' >{ledger}/start-1.run.json" if later else "exit 0")
        return self.bash(f"ledger={ledger} start_number=1 start_record={ledger}/start-1 scratch= stop_signal= stopped_at=0 "
                         f"end_code={STOPPED_EARLY} exit_code=0 launcher=srun program=/bin/false; finish_job")

    def test_a_launcher_that_lost_its_node_and_ends_with_0_is_not_believed(self):
        self.scontrol(state="NODE_FAIL")
        done = self.finish_without_record(later=f'{{"exit_code": {STOPPED_EARLY}, "steps_gained": 9, "made": 0}}')
        self.assertEqual(done.returncode, STOPPED_EARLY, done.stdout + done.stderr)
        self.assertIn("stopped early: 9 steps and 0 items gained", done.stdout)
        self.assertIn("Slurm has ended this start: a node was lost, or somebody requeued the job", done.stdout)
        done = self.finish_without_record()
        self.assertEqual(done.returncode, STOPPED_EARLY, done.stdout)
        self.assertIn("srun ended with 0, and the program has left no record of its end", done.stdout)
        self.assertIn("Slurm has ended this start: a node was lost", done.stdout)

    def test_a_launcher_that_ends_with_0_without_a_record_and_without_a_reason_is_an_error(self):
        self.scontrol()
        done = self.finish_without_record()
        self.assertEqual((done.returncode, self.requeued()), (1, []), done.stdout + done.stderr)
        self.assertIn("reason=an error ended the run\n", (self.folder / "job" / "start-1").read_text())

    def test_what_begins_no_run_leaves_no_record(self):
        """--plan, for example."""
        self.scontrol()
        self.assertEqual(self.finish_without_record(run=False).returncode, 0)

    # --- ranks that die ---

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
            self.assertRegex(record, r"(?m)^command=cd / && WAN_BATCH=\S+ ")
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


if __name__ == "__main__":
    unittest.main()
