"""Configure in bare Debian systems: what is too old is refused by name, and the printed remedies work as printed.

    tests/configure/test_debian_roots.py        needs root, debootstrap, a network, and .venv of the checkout
"""

import os
import re
import sys
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "support"))

from debian_root import DebianRoot, enter_own_mounts  # noqa: E402  (needs the path)

PACKAGES = next((PROJECT / ".venv" / "lib").glob("python3*/site-packages"), None)
CONFIGURE = "rm -rf /tmp/b && cmake -S /project -B /tmp/b -G Ninja -DWAN_TORCH_ROOT=/site/torch -DWAN_CUDA=OFF"


def missing(output: str) -> list[str]:
    """The names of the missing dependencies."""
    found = re.search(r"Missing or refused \(\d+\): (.*)", output)
    return found.group(1).split(", ") if found else []


class Roots(unittest.TestCase):
    def make(self, suite: str, packages: str) -> DebianRoot:
        root = DebianRoot(suite)
        self.addCleanup(root.remove)
        root.must(f"apt-get -qq install {packages}")
        root.bind(PROJECT, "/project")
        return root

    def test_debian_11_is_refused_by_name(self):
        root = self.make("bullseye", "g++ cmake ninja-build libfmt-dev python3")
        own = root.run("cmake -S /project -B /tmp/b")
        self.assertNotEqual(own.returncode, 0)
        self.assertRegex(own.stdout, r"CMake 3\.18\.\d+ is too old: wan_batch\s+needs 3\.25")
        # A newer CMake sees the rest.
        root.bind(PACKAGES / "cmake" / "data", "/opt/cmake")
        done = root.run(CONFIGURE, PATH="/opt/cmake/bin:/usr/bin:/bin")
        self.assertNotEqual(done.returncode, 0)
        for name, said in (("C++ compiler", "GCC 10.2.1 is too old"), ("fmt", "fmt 7.1.3"), ("Python", "found: '3.9.2'")):
            self.assertIn(name, missing(done.stdout), done.stdout)
            self.assertIn(said, re.search(rf"(?m)^ +{re.escape(name)}: .*$", done.stdout).group(0))

    def check_remedies(self, suite: str) -> None:
        """Each remedy makes its dependency appear, and the last one makes configure pass. All at once likewise."""
        tools = "g++ cmake ninja-build"
        root = self.make(suite, tools)
        root.bind(PACKAGES, "/site")
        first = root.run(CONFIGURE)
        names = missing(first.stdout)
        self.assertGreater(len(names), 7, first.stdout)
        every = re.search(r"All packages at once: +(apt-get install .*)", first.stdout).group(1)
        output = first.stdout
        for name in names:
            if name not in missing(output):  # another one's packages have brought it
                continue
            text = re.search(rf"(?m)^ +{re.escape(name)}: .*\n(?: {{4}}.*\n)*", output).group(0)
            command = re.search(r"Debian, Ubuntu: +(apt-get install .*)", text).group(1)
            root.must(command)
            output = root.run(CONFIGURE).stdout
            self.assertNotIn(name, missing(output), output)
        self.assertEqual(missing(output), [])
        self.assertIn("This build is for CPUs only", output)
        again = self.make(suite, tools)
        again.bind(PACKAGES, "/site")
        again.must(every)
        self.assertIn("This build is for CPUs only", again.must(CONFIGURE))

    def test_debian_12_after_its_remedies(self):
        self.check_remedies("bookworm")

    def test_debian_13_after_its_remedies(self):
        self.check_remedies("trixie")


if __name__ == "__main__":
    if PACKAGES is None or not (PACKAGES / "torch").is_dir():
        print("skipped: .venv of the checkout has no LibTorch (jobs/setup.sh)")
        sys.exit(77)
    enter_own_mounts()
    os.environ.pop("WAN_OWN_MOUNTS", None)
    unittest.main(argv=sys.argv, verbosity=2)
