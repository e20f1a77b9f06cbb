"""extend_prompts.sh as a user submits it: two tasks share the rows, a stop keeps those that are done."""

import csv
import sys
import unittest

from slurm_case import CHECKPOINT, PROJECT, SlurmCase

sys.path.insert(0, str(PROJECT / "tests" / "prompts"))

ROWS = 12


class Prompts(SlurmCase):
    def setUp(self):
        super().setUp()
        import tiny_models

        self.model = tiny_models.make_text_model(self.folder / "tiny")
        self.rows = self.folder / "rows.csv"
        self.rows.write_text("prompt\n" + "".join(f"a cat number {n}\n" for n in range(ROWS)))
        self.output = self.folder / "longer.csv"

    def extend(self, *words: str, tasks: int = 2):
        arguments = [str(self.rows), "-o", str(self.output), "--model", str(self.model), "--tokenizer", str(CHECKPOINT),
                     "--target-lang", "en", "--device", "cpu", "--max-new-tokens", "8", *words]
        return self.submit("extend_prompts.sh", arguments, (f"--ntasks-per-node={tasks}", "--gpus-per-node=2"))

    def written(self) -> list[dict]:
        with self.output.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def journals(self) -> list[int]:
        """The rows that each start of a task has kept."""
        return [path.read_text().count("\n") for path in (self.folder / "longer.csv.rows").glob("rows-*.jsonl")]

    def test_two_tasks_share_the_rows(self):
        job = self.extend().wait()
        self.assert_completed(job)
        self.assertEqual(self.journals(), [ROWS // 2] * 2, job.text())
        self.assertEqual([row["extend_status"] for row in self.written()], ["extended"] * ROWS)
        self.assertIn(f"longer.csv: {ROWS} rows, {ROWS} extended", job.text())
        text = self.output.read_bytes()
        self.output.unlink()
        self.assert_completed(self.extend(tasks=1).wait())
        self.assertEqual(self.output.read_bytes(), text)
        self.assertEqual(sum(self.journals()), ROWS, "nothing is asked twice")

    def test_a_stop_keeps_the_rows_and_the_next_job_goes_on(self):
        many = 3000
        self.rows.write_text("prompt\n" + "".join(f"a cat number {n}\n" for n in range(many)))
        job = self.extend("--max-new-tokens", "64")
        job.wait_for(lambda: sum(self.journals()) >= 4, "row")
        job.signal("USR1")
        job.wait(60)
        self.assertIn("stopped by SIGUSR1; rows that are done are kept", job.text())
        self.assertIn("not requeued: this start ended after", job.text())
        self.assertEqual(job.exit_code, 1, job.text())
        self.assertFalse(self.output.exists())
        self.rows.write_text("prompt\n" + "".join(f"a cat number {n}\n" for n in range(4)))
        self.assert_completed(self.extend("--max-new-tokens", "64").wait())
        self.assertEqual(len(self.written()), 4)


if __name__ == "__main__":
    unittest.main()
