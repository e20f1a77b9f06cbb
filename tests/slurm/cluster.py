"""A Slurm of two nodes on this machine, for tests: slurmctld, two slurmd, MUNGE and fake GPUs, in one temporary folder.

Needs root and the packages of setup.sh; no systemd, no system-wide configuration, no fixed ports. A janitor process ends whatever is
left and removes the folder once this process has gone, however it went.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JANITOR = Path(__file__).resolve().parent / "janitor.py"
DAEMONS = ("munged", "slurmctld", "slurmd")
CORES, GPUS = 16, 8  # per node; no more than names: both nodes share this machine's cores

# For jobs, whose ranks are more than the cores.
MPI = {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_oob_tcp_if_include": "lo"}
MPI_ON_ONE_NODE = MPI | {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader", "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
# Two nodes on one host share /dev/shm, so Open MPI would treat ranks of the other node as local. It uses libfabric's TCP over the loopback
# instead. (Open MPI's own TCP, btl tcp, ends about one in a hundred such starts by a segmentation fault, with 4.1.4 and no more in the
# program than MPI_Init and a few collectives.)
MPI_ON_TWO_NODES = MPI | {"OMPI_MCA_pml": "cm", "OMPI_MCA_mtl": "ofi", "OMPI_MCA_mtl_ofi_provider_include": "tcp;ofi_rxm",
                          "FI_TCP_IFACE": "lo"}

SLURM_CONF = """\
ClusterName=wan_test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its old credential has expired: two minutes by default.
AuthInfo=socket={folder}/munge/socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
# %n: else the second slurmd's PMIx finds the first one's folder in its way.
TmpFS={folder}/tmp.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
# A line for each start of a job.
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/starts.txt
MpiDefault=none
# Of its own for every cluster: Open MPI's shared memory is named after the job, and two clusters of one machine share /dev/shm.
FirstJobId={first_job}
JobRequeue=1
KillWait=20
MinJobAge=3600
ReturnToService=2
# Jobs of "high" preempt those of "grace" and "abrupt", which Slurm then starts again.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# As many jobs as fit, at once.
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=1,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cores} RealMemory=8000 Gres=gpu:{gpus}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cores} RealMemory=8000 Gres=gpu:{gpus}
PartitionName=batch Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=grace Nodes=n[1-2] MaxTime=INFINITE State=UP GraceTime=40
PartitionName=abrupt Nodes=n[1-2] MaxTime=INFINITE State=UP GraceTime=0
PartitionName=high Nodes=n[1-2] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


class UnavailableError(Exception):
    """Slurm cannot be run here; the message says why."""


