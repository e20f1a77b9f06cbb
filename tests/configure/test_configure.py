"""The table that configure prints: each dependency hidden alone, all at once, and pairs of versions that cannot work.

    tests/configure/test_configure.py

cmake/Dependencies.cmake is included by a small project. LibTorch, nvcc and NCCL are stand-ins: configure reads their versions and does not
compile with them.
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
CMAKE = os.environ.get("WAN_CMAKE", "cmake")
CXX = os.environ.get("WAN_CXX", "c++")
COMPILER = subprocess.run([CXX, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
LISTS = """cmake_minimum_required(VERSION 3.25)
project(look LANGUAGES C CXX)
if(PLAYED_COMPILER_VERSION)
  set(CMAKE_CXX_COMPILER_VERSION ${PLAYED_COMPILER_VERSION})
endif()
list(APPEND CMAKE_MODULE_PATH ${PROJECT_SOURCE_DIR}/cmake)
set(WAN_BUILD_TESTS ON)
include(Compiler)
include(Dependencies)
message(STATUS "This build is for ${WAN_GPU_SUPPORT}")
"""
NOWHERE = "/nowhere"
# Each dependency: the options that hide it, and the packages that bring it back.
HIDDEN = {
    "MPI": (["-DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON"], "openmpi-bin libopenmpi-dev"),
    "HDF5": (["-DCMAKE_DISABLE_FIND_PACKAGE_HDF5=ON"], "libhdf5-dev"),
    "Boost.Program_options": (["-DCMAKE_DISABLE_FIND_PACKAGE_Boost=ON"], "libboost-program-options-dev"),
    "nlohmann-json": ([f"-DNLOHMANN_JSON_INCLUDE_DIR={NOWHERE}"], "nlohmann-json3-dev"),
    "SentencePiece": ([f"-DSENTENCEPIECE_LIBRARY={NOWHERE}"], "libsentencepiece-dev"),
    "utf8proc": ([f"-DUTF8PROC_INCLUDE_DIR={NOWHERE}"], "libutf8proc-dev"),
    "FFmpeg": (
        ["-DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON", f"-DFFMPEG_INCLUDE_DIR={NOWHERE}"],
        "libavformat-dev libavcodec-dev libswscale-dev libavutil-dev",
    ),
    "Python": (["-DCMAKE_DISABLE_FIND_PACKAGE_Python3=ON"], "python3"),
    "GoogleTest": (["-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON"], "libgtest-dev libgmock-dev"),
}


def write(path: Path, text: str = "", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def make_torch(folder: Path, version: str = "2.11.0+cu130", cuda: str = "'13.0'", fmt: int = 120100) -> Path:
    write(folder / "include/ATen/ATen.h")
    write(folder / "version.py", f"__version__ = '{version}'\ncuda: Optional[str] = {cuda}\n")
    for name in ("torch_cpu", "c10", "torch_cuda", "c10_cuda"):
        write(folder / f"lib/lib{name}.so")
    if fmt:
        write(folder / "include/fmt/base.h", f"#define FMT_VERSION {fmt}\n")
    return folder


def make_nccl(folder: Path, minor: int) -> Path:
    write(folder / "include/nccl.h", f"#define NCCL_MAJOR 2\n#define NCCL_MINOR {minor}\n#define NCCL_PATCH 5\n")
    write(folder / "lib/libnccl.so.2")
    return folder


class ConfigureTable(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = Path(tempfile.mkdtemp(prefix="wan_configure_"))
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        write(cls.scratch / "CMakeLists.txt", LISTS)
        (cls.scratch / "cmake").symlink_to(PROJECT / "cmake")
        write(cls.scratch / "src/.keep")
        write(cls.scratch / "include/.keep")
        cls.torch = make_torch(cls.scratch / "site/torch")
        cls.nvcc = write(cls.scratch / "bin/nvcc", "#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n", 0o755)
        first = cls.run_cmake(f"-DCMAKE_CXX_COMPILER={CXX}", "-DWAN_CUDA=OFF")
        if first.returncode != 0:
            raise AssertionError(first.stdout)
        cls.first = first.stdout
        cls.cache = (cls.scratch / "build/CMakeCache.txt").read_bytes()

    @classmethod
    def run_cmake(cls, *options, **variables):
        command = [CMAKE, "-S", cls.scratch, "-B", cls.scratch / "build", f"-DWAN_TORCH_ROOT={cls.torch}", *options]
        environment = {name: value for name, value in os.environ.items() if name not in ("CUDACXX", "CPATH", "LIBRARY_PATH")}
        return subprocess.run(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment | variables, check=False
        )

    def configure(self, *options, **variables) -> str:
        (self.scratch / "build/CMakeCache.txt").write_bytes(self.cache)
        return self.run_cmake(*options, **variables)

    def refused(self, *options, **variables) -> dict[str, str]:
        """Configures, and returns the text on each missing dependency by its name."""
        done = self.configure(*options, **variables)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        found = re.search(r"Missing or refused \((\d+)\): (.*)", done.stdout)
        self.assertIsNotNone(found, done.stdout)
        names = found.group(2).split(", ")
        self.assertEqual(int(found.group(1)), len(names))
        texts = {}
        for name in names:
            self.assertRegex(done.stdout, rf"(?m)^-- {re.escape(name)} .*MISSING$")
            texts[name] = re.search(rf"(?m)^ +{re.escape(name)}: .*\n(?:      .*\n)*", done.stdout).group(0)
        self.output = done.stdout
        return texts

    def test_complete_table_names_version_and_place(self):
        for name in ("C++ compiler", "CMake", "LibTorch", "fmt", *HIDDEN):
            self.assertRegex(self.first, rf"(?m)^-- {re.escape(name)} .*\d", name)
        self.assertNotIn("MISSING", self.first)
        self.assertIn("This build is for CPUs only, because it was configured with WAN_CUDA=OFF", self.first)

    def test_each_dependency_hidden_alone_is_named_alone_with_its_packages(self):
        for name, (options, packages) in HIDDEN.items():
            with self.subTest(name):
                texts = self.refused(*options)
                self.assertEqual(list(texts), [name])
                self.assertIn(f"apt-get install {packages}\n", texts[name])
                self.assertIn("module load ", texts[name])

    def test_all_hidden_at_once_are_named_in_one_run(self):
        options = [option for hidden, _ in HIDDEN.values() for option in hidden]
        texts = self.refused(*options, f"-DWAN_TORCH_ROOT={NOWHERE}", f"-DFMT_INCLUDE_DIR={NOWHERE}")
        self.assertEqual(set(texts), {*HIDDEN, "LibTorch", "fmt"})
        every = " ".join(packages for _, packages in HIDDEN.values())
        line = re.search(r"All packages at once: +apt-get install (.*)", self.output).group(1)
        self.assertEqual(set(line.split()), {*every.split(), "libfmt-dev"})

    def test_libtorch_alone(self):
        texts = self.refused(f"-DWAN_TORCH_ROOT={NOWHERE}")
        self.assertEqual(list(texts), ["LibTorch"])
        self.assertIn("jobs/build.sh --prefix DIR", texts["LibTorch"])
        self.assertIn("jobs/setup.sh", texts["LibTorch"])

    def test_libtorch_of_another_version_is_refused(self):
        old = make_torch(self.scratch / "old/torch", "2.6.0+cu124", "'12.4'")
        self.assertIn("LibTorch '2.6.0'", self.refused(f"-DWAN_TORCH_ROOT={old}")["LibTorch"])

    def test_fmt_of_libtorch_is_used_where_there_is_no_other(self):
        done = self.configure(f"-DFMT_INCLUDE_DIR={NOWHERE}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"fmt +9 to 12 +12\.1\.0 of LibTorch\n")

    def test_fmt_of_the_major_version_of_libtorch_gives_way(self):
        write(self.scratch / "fmt12/fmt/base.h", "#define FMT_VERSION 120000\n")
        done = self.configure(f"-DFMT_INCLUDE_DIR={self.scratch / 'fmt12'}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("12.1.0 of LibTorch, not the 12.0.0 in", done.stdout)

    def test_fmt_7_is_refused(self):
        write(self.scratch / "fmt7/fmt/core.h", "#define FMT_VERSION 70103\n")
        bare = make_torch(self.scratch / "bare/torch", fmt=0)
        texts = self.refused(f"-DFMT_INCLUDE_DIR={self.scratch / 'fmt7'}", f"-DWAN_TORCH_ROOT={bare}")
        self.assertIn("fmt 7.1.3", texts["fmt"])

    @unittest.skipUnless("Free Software Foundation" in COMPILER, "needs GCC")
    def test_gcc_10_is_refused(self):
        self.assertIn("GCC 10.2.1 is too old", self.refused("-DPLAYED_COMPILER_VERSION=10.2.1")["C++ compiler"])

    def test_nlohmann_json_that_is_too_old_is_refused(self):
        text = "".join(f"#define NLOHMANN_JSON_VERSION_{part} {number}\n" for part, number in (("MAJOR", 3), ("MINOR", 9), ("PATCH", 1)))
        write(self.scratch / "json/nlohmann/json.hpp", text)
        texts = self.refused(f"-DNLOHMANN_JSON_INCLUDE_DIR={self.scratch / 'json'}")
        self.assertIn("3.9.1", texts["nlohmann-json"])

    def test_ffmpeg_without_libx264_is_refused(self):
        folder = self.scratch / "ffmpeg"
        write(folder / "include/libavcodec/avcodec.h", "const void *avcodec_find_encoder_by_name(const char *name);\n")
        write(folder / "include/libavcodec/version.h", "#define LIBAVCODEC_VERSION_MAJOR 60\n")
        source = write(folder / "none.c", "const void *avcodec_find_encoder_by_name(const char *name) { (void)name; return 0; }\n")
        options = ["-DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON", f"-DFFMPEG_INCLUDE_DIR={folder / 'include'}"]
        for part in ("avformat", "avcodec", "swscale", "avutil"):
            library = folder / f"lib{part}.so"
            subprocess.run([CXX, "-x", "c", "-shared", "-fPIC", source, "-o", library], check=True)
            options.append(f"-DFFMPEG_{part}_LIBRARY={library}")
        self.assertIn("FFmpeg 6 is built without the encoder libx264", self.refused(*options)["FFmpeg"])

    def gpu_options(self, torch: Path, nccl_minor: int) -> list:
        nccl = make_nccl(self.scratch / f"nccl{nccl_minor}", nccl_minor)
        return ["-DWAN_CUDA=AUTO", f"-DWAN_TORCH_ROOT={torch}", f"-DWAN_NCCL_ROOT={nccl}"]

    def torch_with_runtime(self) -> Path:
        for library in ("libcudart.so.13", "libcublasLt.so.13"):
            write(self.scratch / "gpu/nvidia/cu13/lib" / library)
        return make_torch(self.scratch / "gpu/torch")

    def test_nccl_2_21_is_refused(self):
        texts = self.refused(*self.gpu_options(self.torch_with_runtime(), 21), CUDACXX=str(self.nvcc))
        self.assertEqual(list(texts), ["NCCL"])
        self.assertIn("NCCL 2.21.5", texts["NCCL"])
        self.assertIn("-DWAN_CUDA=OFF", texts["NCCL"])

    def test_nvcc_12_with_a_libtorch_for_cuda_13_is_refused(self):
        old = write(self.scratch / "old_bin/nvcc", "#!/bin/sh\necho 'Cuda compilation tools, release 12.4, V12.4.131'\n", 0o755)
        texts = self.refused(*self.gpu_options(self.torch_with_runtime(), 28), CUDACXX=str(old))
        self.assertEqual(list(texts), ["nvcc"])
        self.assertIn("nvcc 12.4.131 does not work with a LibTorch for CUDA 13.0", texts["nvcc"])

    def test_nvcc_that_is_not_there_makes_a_build_for_cpus_and_says_why(self):
        options = self.gpu_options(self.torch_with_runtime(), 28)
        done = self.configure(*options, CUDACXX=f"{NOWHERE}/nvcc")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("This build is for CPUs only, because nvcc was not found", done.stdout)
        self.assertIn("nvcc", self.refused(*options, "-DWAN_CUDA=ON", CUDACXX=f"{NOWHERE}/nvcc"))

    def test_nccl_and_cuda_are_found_by_path_where_no_packages_lie_beside_libtorch(self):
        toolkit = self.scratch / "toolkit"
        nvcc = write(toolkit / "bin/nvcc", self.nvcc.read_text(encoding="utf-8"), 0o755)
        for library in ("libcudart.so", "libcublasLt.so"):
            write(toolkit / "lib64" / library)
        nccl = make_nccl(self.scratch / "module_nccl", 28)
        # The stand-in of nvcc does not compile. That is the last thing configure looks at.
        texts = self.refused("-DWAN_CUDA=AUTO", CUDACXX=str(nvcc), EBROOTNCCL=str(nccl))
        self.assertEqual(list(texts), ["nvcc"])
        self.assertIn("nvcc 13.0.88 does not compile with", texts["nvcc"])
        self.assertRegex(self.output, rf"NCCL +2\.28 +2\.28\.5, {re.escape(str(nccl))}/include")


if __name__ == "__main__":
    unittest.main(argv=sys.argv, verbosity=2)
