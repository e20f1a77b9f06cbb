"""Batches of the real program in several starts, and as array tasks, on CPU ranks: campaigns against the seconds of run.json.

By default two starts that go on for a second after their first videos. With WAN_NIGHTLY=1 five starts of 20 s and three array
tasks, within 3 %.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
from wan_analysis.campaign import MISSING_TIME, find_campaigns
from wan_analysis.run import gather_runs
from wan_analysis.trace_file import read_traces

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("WAN_BATCH", PROJECT / "build" / "bin" / "wan_batch"))
MPIEXEC = os.environ.get("WAN_MPIEXEC") or shutil.which("mpirun")
NIGHTLY = bool(os.environ.get("WAN_NIGHTLY"))
STARTS, TASKS, SECONDS, ROWS = (5, 3, 20, 400) if NIGHTLY else (2, 2, 1, 40)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}

pytestmark = pytest.mark.skipif(not PROGRAM.exists() or MPIEXEC is None, reason="wan_batch is not built, or there is no mpirun")


class Batch:
    """Runs of one batch in one output folder, each with a record of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        rows = [f"{PROJECT}/inputs/toy/images/cat_on_beach.png,row {number},96*64,5,4" for number in range(ROWS)]
        (folder / "rows.csv").write_text("image,prompt,size,frame_num,sample_steps\n" + "\n".join(rows) + "\n", encoding="utf-8")
        self.records: list[Path] = []
        self.running: list[subprocess.Popen] = []

    def start(self, ranks: int, *options: str) -> None:
        record = self.folder / f"record_{len(self.records)}.json"
        launcher = [MPIEXEC, "--oversubscribe", "-np", str(ranks)] if ranks > 1 else []
        command = [*launcher, PROGRAM, "--ckpt-dir", PROJECT / "inputs/toy/checkpoint", "--device", "cpu", "--base-seed", "1",
                   "--log-level", "quiet", "--output-dir", self.folder / "out", "--run-record", record, *options, self.folder / "rows.csv"]
        self.running.append(subprocess.Popen(list(map(str, command)), env=os.environ | ENVIRONMENT, start_new_session=True))
        self.records.append(record)

    def stop(self) -> None:
        """Lets the runs go on for SECONDS after they made two videos each, asks them to stop, and waits for their ends."""
        self.wait_for_videos(2 * len(self.running))
        time.sleep(SECONDS)
        for process in self.running:
            for rank in _ranks_of(process.pid):
                os.kill(rank, signal.SIGTERM)
        for process in self.running:
            assert process.wait(timeout=300) in (0, 85)
        self.running.clear()

    def wait_for_videos(self, more: int) -> None:
        wanted, given_up_s = self.made() + more, time.monotonic() + 120
        while self.made() < wanted and time.monotonic() < given_up_s:
            time.sleep(0.1)

    def seconds(self) -> list[tuple[float, float]]:
        """Start and end of each run in seconds since 1970: the middle of the second that its record tells, and the time of the record."""
        return [(datetime.fromisoformat(self._started(record)).timestamp() + 0.5, record.stat().st_mtime) for record in self.records]

    @staticmethod
    def _started(record: Path) -> str:
        return json.loads(record.read_text(encoding="utf-8"))["started"]

    def made(self) -> int:
        return len(list((self.folder / "out").glob("*.mp4")))

    def campaign(self):
        traces = read_traces([self.folder / "out"])
        assert traces.problems == []
        (campaign,) = find_campaigns(gather_runs(traces.groups))
        begun = {run.groups[0].attributes["started"][: len("2026-11-30T10:00:00")] + "Z" for run in campaign.runs}
        assert {self._started(record) for record in self.records if record.exists()} <= begun  # a run starts before it loads
        return campaign


def _ranks_of(pid: int) -> list[int]:
    """The processes of wan_batch that `pid` is or started."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    below = [rank for child in children for rank in _ranks_of(child)]
    own = [pid] if Path(f"/proc/{pid}/comm").read_text().strip() == PROGRAM.name else []
    return own + below


def close(runs: int, seconds: float) -> float:
    """3 %, the half second on either side of a start that its record tells, and 0.1 s from the trace's end to the record's."""
    return 0.03 * seconds + 0.6 * runs


def test_a_batch_in_several_starts(tmp_path):
    batch = Batch(tmp_path / "batch")
    for _ in range(STARTS):
        batch.start(2, "--group-size", "1")
        batch.stop()
    campaign, records = batch.campaign(), batch.seconds()
    total_s = sum(end - begin for begin, end in records)
    assert len(campaign.runs) == STARTS
    assert campaign.gpus == 2
    assert campaign.items_done == batch.made() > STARTS
    assert campaign.running_s == pytest.approx(total_s, abs=close(STARTS, total_s))
    assert campaign.rank_hours * 3600 == pytest.approx(2 * total_s, abs=2 * close(STARTS, total_s))
    assert campaign.items_per_hour == pytest.approx(batch.made() / campaign.running_s * 3600)
    assert campaign.starts["steps_lost"].sum() == 0  # each start saved the steps of the items in flight
    assert campaign.lines()[-1] == MISSING_TIME


def test_the_same_as_array_tasks(tmp_path):
    batch = Batch(tmp_path / "batch")
    for task in range(TASKS):
        batch.start(1, "--shard", f"{task}/{TASKS}")
    batch.stop()
    campaign, records = batch.campaign(), batch.seconds()
    whole_s = max(end for _, end in records) - min(begin for begin, _ in records)
    total_s = sum(end - begin for begin, end in records)
    assert (len(campaign.runs), campaign.gpus) == (TASKS, TASKS)
    assert campaign.items_done == batch.made() > TASKS
    assert campaign.running_s == pytest.approx(whole_s, abs=close(1, whole_s))
    assert campaign.rank_hours * 3600 == pytest.approx(total_s, abs=close(TASKS, total_s))


def test_steps_of_a_killed_start_are_lost_and_repeated(tmp_path):
    """Kill -9 loses what was not saved; the next start makes it again, and each item counts once."""
    batch = Batch(tmp_path / "batch")
    batch.start(1, "--checkpoint-interval", "60")
    batch.wait_for_videos(1)
    time.sleep(SECONDS)
    batch.running[0].kill()
    killed_s = time.time()
    batch.running[0].wait()
    batch.running.clear()
    # The trace keeps what ended more than half a second before a kill. Videos that are younger may be missing in it.
    young = sum(video.stat().st_mtime > killed_s - 1 for video in (batch.folder / "out").glob("*.mp4"))
    batch.start(1)
    batch.stop()
    campaign = batch.campaign()
    assert (len(campaign.runs), campaign.gpus) == (2, 1)
    assert batch.made() - young <= campaign.items_done <= batch.made()
    assert campaign.starts["steps_lost"].tolist()[1] == 0
    assert campaign.starts["steps_repeated"].tolist()[0] == 0
    assert campaign.starts["steps_repeated"].sum() == campaign.starts["steps_lost"].sum() <= 4
