#!/usr/bin/env python3
"""Runs the test of the installed tree in two bare Debian systems: one with Lmod, one with environment-modules.

    WAN_BATCH=build/bin/wan_batch tests/slurm/run_in_roots.py

The systems are of this machine's own release, because the build's libraries come from there. Exit code 77: they cannot be made here.
"""

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("WAN_BATCH", PROJECT / "build" / "bin" / "wan_batch")).resolve()
sys.path.insert(0, str(PROJECT / "tests" / "support"))

from debian_root import DebianRoot, enter_own_mounts  # noqa: E402  (needs the path)

# libpmix-dev: the plugin of Slurm for PMIx opens its library by that name.
SLURM = "slurmctld slurmd slurm-client munge procps python3 openmpi-bin libpmix-dev"


def packages_of_libraries() -> set[str]:
    """Debian's packages of the shared libraries that the program takes from the system."""
    listed = subprocess.run(["ldd", str(PROGRAM)], stdout=subprocess.PIPE, text=True, check=True).stdout
    # dpkg knows a file below /usr by one of its two names, so the name alone is asked for.
    names = [f"*/{Path(path).name}" for path in re.findall(r"=> (/(?:usr/)?lib/\S+)", listed)]
    command = ["dpkg-query", "--search", *names]
    known = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return {line.split(":")[0] for line in known.splitlines() if re.search(r": (/usr)?/lib/x86_64-linux-gnu/", line)}


class Roots(unittest.TestCase):
    def check(self, modules: str, profile: str) -> None:
        suite = re.search(r"(?m)^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text()).group(1)
        root = DebianRoot(suite)
        self.addCleanup(root.remove)
        root.must(f"apt-get -qq install {SLURM} {modules} {' '.join(sorted(packages_of_libraries()))}")
        self.assertTrue((root.folder / profile.lstrip("/")).exists(), f"{modules} has no {profile}")
        root.bind(PROJECT, str(PROJECT))
        if not PROGRAM.is_relative_to(PROJECT):
            root.bind(PROGRAM.parents[1], str(PROGRAM.parents[1]))
        prefix = root.folder / "apps"  # a copy: the tree of the build is not on this root's file system
        cmake = os.environ.get("WAN_CMAKE", "cmake")
        subprocess.run([cmake, f"-DCMAKE_INSTALL_PREFIX={prefix}", "-DWAN_LINK_TORCH=ON", "-P", PROGRAM.parents[1] / "cmake_install.cmake"],
                       check=True, stdout=subprocess.DEVNULL)
        done = root.run(f"cd {PROJECT} && python3 -B tests/slurm/run_slurm_tests.py test_installed", WAN_BATCH=str(PROGRAM),
                        WAN_PREFIX="/apps")
        self.assertEqual(done.returncode, 0, done.stdout[-6000:])
        self.assertNotIn("skipped", done.stdout)

    def test_lmod(self):
        self.check("lmod", "/etc/profile.d/lmod.sh")

    def test_environment_modules(self):
        self.check("environment-modules", "/etc/profile.d/modules.sh")


if __name__ == "__main__":
    enter_own_mounts()
    unittest.main(argv=sys.argv, verbosity=2)
