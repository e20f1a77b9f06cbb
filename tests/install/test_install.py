"""An installed tree that was moved: what it shows, what it needs, and a program that embeds it.

    WAN_BUILD=build tests/install/test_install.py

Needs the targets wan, wan_batch_program, wan_bench and wan_doctor_program. LibTorch is installed as hard links where that is possible.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("WAN_BUILD", PROJECT / "build")).resolve()
CMAKE = os.environ.get("WAN_CMAKE", "cmake")
MPIEXEC = os.environ.get("WAN_MPIEXEC", "mpirun")
LIBDIR = os.environ.get("WAN_LIBDIR", "lib")
PROGRAMS = ("wan_batch", "wan_bench", "wan_doctor")
PUBLIC_CLASSES = "Session|SessionOptions|Error|UsageError|ItemError|MemoryError|StorageError|Observer"
PUBLIC_FUNCTIONS = (
    "wan::Session::open(wan::SessionOptions const&, ",
    "wan::Session::Session(wan::Session&&)",
    "wan::Session::operator=(wan::Session&&)",
    "wan::Session::~Session()",
    "wan::Session::task() const",
    "wan::Session::make_request(",
    "wan::Session::validate(wan::Request const&) const",
    "wan::Session::run(wan::Request const&, wan::SessionOutputs const&, ",
    "wan::version[abi:cxx11]()",
    "wan::default_negative_prompt()",
    "wan::parse_solver(",
    "wan::solver_rows()",
    "wan::describe_solvers[abi:cxx11]()",
    *(f"wan::to_string(wan::{name})" for name in ("TaskKind", "Solver", "NoiseDevice", "Part", "Expert")),
)


def environment() -> dict:
    """As a user's shell has it: nothing that leads back to the build."""
    kept = {name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "CMAKE_PREFIX_PATH", "PKG_CONFIG_PATH")}
    kept |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    kept |= {"OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
    return kept


def output_of(*command, **more) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), check=False, **more)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class InstalledTree(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # In the build folder: hard links do not leave a file system.
        cls.scratch = Path(tempfile.mkdtemp(prefix="install_test_", dir=BUILD))
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        first = cls.scratch / "first place"
        output_of(CMAKE, f"-DCMAKE_INSTALL_PREFIX={first}", "-DWAN_LINK_TORCH=ON", "-P", BUILD / "cmake_install.cmake")
        cls.prefix = cls.scratch / "moved"
        first.rename(cls.prefix)

    def library(self) -> Path:
        return self.prefix / LIBDIR / "libwan.so"

    def shared(self) -> Path:
        return self.prefix / "share" / "wan_batch"

    def test_no_path_leads_back(self):
        for file in (*(self.prefix / "bin" / name for name in PROGRAMS), self.library()):
            for line in output_of("readelf", "-d", file).splitlines():
                if "RUNPATH" in line or "RPATH" in line:
                    self.assertNotIn(str(PROJECT), line, file.name)
            for line in output_of("ldd", file).splitlines():
                self.assertNotIn("not found", line, file.name)
                self.assertNotIn(".venv", line, file.name)
                self.assertNotIn("first place", line, file.name)
        for file in (self.prefix / LIBDIR / "cmake" / "wan").iterdir():
            self.assertNotIn(str(PROJECT), file.read_text(encoding="utf-8"), file.name)

    def test_the_library_shows_its_public_interface_alone(self):
        # Address, kind and name. A small letter is a symbol that no other file sees.
        lines = [line.split(maxsplit=2) for line in output_of("nm", "-D", "--defined-only", "-C", self.library()).splitlines()]
        symbols = [name for _, kind, name in lines if kind.isupper()]
        for function in PUBLIC_FUNCTIONS:
            self.assertTrue(any(symbol.startswith(function) for symbol in symbols), function)
        data = re.compile(rf"(typeinfo|typeinfo name|vtable) for wan::({PUBLIC_CLASSES})")
        for symbol in symbols:
            self.assertTrue(symbol.startswith(PUBLIC_FUNCTIONS) or data.fullmatch(symbol), f"{symbol} is exported")

    def test_the_headers_stand_alone(self):
        for header in (self.prefix / "include" / "wan").iterdir():
            for name in re.findall(r'#include [<"]([^>"]+)', header.read_text(encoding="utf-8")):
                self.assertTrue("/" not in name or name.startswith("wan/"), f"{header.name} includes {name}")

    def test_bundle_has_what_a_run_needs_and_little_more(self):
        bundle = self.scratch / "bundle"
        output_of(PROJECT / "jobs" / "bundle.sh", self.prefix, bundle)
        files = [path for path in bundle.rglob("*") if not path.is_dir()]
        self.assertLessEqual(len(files), 300)
        self.assertLessEqual(sum(path.stat().st_size for path in files), 3.6e9)
        self.assertIn("libmpi.so", (bundle / "NEEDS.txt").read_text(encoding="utf-8"))
        version = output_of(bundle / "bin" / "wan_batch", "--version")
        self.assertIn("built for", version)
        libraries = output_of("ldd", bundle / "bin" / "wan_batch")
        self.assertNotIn(str(self.prefix), libraries)
        if "built for  GPUs" in version:  # NVRTC opens it by name: without the program it would find only a system's
            self.assertRegex(libraries, rf"libnvrtc-builtins\S+ => {re.escape(str(bundle))}/\S*lib/wan/")

    def test_the_programs_say_their_version(self):
        for name in PROGRAMS:
            self.assertIn("0.", output_of(self.prefix / "bin" / name, "--version"), name)

    def build_example(self) -> Path:
        source = self.shared() / "examples" / "embed"
        build = self.scratch / "embed"
        output_of(CMAKE, "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DCMAKE_BUILD_TYPE=Debug")
        output_of(CMAKE, "--build", build)
        return build / "embed"

    def test_the_example_makes_the_bytes_that_wan_batch_makes(self):
        program = self.build_example()
        embedded = self.scratch / "embedded.mp4"
        demo = self.shared() / "inputs" / "demo"
        image = demo / "images" / "ball_on_grass.png"
        output_of(MPIEXEC, "-np", "2", program, demo / "checkpoint", image, embedded)
        made = self.scratch / "batch" / "cat.mp4"
        options = ["--ckpt-dir", demo / "checkpoint", "--image", image, "--prompt", "A white cat on a surfboard.", "--save-file", made]
        options += ["--size", "96*64", "--frame-num", "9", "--sample-steps", "4", "--base-seed", "42"]
        output_of(MPIEXEC, "-np", "2", self.prefix / "bin" / "wan_batch", *options)
        self.assertGreater(embedded.stat().st_size, 1000)
        self.assertEqual(embedded.read_bytes(), made.read_bytes())

    @unittest.skipUnless(shutil.which("mpicxx") and shutil.which("pkg-config"), "needs mpicxx and pkg-config")
    def test_pkg_config_knows_it(self):
        source = self.scratch / "version.cpp"
        text = "#include <wan/version.h>\n#include <cstdio>\nint main() { std::puts(wan::version().c_str()); }\n"
        source.write_text(text, encoding="utf-8")
        with_path = environment() | {"PKG_CONFIG_PATH": str(self.prefix / LIBDIR / "pkgconfig")}
        asked = ["pkg-config", "--cflags", "--libs", "wan"]
        flags = subprocess.run(asked, capture_output=True, text=True, env=with_path, check=True).stdout
        program = self.scratch / "version"
        output_of("mpicxx", "-std=c++20", source, "-o", program, *flags.split())
        self.assertRegex(output_of(program), r"^\d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2)