class Cluster:
    """Started by the constructor, stopped by stop(). Throws UnavailableError, or RuntimeError when a daemon does not come up."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise UnavailableError("a Slurm that runs jobs of several users needs root")
        missing = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=search_path()) is None]
        if missing:
            raise UnavailableError(f"not installed: {', '.join(missing)} (tests/slurm/setup.sh installs them)")
        self.folder = Path(tempfile.mkdtemp(prefix="wan_slurm_"))
        self.folder.chmod(0o755)
        self.conf = self.folder / "slurm.conf"
        self.shared_memory = self.folder / "shm"  # of MPI, for jobs of any user
        self.daemons: dict[str, subprocess.Popen] = {}
        # Reads until the pipe closes, which this process does by stop() or by its end.
        self.janitor = subprocess.Popen([sys.executable, str(JANITOR), str(self.folder), str(os.getpid())], stdin=subprocess.PIPE,
                                        start_new_session=True)
        try:
            self._start()
        except BaseException:
            logs = self.logs()
            self.stop()
            print(logs, file=sys.stderr)
            raise

    def environment(self) -> dict[str, str]:
        """For Slurm's clients, and through sbatch for jobs."""
        foreign = ("SLURM_", "SBATCH_", "SRUN_", "WAN_", "OMPI_MCA_", "NCCL_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return inherited | {"PATH": search_path(), "SLURM_CONF": str(self.conf), "LC_ALL": "C.UTF-8"}

    def stop(self) -> None:
        """Ends every process of the cluster and removes its folder."""
        if self.janitor.stdin is not None:
            self.janitor.stdin.close()
        self.janitor.wait(timeout=60)
        for daemon in self.daemons.values():
            daemon.wait(timeout=10)

    def logs(self) -> str:
        """The last lines of every daemon's log."""
        text = ""
        for path in sorted(self.folder.glob("*.log")):
            text += f"--- {path.name}\n" + "".join(path.read_text(errors="replace").splitlines(True)[-15:])
        return text

    def ask(self, *command: str) -> str:
        """The output of a Slurm client. Throws RuntimeError with its message."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def start_controller(self) -> None:
        """Also after stop_controller(); jobs and nodes are as it left them."""
        self._start_daemon("slurmctld", "slurmctld", "-D", "-f", str(self.conf))
        wait_until(lambda: "UP" in self._quiet("scontrol", "ping"), 30, "slurmctld does not answer", self._check)

    def stop_controller(self) -> None:
        """Jobs run on, and Slurm's clients get no answer."""
        self.daemons["slurmctld"].terminate()
        self.daemons["slurmctld"].wait(timeout=30)

    def _start(self) -> None:
        for name in ("munge", "state", "spool.n1", "spool.n2", "tmp.n1", "tmp.n2"):
            (self.folder / name).mkdir(mode=0o755)
        self.shared_memory.mkdir()
        self.shared_memory.chmod(0o1777)
        self._write_configuration()
        self._start_munge()
        self.start_controller()
        for node in ("n1", "n2"):
            self._start_daemon(f"slurmd.{node}", "slurmd", "-D", "-f", str(self.conf), "-N", node)
        wait_until(lambda: self._quiet("sinfo", "-h", "-N", "-p", "batch", "-o", "%T").split() == ["idle"] * 2, 60,
                   "the nodes do not come up", self._check)

    def _write_configuration(self) -> None:
        host = socket.gethostname().split(".")[0]
        self.conf.write_text(SLURM_CONF.format(host=host, ports=free_ports(3), folder=self.folder, cores=CORES, gpus=GPUS,
                                               first_job=1 + os.getpid() % 60000 * 1000))
        # No job is put into a control group; named here because slurmd would look for one, in vain in a container or chroot.
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={self.folder}/cgroup\n")
        devices = self._make_devices()
        where = f"File={devices}" if devices else f"Count={GPUS}"
        (self.folder / "gres.conf").write_text(f"AutoDetect=off\nNodeName=n[1-2] Name=gpu {where}\n")

    def _make_devices(self) -> str | None:
        """Stand-ins for GPUs, which must be device files: as many /dev/null. None where the container forbids it (counts alone, then)."""
        folder = self.folder / "dev"
        folder.mkdir()
        try:
            for index in range(GPUS):
                os.mknod(folder / f"gpu{index}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            return None
        return f"{folder}/gpu[0-{GPUS - 1}]"

    def _start_munge(self) -> None:
        place = self.folder / "munge"
        key = place / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._start_daemon("munged", "munged", "--foreground", f"--socket={place}/socket", f"--key-file={key}", f"--pid-file={place}/pid",
                           f"--seed-file={place}/seed", f"--log-file={self.folder}/munged.log", "--force")
        wait_until((place / "socket").exists, 30, "munged does not come up", self._check)

    def _start_daemon(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                  start_new_session=True, cwd=self.folder)

    def _check(self) -> None:
        for name, daemon in self.daemons.items():
            if daemon.poll() is not None:
                raise RuntimeError(f"{name} ended with {daemon.returncode}")

    def _quiet(self, *command: str) -> str:
        with contextlib.suppress(RuntimeError):
            return self.ask(*command)
        return ""


def search_path() -> str:
    """With the folders of daemons, which a plain user's PATH lacks."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(condition, timeout_s: float, complaint: str, check=lambda: None, interval_s: float = 0.1) -> None:
    """Throws TimeoutError with the complaint; `check` may throw earlier."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{complaint} within {timeout_s:g} s")
        time.sleep(interval_s)


def fields_of(record: str) -> dict[str, str]:
    """scontrol's NAME=VALUE words; values with blanks are cut."""
    return dict(re.findall(r"(?:^|\s)([A-Za-z/:]+)=(\S*)", record))


if __name__ == "__main__":
    # By hand: a shell with the cluster up.
    cluster = Cluster()
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        subprocess.run([os.environ.get("SHELL", "bash")], env=cluster.environment(), check=False)
    finally:
        cluster.stop()
