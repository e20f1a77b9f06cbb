"""The archives of a build without root: checksums, interrupted work, names that leave the folder; and the arguments of jobs/build.sh.

    tests/configure/test_archives.py
"""

import contextlib
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(PROJECT / "jobs"))

import archives  # noqa: E402  (needs the path)


class Archives(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        (self.folder / "store").mkdir()
        with zipfile.ZipFile(self.folder / "store/tool-1.whl", "w") as wheel:
            entry = zipfile.ZipInfo("tool/run")
            entry.external_attr = 0o100744 << 16
            wheel.writestr(entry, "#!/bin/sh\n")
        with tarfile.open(self.folder / "served.tar.gz", "w:gz") as source:
            data = b"int main() {}\n"
            member = tarfile.TarInfo("source-1/main.c")
            member.size = len(data)
            source.addfile(member, io.BytesIO(data))
        self.write_list(self.digest("store/tool-1.whl"), self.digest("served.tar.gz"))
        old = archives.LIST
        archives.LIST = self.folder / "list"
        self.addCleanup(setattr, archives, "LIST", old)

    def digest(self, name: str) -> str:
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()

    def write_list(self, wheel: str, source: str) -> None:
        text = f"# list\nbase {wheel} tool==1\ngpu {source} file://{self.folder}/served.tar.gz\n"
        (self.folder / "list").write_text(text, encoding="utf-8")

    def call(self, *words: object) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            archives.main([str(word) for word in words])
        return text.getvalue()

    def test_source_is_fetched_and_both_are_unpacked_once(self):
        store, site = self.folder / "store", self.folder / "site"
        self.assertIn("1 of them new", self.call("fetch", store, "base", "gpu"))
        self.assertIn("0 of them new", self.call("fetch", store, "base", "gpu"))
        self.assertIn("2 unpacked", self.call("unpack", store, site, "base", "gpu"))
        self.assertTrue((site / "tool/run").stat().st_mode & 0o100, "the program in the wheel can be started")
        self.assertTrue((site / "sources/source-1/main.c").is_file())
        self.assertIn("0 unpacked", self.call("unpack", store, site, "base", "gpu"))

    def test_other_content_is_refused_by_name(self):
        self.write_list(self.digest("store/tool-1.whl"), "0" * 64)
        with self.assertRaisesRegex(archives.FetchError, "served.tar.gz has the SHA-256 .* instead of 0000"):
            self.call("fetch", self.folder / "store", "base", "gpu")
        (self.folder / "store/tool-1.whl").write_bytes(b"cut off")
        with self.assertRaisesRegex(archives.FetchError, "tool==1"):
            self.call("unpack", self.folder / "store", self.folder / "site", "base")

    def test_source_whose_names_leave_the_folder_is_refused(self):
        with tarfile.open(self.folder / "served.tar.gz", "w:gz") as source:
            source.addfile(tarfile.TarInfo("../outside"))
        self.write_list(self.digest("store/tool-1.whl"), self.digest("served.tar.gz"))
        self.call("fetch", self.folder / "store", "gpu")
        with self.assertRaisesRegex(archives.FetchError, "'../outside' is refused"):
            self.call("unpack", self.folder / "store", self.folder / "site", "gpu")

    def test_every_archive_of_the_project_has_a_checksum(self):
        archives.LIST = PROJECT / "jobs/archives.txt"
        every = archives.wanted_archives(archives.GROUPS)
        self.assertGreater(len(every), 20)
        for archive in every:
            self.assertRegex(archive.sha256, "^[0-9a-f]{64}$", archive.origin)
            self.assertIn(archive.group, archives.GROUPS)
        setup = (PROJECT / "jobs/setup.sh").read_text(encoding="utf-8")
        torch = next(archive.origin for archive in every if archive.origin.startswith("torch=="))
        self.assertIn(f'"{torch}"', setup, "both ways to build take the same LibTorch")


class BuildArguments(unittest.TestCase):
    def refused(self, *words: str) -> str:
        done = subprocess.run([PROJECT / "jobs/build.sh", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(done.returncode, 2, done.stdout)
        return done.stdout

    def test_arguments_that_do_not_go_together(self):
        self.assertIn("--from and --cpu need --prefix", self.refused("--from", "x"))
        self.assertIn("either --fetch or --from", self.refused("--fetch", "x", "--from", "y"))
        self.assertIn("'--target wan' does not go with", self.refused("--prefix", "x", "--target", "wan"))
        self.assertIn("--prefix needs a value", self.refused("--prefix"))
        self.assertIn("-j needs a number", self.refused("-j"))
        self.assertIn("--preset is default or developer", self.refused("--preset", "asan"))


class Help(unittest.TestCase):
    def test_each_script_prints_its_head_and_does_nothing(self):
        jobs = [f"jobs/{name}.sh" for name in ("build", "bundle", "demo", "nightly", "scaling", "setup", "study")]
        for name in [*jobs, "tests/gpu.sh", "tests/lint.sh", "tests/run.sh"]:
            for word in ("--help", "-h"):
                with self.subTest(name=name, word=word):
                    command = [PROJECT / name, word]
                    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
                    self.assertEqual(done.returncode, 0, done.stdout)
                    self.assertIn(f"\n  {name}", done.stdout)
                    self.assertNotIn("system packages:", done.stdout)


class SetUpWithoutRoot(unittest.TestCase):
    """jobs/setup.sh on machines that it is not for, played by the programs in PATH."""

    def refused(self, programs: dict[str, str]) -> str:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "jobs").mkdir()
            (folder / "bin").mkdir()
            for name in ("setup.sh", "common.sh"):
                shutil.copy(PROJECT / "jobs" / name, folder / "jobs")
            for name in ("bash", "env", "dirname", "basename", "awk", "grep"):
                (folder / "bin" / name).symlink_to(shutil.which(name))
            for name, text in programs.items():
                (folder / "bin" / name).write_text(f"#!{shutil.which('bash')}\n{text}\n", encoding="utf-8")
                (folder / "bin" / name).chmod(0o755)
            done = subprocess.run(
                [folder / "jobs/setup.sh"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={"PATH": str(folder / "bin")},
                check=False,
            )
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("try jobs/build.sh --prefix DIR", done.stdout)
        return done.stdout

    def test_another_system(self):
        self.assertIn("neither Debian nor Ubuntu", self.refused({}))

    def test_missing_packages_and_no_root(self):
        self.assertIn("system packages are missing", self.refused({"dpkg-query": "true", "id": "echo 1000"}))

    def test_python_3_9(self):
        programs = {
            "dpkg-query": 'shift 3; for name; do echo "$name installed"; done',
            "python3": '[ "$1" = --version ] && echo "Python 3.9.2"',
        }
        self.assertIn("Python 3.9.2 is too old", self.refused(programs))


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2)
