"""The batch scripts where a site has installed them, or gives an image, without a Slurm."""

import re
import shutil
import subprocess
import unittest

from played_case import SCRIPTS, PlayedCase

CONTAINERS = SCRIPTS.parent / "containers"
IN_IMAGE = "/opt/wan_batch/bin/wan_batch"
# Starts the program's stand-in in place of the program in the image.
RUNTIME = f"""echo "$(basename "$0") $*" >>"$PLAYED/runtime"
while [ "$1" != "${{WAN_BATCH:-{IN_IMAGE}}}" ]; do shift; done; shift; exec "$PLAYED/program" "$@" """


class Images(PlayedCase):
    def start_image(self, image: str, *arguments: str, runtimes: tuple[str, ...] = ("apptainer", "ch-run"), version: str = "echo 0.2.0",
                    **variables: str):
        """A job from an image; returns what became of it, and the words with which the image's program was started, call by call."""
        for name in runtimes:
            self.stand_in(name, RUNTIME)
        (self.folder / "runtime").unlink(missing_ok=True)
        given = {"WAN_BATCH": "", "WAN_IMAGE": str(self.folder / image)} | variables
        done = self.start_job(arguments=arguments or ("m.csv",), body=f'[ "$1" != --version ] || {{ {version}; exit; }}', **given)
        path = self.folder / "runtime"
        return done, path.read_text().splitlines() if path.exists() else []

    def setUp(self):
        super().setUp()
        (self.folder / "wan.sif").write_text("")
        (self.folder / "image").mkdir()
        (self.folder / "ckpt").mkdir()

    def test_apptainer(self):
        done, calls = self.start_image("wan.sif", f"--ckpt-dir={self.folder}/ckpt", "--output-dir", "/nowhere/out", "m.csv",
                                       WAN_IMAGE_OPTIONS="--containall --bind=/x")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"image: {self.folder}/wan.sif, 0.2.0\n", done.stdout)
        self.assertEqual([line.split(f"{IN_IMAGE} ")[1].split()[0] for line in calls],
                         ["--version", "places", f"--ckpt-dir={self.folder}/ckpt", "status"])
        for line in calls:
            self.assertRegex(line, rf"^apptainer exec --nv (--bind=\S+ )+--pwd=/ --containall --bind=/x {self.folder}/wan.sif {IN_IMAGE} ")
            binds = re.findall(r"--bind=(\S+)", line)
            self.assertIn(f"{self.folder}/ckpt", binds)
            self.assertTrue(any(bind.startswith(f"{self.folder}/wan_7_") for bind in binds), "the scratch folder")
            self.assertNotIn("/", binds)
            self.assertNotIn("/nowhere", line.partition(IN_IMAGE)[0])
        words = (self.folder / "srun.args").read_text()
        self.assertRegex(words, rf"^--export=ALL --mpi=pmix .*--cpu-bind=none apptainer exec .* {IN_IMAGE} --ckpt-dir=")
        variables = (self.folder / "srun.env").read_text().splitlines()
        self.assertIn("PMIX_MCA_gds=hash", variables)
        self.assertIn("OMPI_MCA_btl_vader_single_copy_mechanism=none", variables)

    def test_without_gpus_and_with_another_program_in_the_image(self):
        _, calls = self.start_image("wan.sif", SLURM_GPUS_ON_NODE="", WAN_BATCH="/site/wan_batch")
        self.assertTrue(calls)
        for line in calls:
            self.assertNotIn("--nv", line)
            self.assertIn(f"{self.folder}/wan.sif /site/wan_batch ", line)

    def test_singularity_where_there_is_no_apptainer(self):
        _, calls = self.start_image("wan.sif", runtimes=("singularity",))
        self.assertTrue(calls and all(line.startswith("singularity exec ") for line in calls), calls)

    def test_charliecloud(self):
        (self.folder / "image.sqfs").write_text("")
        for image in ("image", "image.sqfs"):
            done, calls = self.start_image(image)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            for line in calls:
                words = f"ch-run --unset-env=LD_LIBRARY_PATH --unset-env=LD_PRELOAD --cd=/ --set-env=TMPDIR={self.folder}/wan_7_"
                self.assertTrue(line.startswith(words), line)
                self.assertIn(f" {self.folder}/{image} -- {IN_IMAGE} ", line)
            self.assertIn(" env -u TMPDIR ch-run ", (self.folder / "srun.args").read_text())

    def test_an_image_of_charliecloud_needs_a_place_for_each_folder(self):
        done, _ = self.start_image("image", "/var/lib/m.csv")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn(f"the image has no place for /var/lib; make it once: mkdir -p '{self.folder}/image/var/lib'", done.stderr)
        (self.folder / "image/var/lib").mkdir(parents=True)
        done, calls = self.start_image("image", "/var/lib/m.csv", "--config=/var/lib/x/y.cfg")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(all(line.count("--bind=/var/lib:/var/lib ") == 1 for line in calls), calls)

    def test_folders_of_the_system_stay_those_of_the_image(self):
        done, calls = self.start_image("image", "--ckpt-dir=/opt/wan_batch/none", "/usr/bin", "/m.csv")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(all("--bind=" not in line for line in calls), calls)

    def test_a_sandbox_of_apptainer_is_no_image_of_charliecloud(self):
        (self.folder / "image/.singularity.d").mkdir()
        _, calls = self.start_image("image")
        self.assertTrue(calls and all(line.startswith("apptainer exec ") for line in calls), calls)

    def test_folders_within_others_are_named_once(self):
        for name in ("a/b", "ab", "c d"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "link").symlink_to(self.folder / "a")
        arguments = f"--x={self.folder}/a/b/none.csv {self.folder}/link {self.folder}/ab '{self.folder}/c d' relative --n=3 /"
        done = self.bash(f"cd {self.folder}/ab; scratch={self.folder}/a; named_folders {arguments}")
        self.assertEqual(done.stdout.splitlines(), [f"{self.folder}/{name}" for name in ("a", "ab", "c d")], done.stderr)

    def test_what_cannot_work_is_refused_before_the_ranks(self):
        for image, more, said in (
                ("none.sif", {}, f"WAN_IMAGE is '{self.folder}/none.sif', which cannot be read"),
                ("wan.sif", {"version": "echo no user namespaces >&2; exit 1"},
                 f"the program {IN_IMAGE} does not run in the image {self.folder}/wan.sif: no user namespaces"),
                ("wan.sif", {"WAN_IMAGE": "", "WAN_IMAGE_OPTIONS": "-B /x"}, "WAN_IMAGE_OPTIONS is set, and WAN_IMAGE is not")):
            with self.subTest(said=said):
                (self.folder / "srun.args").unlink(missing_ok=True)
                done, _ = self.start_image(image, **more)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn(said, done.stderr)
                self.assertFalse((self.folder / "srun.args").exists())

    @unittest.skipIf(shutil.which("apptainer") or shutil.which("singularity"), "this machine has it")
    def test_a_runtime_that_is_not_there_is_named(self):
        done, _ = self.start_image("wan.sif", runtimes=())
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn(f"the image '{self.folder}/wan.sif' needs apptainer, which is not on PATH", done.stderr)

    def test_the_other_scripts_take_no_image(self):
        done = self.start_job("nightly.sh", WAN_IMAGE=str(self.folder / "wan.sif"))
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("WAN_IMAGE is set, and nightly.sh runs no program of an image", done.stderr)

    def test_the_command_to_go_on_names_the_image(self):
        self.start_image("wan.sif")
        record = (self.folder / "out" / ".jobs" / "7" / "start-1").read_text()
        self.assertIn(f"WAN_IMAGE={self.folder}/wan.sif sbatch ", record)


