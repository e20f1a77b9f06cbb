"""Bare Debian systems for tests, made by debootstrap. They need root, debootstrap and a network.

A test program calls enter_own_mounts() first: what it mounts is gone when it ends. WAN_ROOTS names a folder that keeps the bare systems
for the next run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
MIRROR = os.environ.get("WAN_DEBIAN_MIRROR", "http://deb.debian.org/debian")
_MARK = "WAN_OWN_MOUNTS"


def enter_own_mounts() -> None:
    """Starts this program again in a mount namespace of its own. Ends it with 77 where roots cannot be made."""
    for name in ("debootstrap", "unshare", "chroot"):
        if shutil.which(name) is None:
            print(f"skipped: {name} is not installed")
            sys.exit(SKIPPED)
    if os.geteuid() != 0:
        print("skipped: making a root of another system needs root")
        sys.exit(SKIPPED)
    if os.environ.get(_MARK) is None:
        os.environ[_MARK] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, "-B", *sys.argv])


class DebianRoot:
    """One system of a suite, "bookworm". remove() deletes it."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self._scratch = Path(tempfile.mkdtemp(prefix=f"wan_{suite}_", dir=os.environ.get("WAN_ROOTS")))
        self._scratch.chmod(0o755)
        self.folder = self._scratch / "root"
        self._mounted: list[Path] = []
        keep = os.environ.get("WAN_ROOTS")
        bare = Path(keep) / f"bare_{suite}" if keep else self.folder
        if not bare.is_dir():
            made = bare.with_name(f"{bare.name}.part")
            shutil.rmtree(made, ignore_errors=True)
            subprocess.run(["debootstrap", "--variant=minbase", suite, str(made), MIRROR], check=True, stdout=subprocess.DEVNULL)
            made.rename(bare)
        if bare != self.folder:
            subprocess.run(["cp", "-a", str(bare), str(self.folder)], check=True)
        for name in ("proc", "sys", "dev"):
            self._mount("--rbind", Path("/") / name, name)
        shutil.copy("/etc/resolv.conf", self.folder / "etc" / "resolv.conf")
        (self.folder / "etc/apt/apt.conf.d/90wan").write_text('APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\n')
        self.must("apt-get -qq update")

    def bind(self, source: Path, target: str) -> None:
        """Shows a folder of this machine at a path of the root."""
        self._mount("--rbind", source, target.lstrip("/"))

    def run(self, text: str, user: str | None = None, timeout_s: float = 1800, **variables: str) -> subprocess.CompletedProcess:
        """A command line in the root."""
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
                       "DEBIAN_FRONTEND": "noninteractive"} | variables
        who = [f"--userspec={user}:"] if user else []
        words = [shutil.which("chroot") or "/usr/sbin/chroot", *who, str(self.folder), "bash", "-c", text]
        return subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=timeout_s, check=False)

    def must(self, text: str, **more: str) -> str:
        """Runs it and returns its output. Throws AssertionError with the output if it fails."""
        done = self.run(text, **more)
        if done.returncode != 0:
            raise AssertionError(f"{text}: exit {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    def remove(self) -> None:
        """Nothing below a mount is touched: rm stays on one file system."""
        for place in reversed(self._mounted):
            subprocess.run(["umount", "--recursive", "--lazy", str(place)], check=False)
        if any(line.split()[4].startswith(f"{self._scratch}/") for line in Path("/proc/self/mountinfo").read_text().splitlines()):
            print(f"{self._scratch} still has a mount, so it is left", file=sys.stderr)
            return
        subprocess.run(["rm", "-rf", "--one-file-system", str(self._scratch)], check=False)

    def _mount(self, how: str, source: Path, target: str) -> None:
        place = self.folder / target
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", how, str(source), str(place)], check=True)
        subprocess.run(["mount", "--make-rslave", str(place)], check=True)
        self._mounted.append(place)
