"""A CPU rank of the real program that is slowed from outside is named, and all time of such a run has a name. Only at night.

WAN_BENCH names the program; without it nothing is run.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from wan_analysis.account import account, unnamed_share
from wan_analysis.run import gather_runs
from wan_analysis.stragglers import slowest, stragglers
from wan_analysis.trace_file import read_traces

PROJECT = Path(__file__).resolve().parents[2]
MODEL = PROJECT / "tests" / "data" / "parity" / "i2v_landscape" / "ckpt" / "high_noise_model" / "config.json"
RANKS, SLOWED = 4, 2
#: The slowed rank stands still for three quarters of the time.
STOPPED_S, RUNNING_S = 0.006, 0.002
BENCH = os.environ.get("WAN_BENCH")


def bench_with_a_slowed_rank(folder):
    """Runs wan_bench on CPU ranks, stops and continues one of them all the time, and returns the run that its trace tells of."""
    options = f"--device cpu --model {MODEL} --size 160*96 --frame-num 9 --steps 60 --warmup 2 --trace {folder}/trace.h5"
    script = f"echo $$ > {folder}/pid.$OMPI_COMM_WORLD_RANK; exec {BENCH} {options}"
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1",
                                "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
    command = [os.environ.get("WAN_MPIEXEC", "mpirun"), "--oversubscribe", "-np", str(RANKS), "bash", "-c", script]
    with (folder / "said.txt").open("w") as said:
        program = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    name = folder / f"pid.{SLOWED}"
    while not (name.exists() and name.read_text().strip()) and program.poll() is None:
        time.sleep(0.01)
    try:
        while program.poll() is None:
            os.kill(int(name.read_text()), signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(int(name.read_text()), signal.SIGCONT)
            time.sleep(RUNNING_S)
    except ProcessLookupError:  # it has ended
        pass
    assert program.wait(timeout=60) == 0, (folder / "said.txt").read_text()
    run, = gather_runs(read_traces([folder / "trace.h5"]).groups)
    return run


@pytest.mark.skipif(not (BENCH and os.environ.get("WAN_NIGHTLY")), reason="runs at night, with the program that WAN_BENCH names")
def test_a_rank_that_is_stopped_again_and_again_is_named(tmp_path):
    run = bench_with_a_slowed_rank(tmp_path)
    late = stragglers(run)
    assert late, slowest(run).text
    assert late[0].rank == SLOWED, [one.text for one in late]
    assert late[0].excess > 0.3
    assert slowest(run).rank == SLOWED
    table = account(run)
    assert len(table) == RANKS
    assert table.sum(axis=1).to_numpy() == pytest.approx(run.rank_walls().to_numpy(), abs=1e-9)
    assert unnamed_share(table) <= 0.01