class Installed(PlayedCase):
    def test_the_program_of_the_prefix_in_which_the_script_lies(self):
        prefix = self.folder / "prefix"
        shutil.copytree(SCRIPTS, prefix / "share/wan_batch/slurm")
        (prefix / "bin").mkdir()
        self.stand_in("wan_batch", "exit 0", prefix / "bin")
        self.stand_in("srun", 'case $1 in --mpi=list) echo pmix; exit;; esac; while [[ $1 == -* ]]; do shift; done; exec "$@"')
        self.scontrol(command=f"{prefix}/share/wan_batch/slurm/i2v_2gpu.sh m.csv")
        done = self.start_copy("i2v_2gpu.sh", "m.csv", WAN_SLURM=str(prefix / "share/wan_batch/slurm"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, rf"run: srun .* {prefix}/bin/wan_batch m.csv\n")


class Definitions(unittest.TestCase):
    """The two container definitions."""

    def test_they_copy_the_same_and_call_the_same_script(self):
        oci = (CONTAINERS / "Containerfile").read_text()
        apptainer = (CONTAINERS / "wan_batch.def").read_text()
        self.assertEqual(re.findall(r"(?m)^FROM (.*)$", oci), re.findall(r"(?m)^From: (.*)$", apptainer))
        copied = set()
        for words in re.findall(r"(?m)^COPY (.*)$", oci):
            *sources, to = words.split()
            copied |= {(source, to + source if to.endswith("/") else to) for source in sources}
        files = re.search(r"(?ms)^%files\n(.*?)\n\n", apptainer).group(1)
        self.assertEqual(copied, {tuple(line.split()) for line in files.splitlines()})
        script = re.search(r"(?m)^RUN (.*)$", oci).group(1)
        post = re.search(r"(?ms)^%post\n(.*?)\n\n", apptainer).group(1).splitlines()
        self.assertEqual([line.strip() for line in post], [script.replace("$OPTIONS", "{{ OPTIONS }}")])
        self.assertEqual(oci.count("\nRUN "), 1)
        path = re.search(r"(?m)^ENV PATH=(.*)$", oci).group(1)
        self.assertIn(f"export PATH={path}\n", apptainer)
        self.assertTrue(path.startswith("/opt/wan_batch/bin:"))

    def test_all_that_is_copied_is_there_and_all_that_configure_reads_is_copied(self):
        oci = (CONTAINERS / "Containerfile").read_text()
        sources = [word for words in re.findall(r"(?m)^COPY (.*)$", oci) for word in words.split()[:-1]]
        for source in sources:
            self.assertTrue((SCRIPTS.parent / source).exists(), source)
        read = set()
        for path in (SCRIPTS.parent / "CMakeLists.txt", *(SCRIPTS.parent / "cmake").iterdir()):
            read |= set(re.findall(r"\$\{PROJECT_SOURCE_DIR\}/([\w.-]+)", path.read_text()))
        self.assertGreater(len(read), 4)
        self.assertEqual(read - {source.split("/")[0] for source in sources} - {"tests", ".venv"}, set())

    def test_the_script_has_the_packages_that_the_page_for_clusters_asks_for_and_its_build(self):
        script = (CONTAINERS / "install.sh").read_text()
        self.assertIn('"$source/jobs/build.sh" --prefix "$prefix" "$@"', script)
        packages = re.search(r"(?s)packages=\((.*?)\)", script).group(1).split()
        for needed in ("g++", "libopenmpi-dev", "libhdf5-dev", "libavcodec-dev", "python3-venv"):
            self.assertIn(needed, packages)
        subprocess.run(["bash", "-n", CONTAINERS / "install.sh"], check=True)


if __name__ == "__main__":
    unittest.main()
