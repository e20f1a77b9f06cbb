"""The tree that a site installs: another user loads the module and submits an installed script, without a checkout.

The prefix is that of WAN_PREFIX. Without it the build is installed, LibTorch as hard links.
"""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from cli_case import PROGRAM, SMALL, project_version
from cluster import MPI_ON_ONE_NODE
from slurm_case import Job, SlurmCase, cluster
from test_scripts import USER, can_read_build

PROFILES = ("/etc/profile.d/lmod.sh", "/etc/profile.d/modules.sh")
PROFILE = next((path for path in PROFILES if os.access(path, os.R_OK)), None)


@unittest.skipIf(PROFILE is None, "neither Lmod nor environment-modules is installed (tests/slurm/setup.sh does)")
class Installed(SlurmCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not can_read_build(USER):
            raise unittest.SkipTest(f"the user {USER} cannot run {PROGRAM}")
        cls.prefix = Path(os.environ.get("WAN_PREFIX") or cls.install())

    @classmethod
    def install(cls) -> Path:
        build = PROGRAM.parents[1]
        # In the build folder: hard links do not leave a file system.
        scratch = Path(tempfile.mkdtemp(prefix="site_test_", dir=build))
        cls.addClassCleanup(shutil.rmtree, scratch, ignore_errors=True)
        scratch.chmod(0o755)
        cmake = os.environ.get("WAN_CMAKE", "cmake")
        command = [cmake, f"-DCMAKE_INSTALL_PREFIX={scratch / 'first'}", "-DWAN_LINK_TORCH=ON", "-P", str(build / "cmake_install.cmake")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return (scratch / "first").rename(scratch / "moved")

    def as_user(self, text: str) -> subprocess.CompletedProcess:
        """A login shell of another user, in a folder of its own."""
        shared = {"OMPI_MCA_btl_vader_backing_directory": str(cluster().shared_memory), "OMP_NUM_THREADS": "1"}
        environment = cluster().environment() | MPI_ON_ONE_NODE | shared | {"HOME": str(self.folder), "USER": USER}
        command = ["bash", "-c", f". {PROFILE}\nmodule use {self.modules}\n{text}"]
        return subprocess.run(command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False, user=USER, group=pwd.getpwnam(USER).pw_gid, extra_groups=[])

    @property
    def modules(self) -> Path:
        return self.prefix / "share" / "modulefiles"

    def test_module_load_and_sbatch_of_the_installed_script(self):
        options = ["--device", "cpu", "--config", "inputs/demo/demo.cfg", *SMALL, "--shard", "0/6"]
        done = self.as_user("set -e; module load wan_batch; cp -r $WAN_SLURM/../inputs .; wan_batch --version\n"
                            f"sbatch --time=10 --cpus-per-task=1 $WAN_SLURM/i2v_2gpu.sh {' '.join(options)}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(project_version(), done.stdout)
        number = re.search(r"Submitted batch job (\d+)", done.stdout).group(1)
        job = Job(number, self.folder / f"wan_i2v_2gpu-{number}.log").wait()
        self.assert_completed(job)
        self.assertRegex(job.text(), rf"(?m): run: srun .* {re.escape(str(self.prefix))}/bin/wan_batch ")
        videos = list((self.folder / "outputs" / "demo").glob("*.mp4"))
        self.assertEqual([path.owner() for path in videos], [USER])
        self.assertIn("1 of 1 done", job.text())
        script = re.escape(f"{self.prefix}/share/wan_batch/slurm/i2v_2gpu.sh")
        self.assertRegex(job.text(), rf"next: cd {self.folder} && sbatch .* {script} ")

    def test_the_module_comes_and_goes(self):
        done = self.as_user('module load wan_batch; echo "now: $WAN_SLURM $(command -v wan_batch)"; module unload wan_batch\n'
                            'echo "then: ${WAN_SLURM-none} $(command -v wan_batch) end"; module help wan_batch')
        self.assertIn(f"now: {self.prefix}/share/wan_batch/slurm {self.prefix}/bin/wan_batch\n", done.stdout)
        self.assertIn("then: none  end\n", done.stdout)
        self.assertIn("sbatch $WAN_SLURM/i2v_8gpu.sh", done.stdout)

    def test_a_link_to_the_modulefile_works_and_a_copy_says_that_it_does_not(self):
        own = self.folder / "own" / "wan_batch"
        own.mkdir(parents=True)
        file = self.modules / "wan_batch" / project_version()
        (own / "linked").symlink_to(file)
        shutil.copy(file, own / "copied")
        for name, said in (("linked", f"is {self.prefix}/share/wan_batch/slurm"), ("copied", "do not copy it")):
            done = self.as_user(f'module use {own.parent}; module load wan_batch/{name}; echo "is ${{WAN_SLURM-none}}"')
            self.assertIn(said, done.stdout)
        self.assertIn("is none", done.stdout)

    def test_the_modules_of_the_build_are_loaded_first(self):
        own = self.folder / "own"
        text = (self.modules / "wan_batch" / project_version()).read_text()
        self.assertEqual(len(re.findall(r"(?m)^foreach name \{.*\} \{$", text)), 1)
        place = own / "prefix" / "share" / "modulefiles"
        for folder in (place / "wan_batch", place / "mpi", own / "prefix" / "bin"):
            folder.mkdir(parents=True)
        (own / "prefix" / "bin" / "wan_batch").symlink_to("/bin/true")
        (place / "wan_batch" / "1").write_text(re.sub(r"(?m)^foreach name \{.*\} \{$", "foreach name {mpi/4} {", text))
        (place / "mpi" / "4").write_text("#%Module\nsetenv MPI_IS here\n")
        done = self.as_user(f'module use {place}; module load wan_batch/1; echo "mpi ${{MPI_IS-none}} $LOADEDMODULES"')
        self.assertRegex(done.stdout, r"mpi here .*mpi/4")


if __name__ == "__main__":
    unittest.main()
